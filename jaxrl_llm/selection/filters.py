"""Filters: rows that train and rows that do not.

f(rewards f32[N], group i32[N], valid bool[N]) -> f32[N], 0 or 1
"""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm import numerics


def mixed_groups(rewards, group, valid):
  """1 for rows of a group whose rewards are not all equal, else 0.

  Groups that the policy always solves, or never, carry no group-relative
  signal; dropping them keeps the effective batch from shrinking unnoticed.

  Source: DAPO, arXiv 2503.14476, equation 11.
  """
  low = numerics.group_min(rewards, group, valid)
  high = numerics.group_max(rewards, group, valid)
  return jnp.where(valid & (high > low), 1.0, 0.0)
