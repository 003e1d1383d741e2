"""Shapers that price how long a response thinks, and in which mode.

f(rewards f32[N], rollouts) -> f32[N]

and stages that remember something of each task for it. Right is a response
whose reward is more than 1/2.
"""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp

from jaxrl_llm.reads import reads
from jaxrl_llm.rewards import behaviour


@dataclasses.dataclass(frozen=True)
class ShortestSoFar:
  """Stage: a response is measured by the shortest right one to its question.

      r_i <- r_i + weight max(-bound, c_i)     right, r_i > 1/2
             r_i + weight min(0, c_i)          wrong
      c_i = cos(pi / 2 min(len_i / h, 2))

  for the fewest tokens h of a right response in the iterations before; until
  there is one, r_i stays. A right response that is shorter gains, a wrong one
  is not paid for being short. h then takes in these responses.

  Attributes:
    weight: w. bound: the most that length costs a right response; less than 1,
      so that one which is right earns more than any that is not.

  Source: HAPO, arXiv 2505.11225, equations 1 to 4, and its code.
  """

  weight: float = 1.0
  bound: float = 0.7

  def init(self, spec):
    return jnp.full(spec.tasks, behaviour.NEVER, jnp.float32)

  def update(self, credit, rollouts, state):
    rewards, shortest = credit.rewards, state[rollouts.task]
    length = rollouts.length.astype(jnp.float32)
    # A response without tokens is as short as one of one token.
    share = jnp.minimum(length / jnp.maximum(shortest, 1), 2)
    curve = jnp.cos(math.pi / 2 * share)
    right = jnp.maximum(-self.bound, curve)
    bonus = jnp.where(rewards > 0.5, right, jnp.minimum(0, curve))
    bonus = jnp.where(shortest < behaviour.NEVER, bonus, 0)
    shaped = jnp.where(rollouts.valid, rewards + self.weight * bonus, 0)
    state = behaviour.least_of_right(state, rollouts, rewards, length)
    return credit.replace(rewards=shaped), state


@reads('beginning')
def by_beginning(rewards, rollouts, *, right=(1.0, 0.5), wrong=-1.0):
  """What a response earns depends on how it begins.

      r_i <- right_k     if it is right, r_i > 1/2, and has the k-th beginning
             wrong       else, which is also that of one with none of them

  Args:
    rewards: f32[N]. rollouts: reads the extra `beginning` i32[N].
    right: of each beginning, reward units. wrong: likewise.

  Source: Thinkless, arXiv 2505.13379, equation 3, and its code.
  """
  beginning, earned = (
    rollouts.extras['beginning'],
    jnp.full_like(rewards, wrong),
  )
  for number, value in enumerate(right):
    mine = (beginning == number) & (rewards > 0.5)
    earned = jnp.where(mine, value, earned)
  return earned
