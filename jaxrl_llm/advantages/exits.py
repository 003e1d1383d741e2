"""Advantages of thoughts that were broken off to answer.

f(rewards f32[N], rollouts) -> f32[N, T]
"""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm import grouping, numerics
from jaxrl_llm.reads import reads


def prior(name: str, budgets: int) -> tuple[float, ...]:
  """How likely each of S nested budgets is to be that of an answer.

  Args:
    name: uniform; linear, in proportion to the budget; or base, the last alone.

  Raises:
    ValueError: another name.

  Example:
    >>> prior('linear', 4)
    (0.1, 0.2, 0.3, 0.4)
  """
  weights = {
    'uniform': [1] * budgets,
    'linear': range(1, budgets + 1),
    'base': [0] * (budgets - 1) + [1],
  }
  if name not in weights:
    raise ValueError(
      f'the prior {name!r} of budgets is none of {", ".join(weights)}'
    )
  return tuple(weight / sum(weights[name]) for weight in weights[name])


@reads('role', 'trajectory', 'exit', 'segment')
def budget_relative(rewards, rollouts, *, chances):
  """Each part of a thought by what it adds at the budgets after it (BRPO).

      A_s  = R_s - s / S V_s - (S - s) / S mean_g R_s       s = 0 .. S - 1
      R_s  = sum_{k >= s} p_k q_k
      V_s  = sum_{k >= s} p_k sum_{k < s} 2^k q_k / sum_{k < s} 2^k,   V_0 = 0

  on the tokens between budgets s - 1 and s of a thought, of which q_k is the
  mean reward of its answers at budget k; where it ended before, of those at
  its end. An answer is compared with the others behind the same prefix, and
  where it is the only one with all of its group at that budget.

  Args:
    rewards: f32[N]. rollouts: reads the extras `role` i32[N], 0 of thoughts
      and 1 of answers, `trajectory` i32[N], `exit` i32[N] and `segment`
      i32[N, T], see `plans.exits`.
    chances: p_k of the S budgets.

  Returns:
    f32[N, T], reward units. mean_g R_s is 0 in a group of one thought.

  Source: AnytimeReasoner, arXiv 2505.13438, equations 6 to 10, and its code.
  """
  extras, group, valid = rollouts.extras, rollouts.group, rollouts.valid
  exit_, budgets = extras['exit'], len(chances)
  answers, thoughts = (valid & (extras['role'] == k) for k in (1, 0))
  path = grouping.joint(group, extras['trajectory'])
  quality = _quality(rewards, path, answers, exit_, budgets)

  chance = jnp.asarray(chances)
  to_come = jnp.cumsum((chance * quality)[:, ::-1], axis=1)[:, ::-1]
  powers = 2.0 ** jnp.arange(budgets)
  # What stands before budget s: the first of these sums is of nothing.
  before = jnp.cumsum(powers * quality, axis=1) - powers * quality
  known = numerics.safe_divide(before, jnp.cumsum(powers) - powers)
  own = known * jnp.cumsum(chance[::-1])[::-1]
  many = numerics.group_count(group, thoughts) > 1
  mean = numerics.group_mean(to_come, group, thoughts)
  peers = jnp.where(many[:, None], mean, 0.0)
  late = jnp.arange(budgets) / budgets
  parts = to_come - late * own - (1 - late) * peers
  segment = jnp.clip(extras['segment'], 0, budgets - 1)
  thought = jnp.take_along_axis(parts, segment, axis=1)

  prefix = grouping.joint(path, exit_)
  alone = numerics.group_count(prefix, answers) < 2
  together = grouping.joint(group, exit_)
  level = jnp.where(
    alone,
    numerics.group_mean(rewards, together, answers),
    numerics.group_mean(rewards, prefix, answers),
  )
  answer = (rewards - level)[:, None]
  own_rows = jnp.where((extras['role'] == 1)[:, None], answer, thought)
  return jnp.where(rollouts.loss_mask, own_rows, 0.0)


def _quality(rewards, path, answers, exit_, budgets):
  """q f32[N, S]: of each row's thought at every budget; 0 before its first."""
  columns, last = [], jnp.zeros_like(rewards)
  for budget in range(budgets):
    here = answers & (exit_ == budget)
    mean = numerics.group_mean(rewards, path, here)
    last = jnp.where(numerics.group_count(path, here) > 0, mean, last)
    columns.append(last)
  return jnp.stack(columns, axis=1)
