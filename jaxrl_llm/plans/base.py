"""Plans: how the responses that train are made.

    init(spec) -> state
    collect(tools, prompts, state, key) -> (rollouts, scores, state)

A plan is ordinary Python over compiled calls, because between rounds it may
have to read text, run verifiers or pick rows. It decides what the policy is
trained on, and provides what the recipe needs to know of every response
beside its score: keys of `rollouts.extras`. Here is the plainest, and what all
have in common; beside this module are

    prefixes        responses as tokens to go on from
    greedy          the greedy response as a baseline
    branching       values of prefixes, trees of samples
    episodes        several turns with an environment between them
    wordings        one question in several words
    opponents       groups that two policies write
    demonstrations  rows that somebody else wrote
    resets          responses that go on from a demonstration
    offline_states  groups that act once where a demonstration led
    guides          responses that two policies write in turn
    budgeted        groups of different sizes
    replay          earlier groups in place of those without a signal
    temperature     rows that are sampled hotter or colder
    recorded        responses that the data holds, with their scores
    notes, passes   plans that also say more of the responses of another
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

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
  """

  columns: int
  components: tuple[str, ...]
  environment: Any

  def draw(self) -> Prompts:
    """The next prompts of the curriculum, as many as before."""

  def generate(
    self, prompts: Prompts, key: Array, samples: int, *, most: int = 0
  ) -> Rollouts:
    """Responses of at most `most` tokens; 0 is the budget of the run."""

  def tempered(
    self, prompts: Prompts, key: Array, samples: int, temperature: float
  ) -> Rollouts:
    """Responses at another temperature; their log-probs are the policy's."""

  def greedy(self, prompts: Prompts) -> Rollouts:
    """The most probable token at every place, one response a prompt."""

  def verify(
    self, rollouts: Rollouts, texts=None, rows=None
  ) -> tuple[Rollouts, Scores]:
    """Scores; a row whose verifier failed is no longer valid.

    `texts` are judged in the place of the responses, and by `rows` in the
    place of the questions' records.
    """

  def rows(self, tasks: Array) -> Sequence[Mapping[str, Any]]:
    """The record of the data behind each task."""

  def prompts(self, tasks: Array, texts: Sequence[Any]) -> Prompts:
    """Prompts of other texts or messages than those of the tasks' records."""

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of plain texts, without any that the tokenizer adds."""

  def responses(self, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of whole responses, each ended once."""

  def decode(self, rollouts: Rollouts) -> list[str]:
    """The text of every response."""

  def pieces(self, rollouts: Rollouts) -> list[list[str]]:
    """The text of every response, token by token."""

  def score(self, rollouts: Rollouts, *needs: str) -> Stats:
    """What the current policy says of the tokens it chose, 0 of others."""

  def hidden_square(self, rollouts: Rollouts) -> Array:
    """f32[N, T], |h|^2 of the state that each token was drawn from."""

  def teachers(self, rollouts: Rollouts) -> Array:
    """f32[N, T, C], log-probs under the C policies of `teacher.paths`."""

  def rival(self, prompts: Prompts, key: Array, samples: int) -> Rollouts:
    """Responses of the first policy of `teacher.paths`."""

  def opponent(
    self, prompts: Prompts, key: Array, samples: int, share: float
  ) -> Rollouts:
    """Responses of the policy mixed with the opponent of its reference."""

  def ahead(self, rollouts: Rollouts, scores: Scores, key: Array):
    """What generates as the policy would after a step on these rows."""

  def note(self, name: str, value: float) -> None:
    """Adds a metric."""


class Plan:
  """What makes scored rollouts of prompts; stateless unless it says more.

  Attributes:
    samples: G, rows of a group. groups: made of each prompt.
    provides: keys that it adds to `rollouts.extras`.
    columns: numeric fields of the data that become extras of every row.
    scores: names of verifiers whose scores it reads.
    asks: what the run must be given for it: 'environment', 'teacher'.
    turns: the most of an episode, 0 where nobody answers.
    refers: it samples from the recipe's reference.
    one_prompt: the rows of a group answer one and the same prompt, which the
      learner then reads once for all of them.
    may_lag: of the run's state it reads the policy's parameters alone, and
      every row carries the log-probs it was sampled with, so that rows may be
      learned from a step later, see `training.pipeline`.
  """

  samples: int
  groups: int = 1
  provides: frozenset[str] = frozenset()
  columns: tuple[str, ...] = ()
  scores: tuple[str, ...] = ()
  asks: frozenset[str] = frozenset()
  turns: int = 0
  refers: bool = False
  one_prompt: bool = False
  may_lag: bool = False

  def init(self, spec: Spec):
    del spec
    return ()

  def collect(self, tools: Tools, prompts: Prompts, state, key: Array):
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Independent(Plan):
  """`samples` independent responses to each prompt.

  Attributes:
    columns: numeric fields of the data, provided as extras f32[N].
  """

  samples: int = 8
  columns: tuple[str, ...] = ()
  one_prompt = True
  may_lag = True

  @property
  def provides(self):
    return frozenset(self.columns)

  def collect(self, tools, prompts, state, key):
    rollouts = tools.generate(prompts, key, self.samples)
    return *tools.verify(rollouts), state


@dataclasses.dataclass(frozen=True)
class WithinSupport(Plan):
  """Independent responses from a sampler that records what it kept.

  The learner's log-probs are then among the recorded tokens, so that every
  step of the iteration stays within the set that the policy at its start
  would have kept.

  Raises:
    ValueError: a sampler that records nothing.
  """

  samples: int = 1
  provides = frozenset({'support'})
  may_lag = True

  def collect(self, tools, prompts, state, key):
    rollouts = tools.generate(prompts, key, self.samples)
    if 'support' not in rollouts.extras:
      raise ValueError(
        'the recipe learns among the tokens that the sampler kept, which it '
        'does not record; set sample.support to 100, say, and sample.top_p '
        'to 0.9'
      )
    return *tools.verify(rollouts), state


@jax.jit
def _first_live(kept, new, live_kept, live_new):
  """The first live groups of two sets of rows, then the first dead ones.

  Args:
    kept, new: pytrees of the same shapes, leading axis N.
    live_kept, live_new: bool[N], equal within a group.

  Returns:
    The chosen rows, in the shapes of `kept`, and bool[N], which are live.
  """
  live = jnp.concatenate([live_kept, live_new])
  # A stable sort keeps groups adjacent and in the order they were drawn.
  chosen = jnp.argsort(~live, stable=True)[: live_kept.shape[0]]
  rows = jax.tree.map(lambda a, b: jnp.concatenate([a, b])[chosen], kept, new)
  return rows, live[chosen]


@dataclasses.dataclass(frozen=True)
class Refill(Plan):
  """Draws more prompts until every group is live: dynamic sampling.

  Groups that `live` drops are replaced by groups of newly drawn prompts. After
  `rounds` rounds the remaining places are left to dead groups, which the
  same filter among the credit stages weighs with 0.

  Attributes:
    live: f(rewards, group, valid) -> f32[N], > 0 on live rows.
    samples: rows of a group. rounds: the most rounds of sampling.

  Source: DAPO, arXiv 2503.14476, section 3.2.
  """

  live: Callable
  samples: int = 8
  rounds: int = 4
  one_prompt = True
  may_lag = True

  def collect(self, tools, prompts, state, key):
    kept = alive = None
    for number in range(self.rounds):
      source = prompts if number == 0 else tools.draw()
      round_key = jax.random.fold_in(key, number)
      rollouts = tools.generate(source, round_key, self.samples)
      rollouts, scores = tools.verify(rollouts)
      rewards = scores.components @ scores.weights
      live = self.live(rewards, rollouts.group, rollouts.valid) > 0
      live = jnp.repeat(
        jnp.any(live.reshape(-1, self.samples), axis=1), self.samples
      )
      rows = (rollouts, scores.components)
      if kept is None:
        kept, alive = rows, live
      else:
        kept, alive = _first_live(kept, rows, alive, live)
      if bool(jnp.all(alive)):
        break
    rollouts, components = kept
    # Rows of several rounds meet here: their group ids must differ again.
    group = jnp.arange(rollouts.group.shape[0], dtype=jnp.int32) // self.samples
    tools.note('plan/rounds', number + 1)
    scores = scores.replace(components=components)
    return rollouts.replace(group=group), scores, state


def independent(
  *, samples: int = 8, columns: tuple[str, ...] = ()
) -> Independent:
  """`samples` independent responses to each prompt."""
  return Independent(samples, columns)


def within_support(*, samples: int = 1) -> WithinSupport:
  """Independent responses, learned among the tokens that were kept."""
  return WithinSupport(samples)


def refill(live: Callable, *, samples: int = 8, rounds: int = 4) -> Refill:
  """Draws more prompts until every group is live."""
  return Refill(live, samples, rounds)
