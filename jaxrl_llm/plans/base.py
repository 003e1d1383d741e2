"""Plans: how the responses that train are made.

    contract  what the house must know of the plan
    init(spec) -> state
    collect(tools, prompts, state, key) -> (rollouts, scores, state)

A plan is ordinary Python over compiled calls, because between rounds it may
have to read text, run verifiers or pick rows. It decides what the policy is
trained on, and provides what the recipe needs to know of every response
beside its score: keys of `rollouts.extras`. Here is what all have in common.
The plans, each in a file of its own:

  responses to a prompt
    sampled         independent ones
    refill          the same until groups are live
    masked          the same among tokens that a masking policy keeps
    tempered        groups that are sampled hotter or colder
    varied          tokens that are sampled hotter
    tightened       with a budget of tokens that becomes less
    resumed         written a part at a time
    measured        and a look at all questions now and then
    greedy          the greedy response as a baseline
    rejected        those that rejection sampling keeps
    undersampled    by samplers that avoid what is there already
    rated           whose tokens a second policy rates
    stimuli         that are words for another model
    opponents       half of them another policy's
    guides          that two policies write in turn
    proposed        questions that the policy proposes and solves
  which questions are asked, how, and how often
    hardest         those of the largest perplexity
    budgeted        groups of different sizes
    foretold        the same, by what earlier prompts foretell
    bandit_budgets  the same, chosen by bandits
    wordings        one question in several words
    orders          the same, each with an answer of its own
    retried         again in other words, where answers fell short
    hinted          with hints that follow the successes before
  parts of responses
    begun           beginnings that are assigned
    exits           a thought that is broken off to answer
    anytime         thoughts with answers from nested budgets
    stepwise        single steps from states of responses
    prefix_values   what continuations of prefixes earn
    tree            trees of samples
    searched        steps of a tree search
  earlier and other people's responses
    replay          earlier groups in place of those without a signal
    successes       earlier successes in groups that fail
    earlier         groups of the iterations before, beside new ones
    recorded        responses that the data holds, with their scores
    dropped         the same without some of their thoughts
    matched         the same, whose prompts are told apart
    imitated        groups with demonstrations
    anchored        groups with one where all else is wrong
    resets          responses that go on from a demonstration
    offline_states  groups that act once where a demonstration led
  episodes
    episodes        a row each
    by_turn         a row a turn
    resampled       that share their first turns
    forked          that part where the policy became unsure
    grown           that a tree search plays
    led             turns behind what a leading episode said
    aligned         with as many turns of sub-agents each
    reflected       that went wrong, and are told to turn good
    rewritten       whose history the template writes anew
    served          of programs that ask the policy over HTTP

and what they are made of:

    lent            what a plan is lent: the tools
    fields          what is asked of the records of questions
    prefixes        responses as tokens to go on from
    actions         which tokens of rows the policy chose
    kept            rows that are kept for later iterations
    demonstrations  what somebody else wrote, as rows
    phrases         questions in other words, and whether there is room
    hints           what those words are
    choices         who is asked again, and what is taken of it
    asking          how they are asked
    search_tree     what a tree search keeps
    opening         how episodes open
    playing         turns with an environment between them
    turns           what happened in them, and where
    verdicts        what the policy says of them
    noted           rows of answers behind tokens of their own
    requests        how the policy answers what programs ask

What says more of the responses of another plan is in `jaxrl_llm.notes`.
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
