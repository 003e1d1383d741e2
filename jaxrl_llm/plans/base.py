"""Plans: how the responses that train are made.

    contract  what the house must know of the plan
    init(spec) -> state
    collect(tools, prompts, state, key) -> (rollouts, scores, state)

A plan is ordinary Python over compiled calls, because between rounds it may
have to read text, run verifiers or pick rows. It decides what the policy is
trained on, and provides what the recipe needs to know of every response
beside its score: keys of `rollouts.extras`. Here is what all have in common;
`jaxrl_llm.plans` lists them.
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
