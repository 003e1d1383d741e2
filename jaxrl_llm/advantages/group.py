"""Advantages of whole rows: a centre and a scale within a grouping key.

    f(rewards f32[N], group i32[N], valid bool[N]) -> f32[N]

Rows that are not valid get 0 and influence nothing. A row alone in its group
has nothing to be compared with and gets 0.
"""

from __future__ import annotations

import chex
import jax.numpy as jnp

from jaxrl_llm import numerics


def _check(rewards, group, valid):
  chex.assert_rank([rewards, group, valid], 1)
  chex.assert_equal_shape([rewards, group, valid])


def reward(rewards, group, valid):
  """A_i = r_i: no baseline.

  Source: REINFORCE, Williams 1992.
  """
  _check(rewards, group, valid)
  return jnp.where(valid, rewards, 0)


def centre(rewards, group, valid):
  """Reward minus its group's mean.

      A_i = r_i - mean_g

  Args:
    rewards: f32[N], any unit; higher is better.
    group: i32[N], ids in [0, N); equal ids are compared.
    valid: bool[N], rows that count.

  Returns:
    f32[N], reward units. Exactly 0 in a group of equal rewards.

  Source: Dr. GRPO, arXiv 2503.20783, section 3.
  """
  _check(rewards, group, valid)
  mean = numerics.group_mean(rewards, group, valid)
  return jnp.where(valid, rewards - mean, 0)


def norm(rewards, group, valid, *, epsilon=1e-6, ddof=1):
  """Reward minus its group's mean, in units of its group's spread.

      A_i = (r_i - mean_g) / (std_g + epsilon)

  Args:
    rewards: f32[N], any unit; higher is better.
    group: i32[N], ids in [0, N); equal ids are compared.
    valid: bool[N], rows that count. Others get 0 and influence nothing.
    epsilon: added to the spread, in reward units.
    ddof: 1 divides by n - 1 (the published code), 0 by n.

  Returns:
    f32[N], without unit. 0 for a group whose rewards are all equal, or of
    one row.

  Source: DeepSeekMath, arXiv 2402.03300, section 4.1.2.
  """
  centred = centre(rewards, group, valid)
  std = numerics.group_std(rewards, group, valid, ddof=ddof)
  return centred / (std + epsilon)


def leave_one_out(rewards, group, valid):
  """Reward minus the mean of the other rows of its group.

      A_i = r_i - sum_{j != i} r_j / (n - 1) = n / (n - 1) * (r_i - mean_g)

  The baseline does not depend on the row itself, so the estimate of the
  policy gradient is unbiased at any group size.

  Args:
    rewards: f32[N]. group: i32[N]. valid: bool[N].

  Returns:
    f32[N], reward units. 0 for a group of one row.

  Source: RLOO, arXiv 2402.14740, section 2.2.
  """
  count = numerics.group_count(group, valid)
  scale = numerics.safe_divide(count, jnp.maximum(count - 1, 0))
  return scale * centre(rewards, group, valid)
