"""Microbatches computed no wider than their longest response needs.

A program has one shape, but it may hold several bodies: the same computation
over the first w_1 < w_2 < ... < T columns, of which each microbatch runs the
narrowest that holds its responses. Columns that are left out hold padding,
whose statistics are 0 in any case, so nothing changes but the order of sums.

Rows of similar length go into one microbatch, or a long response would make
all its neighbours wide. A row that is not learned from counts as empty.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxrl_llm import reads
from jaxrl_llm.types import Array, Rollouts, Stats


def halved(columns: int, count: int) -> tuple[int, ...]:
  """`count` widths, the last `columns` and each half of the next, rounded up.

  Raises:
    ValueError: more than there are halves of `columns`.
  """
  most = math.ceil(math.log2(columns)) + 1
  if not 1 <= count <= most:
    raise ValueError(
      f'{count} widths of {columns} columns; halving gives 1 to {most}'
    )
  return tuple(-(-columns // 2**i) for i in reversed(range(count)))


def at_narrowest(fn: Callable, widths: tuple[int, ...], mask: Array, *operands):
  """fn(w, *operands) with the narrowest of the widths that holds the mask.

  All widths are compiled and one runs; differentiate inside `fn`, not
  through this, which would keep room for what every width remembers.

  Args:
    widths: ascending, the last T; () is T alone.
    mask: bool[N, T].
  """
  widths = widths or mask.shape[1:]
  used = jnp.max(_last_columns(mask))
  index = jnp.sum(used > jnp.array(widths[:-1], jnp.int32))
  branches = [functools.partial(fn, width) for width in widths]
  return jax.lax.switch(index, branches, *operands)


def narrowed(rollouts: Rollouts, width: int) -> Rollouts:
  """The rollouts in their first columns.

  Content narrows itself. Of the rest, cut is every array that has one entry
  for each decision, [N, T, ...]; of the extras `reads` knows which those are.
  """

  def cut(x):
    return x[:, :width] if x.ndim > 1 else x

  def cut_extra(name, x):
    # What has no second axis need not be known.
    return cut(x) if x.ndim > 1 and reads.find(name).axes[1] == 'T' else x

  extras = {name: cut_extra(name, x) for name, x in rollouts.extras.items()}
  short = jax.tree.map(cut, rollouts.replace(content=(), extras={}))
  return short.replace(content=rollouts.content.narrowed(width), extras=extras)


def widened(stats: Stats, columns: int) -> Stats:
  """The statistics with columns of padding behind them, T in all."""

  def padded(x):
    more = columns - x.shape[1]
    return jnp.pad(x, ((0, 0), (0, more)) + ((0, 0),) * (x.ndim - 2))

  found = jax.tree.map(padded, stats.replace(last_value=None))
  return found.replace(last_value=stats.last_value)


def order(mask: Array, *, samples: int, unit: int, free: bool) -> Array:
  """i32[N]: the rows from the shortest to the longest, in whole units.

  Args:
    mask: bool[N, T].
    samples: rows of a group, adjacent; they divide N.
    unit: adjacent rows that stay together, placed by the longest of them;
      they divide a group, or are whole groups.
    free: rows of a group may change places, which sorts them by length first,
      so that units of one group differ in it.
  """
  last = _last_columns(mask)
  rows = jnp.arange(mask.shape[0])
  if free:
    rows = jnp.argsort(last.reshape(-1, samples), axis=1)
    rows = rows + samples * jnp.arange(rows.shape[0])[:, None]
  units = rows.reshape(-1, unit)
  return units[jnp.argsort(jnp.max(last[units], axis=1))].reshape(-1)


def _last_columns(mask: Array) -> Array:
  """i32[N]: the columns up to the last one of each row's mask, 0 if empty."""
  return jnp.max(jnp.where(mask, jnp.arange(mask.shape[1]) + 1, 0), axis=1)
