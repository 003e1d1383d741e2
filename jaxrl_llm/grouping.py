"""Keys that say which rows are compared, and order within what they select.

Like `numerics`, nothing here knows about reinforcement learning. Rows are
compared pairwise where that keeps a function exact and free of order: an
iteration has at most some thousands of rows.
"""

from __future__ import annotations

import chex
import jax.numpy as jnp

from jaxrl_llm import numerics


def joint(*ids):
  """One key for several: rows get equal ids where all of `ids` are equal.

      key_i = the first row j with ids_j = ids_i

  Args:
    ids: each i32[N], any values.

  Returns:
    i32[N] in [0, N).
  """
  chex.assert_rank(ids, 1)
  chex.assert_equal_shape(ids)
  equal = jnp.stack([x[:, None] == x[None, :] for x in ids]).all(axis=0)
  return jnp.argmax(equal, axis=1).astype(jnp.int32)


def whole(group):
  """The key under which all rows are compared."""
  return jnp.zeros_like(group)


def representatives(group, where):
  """bool[N]: one row of each group that has a row in `where`."""
  rows = jnp.arange(group.shape[0])
  first = numerics.group_min(rows * 1.0, group, where)
  return where & (rows == first)


def rank(x, group, where):
  """How many rows of its group each row exceeds; ties share their mean rank.

      rank_i = #{j: x_j < x_i} + (#{j: x_j = x_i} - 1) / 2

  Args:
    x: f32[N]. group: i32[N]. where: bool[N], rows that count.

  Returns:
    f32[N], from 0 (smallest) to size - 1; 0 where not counted.
  """
  peers = (group[:, None] == group[None, :]) & where[None, :]
  below = jnp.sum(peers & (x[None, :] < x[:, None]), axis=1)
  tied = jnp.sum(peers & (x[None, :] == x[:, None]), axis=1)
  return jnp.where(where, below + (tied - 1) / 2, 0.0)


def quantile(x, where, levels):
  """Quantiles of the entries that count, by linear interpolation.

  Args:
    x: f32[N]. where: bool[N]. levels: tuple of L numbers in [0, 1].

  Returns:
    f32[L]; 0 where nothing counts.
  """
  count = jnp.sum(where)
  ordered = jnp.sort(jnp.where(where, x, jnp.inf))
  place = jnp.asarray(levels, jnp.float32) * jnp.maximum(count - 1, 0)
  low = jnp.floor(place).astype(jnp.int32)
  ordered = jnp.where(jnp.isfinite(ordered), ordered, 0)
  # At the largest place - low is 0, whatever stands beyond it.
  step = (ordered[low + 1] - ordered[low]) * (place - low)
  return jnp.where(count > 0, ordered[low] + step, 0.0)
