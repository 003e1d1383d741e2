"""Advantages of responses that begin in different ways, such as modes.

    f(rewards f32[N], rollouts) -> f32[N, T]

The extra `beginning` i32[N] says how a response begins.
"""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm import grouping, numerics
from jaxrl_llm.advantages import group
from jaxrl_llm.reads import reads
from jaxrl_llm.rewards import thinking


@reads('beginning')
def nested_budgets(
  rewards, rollouts, *, budgets, longest, weight=1.0, epsilon=1e-6
):
  """Rewards within the group, and those of a budget beside what it is worth.

      A_i = norm_i + weight (mean of r_j over rows of i's group and budget
                             - worth(b_i))

  so that a budget is raised where its responses earn what it promises: it is
  the only one that does where all are equally right. norm is `group.norm`.

  Args:
    rewards: f32[N], see `rewards.thinking.within_budget`.
    rollouts: reads the extra `beginning` i32[N], places in `budgets`.
    budgets: tokens. longest: L. weight: of the second term; the published code
      adds it twice.

  Returns:
    f32[N, T], reward units. Of a group of equal rewards the first term is 0,
    the second is not.

  Source: HBPO, arXiv 2507.15844, equations 5 to 7.
  """
  beginning, valid = rollouts.extras['beginning'], rollouts.valid
  within = group.norm(rewards, rollouts.group, valid, epsilon=epsilon)
  together = grouping.joint(rollouts.group, beginning)
  mean = numerics.group_mean(rewards, together, valid)
  worth = thinking.worth(jnp.asarray(budgets)[beginning], longest)
  return jnp.where(
    rollouts.loss_mask, (within + weight * (mean - worth))[:, None], 0.0
  )


@reads('beginning', 'begun')
def within_and_across(
  rewards, rollouts, *, margin=0.2, weight=1.0, epsilon=1e-6
):
  """The best of each mode within the mode, and the better mode where it begins.

      A_it = norm(best)_i among the rows of i's group and mode
             + weight [t is of the beginning] norm(better)_i in the group
      best_i   = 1 if no row of i's group and mode earns more, else 0
      better_i = 1 if i's mode is argmax(mean_0 r, mean_1 r + margin), else 0

  Mode 0 thinks, mode 1 does not; a tie goes to the first.

  Args:
    rewards: f32[N]. rollouts: reads the extras `beginning` i32[N], the mode,
      and `begun` bool[N, T], tokens of the beginning.
    margin: delta, what answering at once is worth. weight: alpha.

  Returns:
    f32[N, T], without unit.

  Source: LHRM, arXiv 2505.14631, equations 8 to 11.
  """
  mode, valid = rollouts.extras['beginning'], rollouts.valid
  together = grouping.joint(rollouts.group, mode)
  best = rewards == numerics.group_max(rewards, together, valid)
  within = group.norm(best * 1.0, together, valid, epsilon=epsilon)
  thought, at_once = (
    numerics.group_mean(rewards, rollouts.group, valid & (mode == number))
    for number in (0, 1)
  )
  better = mode == jnp.where(at_once + margin > thought, 1, 0)
  across = group.norm(better * 1.0, rollouts.group, valid, epsilon=epsilon)
  head = rollouts.extras['begun'] * across[:, None]
  return jnp.where(rollouts.loss_mask, within[:, None] + weight * head, 0.0)
