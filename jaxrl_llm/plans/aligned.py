"""Episodes in which sub-agents have as many turns, however often they act."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm import grouping, numerics
from jaxrl_llm.plans.base import Plan
from jaxrl_llm.types import Array, Rollouts


def copies(rollouts: Rollouts, key: Array, *, calls: int) -> Array:
  """How often each turn counts, so that episodes have as many of sub-agents.

      c_i = floor(D / d) + [u_i < D mod d]

  with d the turns of sub-agents in the episode, D = `calls`, and u a random
  order of them: where they are fewer than D some are repeated, where they are
  more some are left out. Turns of the main agent, which acts first, count once.

  Args:
    rollouts: N rows of one turn; reads the extras `trajectory`, `step` and
      `agent`. key: of the order.
    calls: D, turns of sub-agents that an episode is to have.

  Returns:
    i32[N], 0 in rows that do not count. An episode without sub-agents stays so.

  Source: M-GRPO, arXiv 2511.13288, its trajectory alignment; which are
  repeated more often than others is not said there.
  """
  extras, valid = rollouts.extras, rollouts.valid
  episode = grouping.joint(rollouts.group, extras['trajectory'])
  first = numerics.group_min(extras['step'] * 1.0, episode, valid)
  begins = valid & (extras['step'] == first)
  chief = numerics.group_max(extras['agent'] * 1.0, episode, begins)
  sub = valid & (extras['agent'] != chief)
  count = jnp.maximum(numerics.group_count(episode, sub), 1).astype(jnp.int32)
  order = grouping.rank(jax.random.uniform(key, valid.shape), episode, sub)
  aligned = calls // count + (order < calls % count)
  return jnp.where(sub, aligned, valid * 1).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class Aligned(Plan):
  """Steps of another plan, and how often each counts, in the extra `copies`.

  Attributes:
    plan: whose rows are turns. calls: of sub-agents in an episode.
  """

  plan: Plan
  calls: int = 4

  @property
  def contract(self):
    return self.plan.contract.adding(provides=frozenset({'copies'}))

  def init(self, spec):
    return self.plan.init(spec)

  def collect(self, tools, prompts, state, key):
    made = self.plan.collect(tools, prompts, state, key)
    rollouts, scores, state = made
    found = copies(rollouts, jax.random.fold_in(key, 1), calls=self.calls)
    return rollouts.with_extras(copies=found), scores, state
