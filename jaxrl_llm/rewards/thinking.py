"""Shapers that price how long a response thinks, and in which mode.

f(rewards f32[N], rollouts) -> f32[N]

and stages that remember something of each task for it. Right is a response
whose reward is more than 1/2.
"""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp

from jaxrl_llm import numerics
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


def worth(tokens, longest):
  """What a right response of so many tokens earns: 4 cos(pi tokens / (2 L)).

  Args:
    tokens: f32[...] in [0, L]. longest: L.
  """
  return 4 * jnp.cos(math.pi * tokens / (2 * longest))


@reads('beginning')
def within_budget(rewards, rollouts, *, budgets, longest):
  """A right response earns less the longer it is, and beside its budget.

      r_i <- min(worth(len_i) - |len_i - b_i| / L, worth(b_i))
             if it is right, r_i > 1/2, and len_i <= L,  else 0

  so that a response which stays below a small budget earns more, and none
  earns more than its budget promises.

  Args:
    rewards: f32[N]. rollouts: for lengths, and reads the extra `beginning`
      i32[N], places in `budgets`. budgets: tokens. longest: L.

  Source: HBPO, arXiv 2507.15844, equations 2 to 4, and its code.
  """
  budget = jnp.asarray(budgets)[rollouts.extras['beginning']]
  length = rollouts.length
  value = worth(length, longest) - jnp.abs(length - budget) / longest
  value = jnp.minimum(value, worth(budget, longest))
  return jnp.where((rewards > 0.5) & (length <= longest), value, 0.0)


@reads('beginning', 'assigned')
def at_once_if_easy(rewards, rollouts, *, threshold=0.5, power=2.0):
  """A question that is easy pays less for a mode that takes longer.

      r_i <- r_i (1 - p^power)     if the question is easy and i's mode is not 0
             r_i                   else

  It is easy if more than `threshold` of the rows that were made to answer in
  mode 0, at once, are right; p is the share of all rows with an assigned mode
  that are.

  Args:
    rewards: f32[N]. rollouts: reads the extras `beginning` i32[N], the mode,
      and `assigned` bool[N]. threshold: tau in [0, 1]. power: alpha.

  Source: A2FM, arXiv 2510.12838, section 3.3, read at second hand.
  """
  mode, group = rollouts.extras['beginning'], rollouts.group
  assigned = rollouts.valid & rollouts.extras['assigned']
  right = (rewards > 0.5) * 1.0
  rate = numerics.group_mean(right, group, assigned)
  first = numerics.group_mean(right, group, assigned & (mode == 0))
  dear = (first > threshold) & (mode != 0)
  return rewards * jnp.where(dear, 1 - rate**power, 1.0)


@reads('exit')
def decaying(rewards, rollouts, *, base=2.0):
  """A right answer earns less for each right one from an earlier exit.

      r_i <- r_i base^-#{j in i's group: r_j > 1/2, exit_j < exit_i}

  Args:
    rewards: f32[N]. rollouts: reads the extra `exit` i32[N]. base: >= 1.

  Source: S-GRPO, arXiv 2505.07686, equation 3, read in a third party's code.
  """
  exit_, group = rollouts.extras['exit'], rollouts.group
  right = rollouts.valid & (rewards > 0.5)
  earlier = (group[:, None] == group) & (exit_[None, :] < exit_[:, None])
  return rewards * base ** -jnp.sum(earlier & right, axis=1, dtype=jnp.float32)
