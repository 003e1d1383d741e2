"""Plans: how the responses that train are made.

    contract  what the house must know of the plan
    init(spec) -> state
    collect(tools, prompts, state, key) -> (rollouts, scores, state)

A plan is ordinary Python over compiled calls, because between rounds it may
have to read text, run verifiers or pick rows. It decides what the policy is
trained on, and provides what the recipe needs to know of every response
beside its score: keys of `rollouts.extras`. Here is what all have in common;
beside this module are

    sampled         independent responses
    refill          the same until groups are live
    masked          the same among tokens that a masking policy keeps
    prefixes        responses as tokens to go on from
    actions         which tokens of rows the policy chose
    greedy          the greedy response as a baseline
    prefix_values   what continuations of prefixes earn
    tree            trees of samples
    searched        steps of a tree search
    hardest         any of them on the questions of the largest perplexity
    playing         several turns with an environment between them
    turns           what happened in them, and where
    episodes        such episodes, a row each
    by_turn         the same, a row a turn
    resampled       episodes that share their first turns
    aligned         episodes with as many turns of sub-agents each
    led             turns behind what a leading episode said
    forked          episodes that part where the policy became unsure
    grown           episodes that a tree search plays
    verdicts        what the policy says of their turns
    reflected       episodes that went wrong, rewritten to turn good
    rewritten       the same, where the template writes the history anew
    served          what programs asked the policy over HTTP
    noted           rows of answers behind tokens of their own
    wordings        one question in several words
    orders          the same, each with an answer of its own
    opponents       groups that two policies write
    rejected        responses that rejection sampling keeps
    demonstrations  rows that somebody else wrote
    imitated        groups that they are rows of
    resets          responses that go on from a demonstration
    begun           rows with beginnings that are assigned to them
    offline_states  groups that act once where a demonstration led
    guides          responses that two policies write in turn
    proposed        questions that the policy proposes and solves
    budgeted        groups of different sizes
    bandit_budgets  the same, chosen by bandits
    resumed         responses written a part at a time
    stepwise        responses, then single steps from states of theirs
    measured        responses, and a look at all questions now and then
    replay          earlier groups in place of those without a signal
    successes       earlier successes in groups that fail
    kept            rows that are kept for that
    retried         groups asked again in other words, where they fell short
    choices         which those are, and what they take
    hints           what those words are
    hinted          groups asked once, with hints that follow their successes
    phrases         how they are put, and whether there is room
    stimuli         responses that are words for another model
    temperature     rows that are sampled hotter or colder
    rated           rows whose tokens a second policy rates
    undersampled    rows of samplers that avoid what is there already
    recorded        responses that the data holds, with their scores
    matched         recorded responses, whose prompts are told apart
    exits           a thought that is broken off to answer
    anytime         thoughts with answers from nested budgets
    dropped         recorded responses without some of their thoughts
    earlier         groups of the iterations before, beside new ones
    anchored        groups with a demonstration, where all else is wrong
    tightened       a budget of tokens that becomes less

and in `jaxrl_llm.notes` what says more of the responses of another plan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Protocol

from jaxrl_llm.numerics import EntropyScale
from jaxrl_llm.tasks.speech import Said
from jaxrl_llm.types import (
  Array,
  Prompts,
  Rollouts,
  Scores,
  Spec,
  Stats,
)


class Tools(Protocol):
  """What the loop lends a plan.

  Attributes:
    columns: T, the token budget of a response.
    components: names of the run's scores, length K.
    environment: what answers the policy's turns, see `tasks.environments`.
    program: what asks it, see `serving.host`.
  """

  columns: int
  components: tuple[str, ...]
  environment: Any
  program: Any

  def draw(self) -> Prompts:
    """The next prompts of the curriculum, as many as before."""

  def generate(
    self,
    prompts: Prompts,
    key: Array,
    samples: int,
    *,
    most: int = 0,
    uids: Any = None,
  ) -> Rollouts:
    """Responses of at most `most` tokens; 0 is the budget of the run.

    What is random in a row is a function of the key and of its entry in `uids`
    i32[N]; without them, of its place.
    """

  def turn(
    self, rollouts: Rollouts, kept: Any, key: Array, *, most: int, going: Any
  ) -> tuple[Rollouts, Any]:
    """The next words of rows, behind what they say so far.

    Args:
      rollouts: N rows; those of a group are adjacent and share their prompt.
      kept: of the turn before of the same rows, None before the first. It is
        used up.
      most: tokens of the turn. going: bool[N] of NumPy, rows that say
        something.

    Returns:
      Rollouts of `most` columns with what was said now, and what is kept.
    """

  def cached(
    self, *, slots: int, columns: int, size: int, most: int
  ) -> Callable[..., Rollouts] | None:
    """What answers contexts, and keeps what it has read for those to come.

    Args:
      slots: contexts that are kept, those used last.
      columns: tokens of a context with its answer.
      size: contexts answered at once. most: tokens of an answer.

    Returns:
      f(contexts, key, uids) -> Rollouts of `size` rows without prompts, the
      first of which answer the contexts, by the keys of `uids` i32[size]. None
      where the run keeps nothing, and contexts are prompts.
    """

  def opened(
    self, tasks: Array, openings: Sequence[Any]
  ) -> tuple[Prompts, list[Any]]:
    """Prompts of tasks as an environment opens them, and their conversations.

    Args:
      openings: of the tasks, see `tasks.environments`; one whose prompt is ''
        has that of the record.
    """

  @property
  def tasks(self) -> int:
    """Questions of the data, A."""

  def questions(self, tasks: Any) -> Prompts:
    """The prompts of tasks i[B]."""

  def tell(self, scores: Any) -> None:
    """Tells the curriculum a score of every question, f[A]."""

  def tempered(
    self, prompts: Prompts, key: Array, samples: int, heat: float
  ) -> Rollouts:
    """Responses at a temperature that is `heat` times the run's.

    Their log-probs are the policy's at the run's temperature.
    """

  def varied(
    self,
    prompts: Prompts,
    key: Array,
    samples: int,
    *,
    swing: float,
    scale: EntropyScale,
  ) -> tuple[Rollouts, Array]:
    """Responses whose temperature follows the entropy of every draw.

    Args:
      swing, scale: as of `truncation.Sampling`.

    Returns:
      The rows, with the policy's log-probs, and its entropies f32[N, T].
    """

  def greedy(self, prompts: Prompts) -> Rollouts:
    """The most probable token at every place, one response a prompt."""

  def verify(
    self, rollouts: Rollouts, texts=None, rows=None
  ) -> tuple[Rollouts, Scores]:
    """Scores; a row whose verifier failed is no longer valid.

    `texts` are judged in place of the responses, and by `rows` in the
    place of the questions' records.
    """

  def rows(self, tasks: Array) -> Sequence[Mapping[str, Any]]:
    """The record of the data behind each task."""

  def prompts(self, tasks: Array, texts: Sequence[Any]) -> Prompts:
    """Prompts of other texts or messages than those of the tasks' records."""

  def fits(self, tasks: Array, texts: Sequence[Any]) -> list[bool]:
    """Which of such prompts are within the budget; `prompts` takes no other."""

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of plain texts, without any that the tokenizer adds."""

  def responses(self, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of whole responses, each ended once."""

  def decode(self, rollouts: Rollouts) -> list[str]:
    """The text of every response."""

  def pieces(self, rollouts: Rollouts) -> list[list[str]]:
    """The text of every response, token by token."""

  def talks(self, tasks: Array) -> list[Any]:
    """The conversations that begin with the prompts of tasks."""

  def chat(self, tools: Sequence[Any]) -> Any:
    """The chat of a program's conversations with these tools."""

  def read(
    self, rollouts: Rollouts, talks: Mapping[int, Any]
  ) -> dict[int, Said]:
    """What was said in the responses of some rows, and how they ended.

    Args:
      talks: the conversations that they go on with, by row.
    """

  def after(
    self, talk: Any, said: Said, observation: str | Sequence[Any]
  ) -> tuple[list[int], Any]:
    """Tokens between a turn and the next, and the conversation until then."""

  def score(self, rollouts: Rollouts, *needs: str) -> Stats:
    """What the current policy says of the tokens it chose, 0 of others."""

  def hidden_square(self, rollouts: Rollouts) -> Array:
    """f32[N, T], |h|^2 of the state that each token was drawn from."""

  def teachers(self, rollouts: Rollouts) -> Array:
    """f32[N, T, C], log-probs under the C policies of `teacher.paths`."""

  def rated(self, rollouts: Rollouts, scores: Scores) -> Array:
    """f32[N, T], log-ratios of the policy of `Contract.rater` to its start.

    After a step of it on these rows.
    """

  def taught(self, rollouts: Rollouts, *needs: str) -> Stats:
    """What the first policy of `teacher.paths` says of the rows."""

  def rival(self, prompts: Prompts, key: Array, samples: int) -> Rollouts:
    """Responses of the first policy of `teacher.paths`."""

  def opponent(
    self, prompts: Prompts, key: Array, samples: int, share: float
  ) -> Rollouts:
    """Responses of the policy mixed with the opponent of its reference."""

  def masked(
    self,
    prompts: Prompts,
    key: Array,
    samples: int,
    *,
    share: float,
    least: int,
  ) -> Rollouts:
    """Responses among the tokens that the reference's opponent would keep.

    Args:
      share: of its mass, at least. least: tokens, at least.
    """

  def ahead(self, rollouts: Rollouts, scores: Scores, key: Array):
    """What generates as the policy would after a step on these rows."""

  def moved(self, rollouts: Rollouts, key: Array):
    """What generates as the policy would once the recipe `contract.sampler`
    had moved it on these rows, whose rewards are 0."""

  def note(self, name: str, value: float) -> None:
    """Adds a metric."""


Check = Callable[[Sequence[Mapping[str, Any]]], None]


@dataclasses.dataclass(frozen=True)
class Contract:
  """What the house must know of a plan.

  It is one value, so that a plan which wraps another passes all of it on:
  `self.plan.contract.adding(provides={'answer'})`.

  Attributes:
    samples: G, rows of a group. groups: made of each prompt.
    provides: keys that the plan adds to `rollouts.extras`.
    columns: numeric fields of the data that become extras of every row.
    scores: names of verifiers whose scores it reads.
    asks: what the run must be given for it: 'environment', 'program',
      'teacher'.
    checks: f(records), called before a run with those of all questions that
      may be drawn. They raise a ValueError where some lack what the plan
      reads, which says how many, what they lack, and the remedy.
    turns: the most of an episode, 0 where nobody answers.
    refers: it samples from the recipe's reference.
    one_prompt: the rows of a group answer one and the same prompt, which the
      learner then reads once for all of them.
    rewords: it asks in other words than those of the data, which may be longer.
    may_lag: of the run's state it reads the policy's parameters alone, and
      every row carries the log-probs it was sampled with, so that rows may be
      learned from a step later, see `training.pipeline`.
    sampler: a recipe by which the policy is moved where it samples, or None.
    rater: a recipe by which a second policy learns beside the first, or None.
    written: texts that it puts into responses, at most one into each.
  """

  samples: int
  _: dataclasses.KW_ONLY
  groups: int = 1
  provides: Set[str] = frozenset()
  columns: tuple[str, ...] = ()
  scores: tuple[str, ...] = ()
  asks: Set[str] = frozenset()
  checks: tuple[Check, ...] = ()
  turns: int = 0
  refers: bool = False
  one_prompt: bool = True
  rewords: bool = False
  may_lag: bool = False
  sampler: Any = None
  rater: Any = None
  written: tuple[str, ...] = ()

  def adding(
    self,
    *,
    provides: Set[str] = frozenset(),
    scores: tuple[str, ...] = (),
    asks: Set[str] = frozenset(),
    checks: tuple[Check, ...] = (),
    refers: bool = False,
  ) -> Contract:
    """The same with more that is provided, read, asked for and checked."""
    return dataclasses.replace(
      self,
      provides=self.provides | provides,
      scores=self.scores + scores,
      asks=self.asks | asks,
      checks=self.checks + checks,
      refers=self.refers or refers,
    )


class Plan:
  """What makes scored rollouts of prompts; stateless unless it says more."""

  @property
  def contract(self) -> Contract:
    """What the house must know of it."""
    raise NotImplementedError

  def init(self, spec: Spec):
    """The state before the first iteration."""
    del spec
    return ()

  def collect(self, tools: Tools, prompts: Prompts, state, key: Array):
    """Rollouts of the prompts, their scores, and the next state."""
    raise NotImplementedError
