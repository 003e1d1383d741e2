"""Responses whose tokens a second policy rates, which learns beside the first.

It begins as the policy does, and learns from the rows of another plan which are
right, before it says what their tokens are worth.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxrl_llm.plans.base import Plan


@dataclasses.dataclass(frozen=True)
class Rated(Plan):
  """The responses of another plan, with the extra `implicit_reward` f32[N, T].

      implicit_reward_t = weight (log phi(y_t) - log start(y_t))

  phi is the second policy, `rater` the recipe that it has taken a step by on
  these rows, with an optimizer and a reference of its own; start is the policy
  as the run began.

  Attributes:
    plan: of the responses. weight: beta, reward units per nat.

  Source: PRIME, arXiv 2502.01456, algorithm 1.
  """

  plan: Plan
  rater: Any
  weight: float = 0.05

  @property
  def contract(self):
    inner = self.plan.contract.adding(provides={'implicit_reward'})
    return dataclasses.replace(inner, rater=self.rater, may_lag=False)

  def init(self, spec):
    return self.plan.init(spec)

  def collect(self, tools, prompts, state, key):
    rollouts, scores, state = self.plan.collect(tools, prompts, state, key)
    said = self.weight * tools.rated(rollouts, scores)
    return rollouts.with_extras(implicit_reward=said), scores, state
