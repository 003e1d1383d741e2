"""Plans: how the responses that train are made.

    contract  what the house must know of the plan
    init(spec) -> state
    collect(tools, prompts, state, key) -> (rollouts, scores, state)

A plan is ordinary Python over compiled calls, because between rounds it may
have to read text, run verifiers or pick rows. It decides what the policy is
trained on, and provides what the recipe needs to know of every response
beside its score: keys of `rollouts.extras`. Here is what all have in common;
beside this module are

    lent            what a plan is lent: the tools
    sampled         independent responses
    refill          the same until groups are live
    masked          the same among tokens that a masking policy keeps
    prefixes        responses as tokens to go on from
    actions         which tokens of rows the policy chose
    fields          what is asked of the records of questions
    greedy          the greedy response as a baseline
    prefix_values   what continuations of prefixes earn
    tree            trees of samples
    searched        steps of a tree search
    search_tree     what that search keeps
    hardest         any of them on the questions of the largest perplexity
    playing         several turns with an environment between them
    opening         how they open
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
    requests        how it answers what they ask
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
    asking          how they are asked
    choices         which those are, and what they take
    hints           what those words are
    hinted          groups asked once, with hints that follow their successes
    phrases         how they are put, and whether there is room
    stimuli         responses that are words for another model
    tempered        groups that are sampled hotter or colder
    varied          tokens that are
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
from typing import Any

from jaxrl_llm.plans.lent import Tools
from jaxrl_llm.types import Array, Prompts, Spec

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
