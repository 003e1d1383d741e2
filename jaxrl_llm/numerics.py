"""Masked and grouped reductions, and functions made total.

Nothing here knows about reinforcement learning. Grouped reductions take
integer ids in [0, N) and give each row the value of its group, already
gathered back to rows, so ids are as short to use as axes. A group no row of
which counts has the neutral value named in each docstring.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

Array = jax.Array

LOG_RATIO_LIMIT = 20.0  # exp(20) = 4.9e8: finite in float32, and in its square


def bounded_exp(x: Array, limit: float = LOG_RATIO_LIMIT) -> Array:
  """exp(clip(x, -limit, limit)): finite, with zero gradient past the limit.

  Example:
    >>> print(bounded_exp(jnp.array([0.0, 99.0]), limit=1.0))
    [1.    2.718]
  """
  return jnp.exp(jnp.clip(x, -limit, limit))


def safe_divide(
  numerator: ArrayLike, denominator: Array, default: ArrayLike = 0.0
) -> Array:
  """numerator / denominator, and `default` with zero gradient where it is 0.

  Example:
    >>> print(safe_divide(jnp.array([1.0, 2.0]), jnp.array([4.0, 0.0])))
    [0.25 0.  ]
  """
  zero = denominator == 0
  quotient = numerator / jnp.where(zero, 1, denominator)
  return jnp.where(zero, default, quotient)


def beyond_rounding(x: Array) -> Array:
  """bool[...]: more than 1e-6 of the largest |x|, which float32 rounds to.

  A zero that centring or cancelling leaves is not told from noise otherwise.
  """
  size = jnp.abs(x)
  return size > 1e-6 * jnp.max(size)


def masked_sum(x: Array, mask: Array, axis=None) -> Array:
  """Sum over True entries; 0 where there is none, whatever x holds there."""
  return jnp.sum(jnp.where(mask, x, 0), axis=axis)


def masked_mean(x: Array, mask: Array, axis=None, keepdims=False) -> Array:
  """Mean over True entries; 0 where there is none.

  Taken of differences to the least entry, as `group_mean` does: where all
  entries are equal it is theirs exactly, so that what is left of them after
  it, 0, stays 0 whatever small spread it is divided by.

  Example:
    >>> x = jnp.array([1.0, 3.0, jnp.nan])
    >>> mask = jnp.array([True, True, False])
    >>> print(masked_mean(x, mask))
    2.0
  """
  count = jnp.sum(mask, axis=axis, keepdims=True).astype(x.dtype)
  low = jnp.min(jnp.where(mask, x, jnp.inf), axis=axis, keepdims=True)
  # What it shifts by takes no part in the slope; without an entry, or with an
  # infinite one, there is nothing to shift by.
  low = jax.lax.stop_gradient(jnp.where(jnp.isfinite(low), low, 0))
  total = jnp.sum(jnp.where(mask, x - low, 0), axis=axis, keepdims=True)
  mean = low + safe_divide(total, count)
  return mean if keepdims else jnp.squeeze(mean, axis)


def masked_variance(x: Array, mask: Array, axis=None, *, ddof=0) -> Array:
  """Variance over True entries; 0 where there are `ddof` entries or fewer.

  Exactly 0 where all entries are equal.
  """
  # Before the square: its slope at a masked NaN would reach the gradient.
  x = jnp.where(mask, x, 0)
  mean = masked_mean(x, mask, axis, keepdims=True)
  count = jnp.sum(mask, axis=axis).astype(x.dtype)
  squares = masked_sum((x - mean) ** 2, mask, axis)
  return safe_divide(squares, jnp.maximum(count - ddof, 0))


def whiten(x: Array, mask: Array, *, epsilon=1e-8, ddof=1) -> Array:
  """(x - mean) / sqrt(var + epsilon) over True entries; 0 elsewhere.

  Exactly 0 where all entries are equal.

  Example:
    >>> x = jnp.array([[1.0, 2.0, 3.0, 99.0]])
    >>> print(whiten(x, x < 10))
    [[-1.  0.  1.  0.]]
  """
  mean = masked_mean(x, mask)
  variance = masked_variance(x, mask, ddof=ddof)
  return jnp.where(mask, (x - mean) / jnp.sqrt(variance + epsilon), 0)


def last_index(mask: Array) -> Array:
  """i32[N]: column of the last True of each row; -1 for an empty row."""
  columns = jnp.arange(mask.shape[-1], dtype=jnp.int32)
  return jnp.max(jnp.where(mask, columns, -1), axis=-1)


def at_last(values: Array, mask: Array) -> Array:
  """f32[N, T]: `values[i]` at the last True column of row i, 0 elsewhere.

  Example:
    >>> mask = jnp.array([[True, True, False], [False, False, False]])
    >>> print(at_last(jnp.array([5.0, 7.0]), mask))
    [[0. 5. 0.]
     [0. 0. 0.]]
  """
  columns = jnp.arange(mask.shape[-1])
  place = columns == last_index(mask)[:, None]
  return jnp.where(place, values[:, None], 0.0)


def _segments(fn, x: Array, group: Array, where: Array, neutral) -> Array:
  chex.assert_rank([group, where], 1)
  chex.assert_equal_shape_prefix([x, group, where], 1)
  where = where.reshape(where.shape + (1,) * (x.ndim - 1))
  reduced = fn(jnp.where(where, x, neutral), group, num_segments=group.shape[0])
  return reduced[group]


def group_sum(x: Array, group: Array, where: Array) -> Array:
  """Each row's group sum, gathered back to rows; 0 for an empty group."""
  return _segments(jax.ops.segment_sum, x, group, where, 0)


def group_count(group: Array, where: Array) -> Array:
  """f32[N]: how many rows of each row's group count."""
  return group_sum(jnp.ones(group.shape, jnp.float32), group, where)


def group_min(x: Array, group: Array, where: Array) -> Array:
  """Each row's group minimum; +inf for an empty group."""
  return _segments(jax.ops.segment_min, x, group, where, jnp.inf)


def group_max(x: Array, group: Array, where: Array) -> Array:
  """Each row's group maximum; -inf for an empty group."""
  return _segments(jax.ops.segment_max, x, group, where, -jnp.inf)


def group_mean(x: Array, group: Array, where: Array) -> Array:
  """Each row's group mean; 0 for an empty group.

  The mean is taken of differences to the group's minimum: in a group of
  equal values it is that value exactly, so `x - group_mean` is exactly 0
  there, which a plain float32 sum of, say, three 0.1 does not give.

  Example:
    >>> x, group = jnp.array([1.0, 3.0, 8.0]), jnp.array([0, 0, 2])
    >>> print(group_mean(x, group, jnp.ones(3, bool)))
    [2. 2. 8.]
  """
  count = group_count(group, where)
  count = count.reshape(count.shape + (1,) * (x.ndim - 1))
  low = jnp.where(count > 0, group_min(x, group, where), 0)
  return low + safe_divide(group_sum(x - low, group, where), count)


def group_std(x: Array, group: Array, where: Array, *, ddof=1) -> Array:
  """Each row's group spread; 0 for a group of `ddof` rows or fewer.

  Example:
    >>> x, group = jnp.array([1.0, 3.0, 8.0]), jnp.array([0, 0, 2])
    >>> print(group_std(x, group, jnp.ones(3, bool)))
    [1.414 1.414 0.   ]
  """
  wide = where.reshape(where.shape + (1,) * (x.ndim - 1))
  centred = jnp.where(wide, x, 0) - group_mean(x, group, where)
  squares = group_sum(centred**2, group, where)
  count = group_count(group, where)
  count = count.reshape(count.shape + (1,) * (x.ndim - 1))
  variance = safe_divide(squares, jnp.maximum(count - ddof, 0))
  # The double where: sqrt has an infinite slope at 0.
  positive = variance > 0
  return jnp.where(positive, jnp.sqrt(jnp.where(positive, variance, 1)), 0)


def discounted_sum(x: Array, mask: Array, *, decay=1.0) -> Array:
  """Sum from each column to the end, skipping masked columns.

      y_t = x_t + decay * y_next(t)     on mask;  y_t = y_next(t) off it

  A masked column (a tool's output, say) passes the running value through
  unchanged and undiscounted, and gets 0 itself.

  Args:
    x: f32[N, T]. mask: bool[N, T]. decay: per unmasked column.

  Example:
    >>> x, mask = jnp.array([[1.0, 1.0, 1.0]]), jnp.ones((1, 3), bool)
    >>> print(discounted_sum(x, mask, decay=0.5))
    [[1.75 1.5  1.  ]]
  """

  def step(following, column):
    value, here = column
    total = jnp.where(here, value + decay * following, following)
    return total, total

  start = jnp.zeros(x.shape[0], x.dtype)
  _, sums = jax.lax.scan(step, start, (x.T, mask.T), reverse=True)
  return jnp.where(mask, sums.T, 0)


class EntropyScale(NamedTuple):
  """Where the log-entropies of a step lie: f32[] each, nats' logarithms.

  Attributes:
    pivot: the quantile that separates uncertain tokens from sure ones.
    above, below: the furthest deviations from it, >= 0 and <= 0.
  """

  pivot: ArrayLike
  above: ArrayLike
  below: ArrayLike


def entropy_scale(entropy, share, *, quantile=0.8) -> EntropyScale:
  """The scale of `entropy_rank` for the tokens of a step.

      e = log max(H, 1e-8),   pivot = quantile of e (nearest rank)

  Args:
    entropy: f32[N, T], nats. share: f32[N, T], > 0 on the step's tokens.
    quantile: in [0, 1].

  Returns:
    The scale, all 0 for a step without tokens.
  """
  counts = share > 0
  e = _log_entropy(entropy)
  ascending = jnp.sort(jnp.where(counts, e, jnp.inf).ravel())
  last = jnp.maximum(jnp.sum(counts) - 1, 0)
  pivot = ascending[jnp.round(quantile * last).astype(jnp.int32)]
  pivot = jnp.where(jnp.any(counts), pivot, 0.0)
  z = jnp.where(counts, e - pivot, 0.0)
  return EntropyScale(pivot, jnp.max(z), jnp.min(z))


def _log_entropy(entropy):
  return jnp.log(jnp.maximum(entropy, 1e-8))


def entropy_rank(entropy, scale: EntropyScale):
  """h: where a token's log-entropy stands on a scale, in [-1, 1].

      h = (e - pivot) / above      above the pivot
      h = (e - pivot) / |below|    below it

  The published code divides deviations below the pivot by their negative
  minimum, which makes them positive; the paper's text needs the sign kept,
  as here. It also divides by the root mean square first, which cancels.

  Returns:
    f32 like `entropy`; 0 on a side of the pivot where no token lies.

  Source: HAPO, arXiv 2509.16591, and its published code.
  """
  pivot, above, below = map(jnp.asarray, scale)
  z = _log_entropy(entropy) - pivot
  rank = jnp.where(z > 0, safe_divide(z, above), safe_divide(z, -below))
  return jnp.clip(rank, -1, 1)
