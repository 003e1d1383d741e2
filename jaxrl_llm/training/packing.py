"""Microbatches whose rows are filled with several short ones.

A microbatch is an array of a certain number of rows, each as long as the
longest may be. Here rows are read one behind the other in it, so that the rows
of an optimizer step take fewer microbatches than they would one by one. How
many is not known beforehand: the loop goes on until none waits. What a
scorer says of rows does not depend on where they stand, and losses are sums
over rows, so nothing changes but the order of sums.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxrl_llm.training import pieces
from jaxrl_llm.types import Array, Places, PyTree


def fitted(
  length: Array, waiting: Array, *, rows: int, width: int, unit: int = 1
) -> Places:
  """Places of as many waiting rows as fit, the longest first.

  Each row goes into the first packed row that has room for it.

  Args:
    length: i32[N], tokens of each row, at most `width`.
    waiting: bool[N].
    rows: R, of packed rows. width: W, their columns.
    unit: adjacent rows that get places together or not at all; at most R, so
      that the first of them always do. A unit waits as a whole.

  Source: first-fit decreasing; D. S. Johnson, Near-optimal bin packing
  algorithms, 1973.
  """
  units = jnp.where(waiting, length, -1).reshape(-1, unit)
  order = jnp.argsort(-jnp.max(units, axis=1), stable=True)

  def put(used, number):
    def one(used, size):
      room = used + size <= width
      row = jnp.where(jnp.any(room), jnp.argmax(room), rows)
      place = row, used.at[row].get(mode='fill', fill_value=0)
      return used.at[row].add(size, mode='drop'), place

    sizes = units[number]
    after, (row, column) = jax.lax.scan(one, used, jnp.maximum(sizes, 0))
    fits = jnp.all(row < rows) & jnp.any(sizes >= 0)
    return jnp.where(fits, after, used), (jnp.where(fits, row, rows), column)

  used = jnp.zeros(rows, jnp.int32)
  _, (row, column) = jax.lax.scan(put, used, order)

  def back(x):
    return jnp.zeros_like(x).at[order].set(x).reshape(-1)

  return Places(back(row), back(column), rows)


def accumulated(
  of_rows: Callable,
  tree: PyTree,
  waiting: Array,
  length: Array,
  *,
  rows: int,
  width: int,
  unit: int,
  devices: int,
):
  """Gradients and metrics of all that waits, a packed microbatch at a time.

  Args:
    of_rows: f(tree, places) -> what rows with a place add, as a pair of sums
      and metrics, see `pieces`.
    tree: leaves [N, ...]. waiting: bool[N]. length: i32[N].
    rows, width, unit: of the rows of a device, as in `fitted`.
    devices: which have N / devices rows each and pack them by themselves.

  Returns:
    The pair; with several devices that of each, on a leading axis.
  """
  place = functools.partial(fitted, rows=rows, width=width, unit=unit)
  parts = tree, waiting, length
  if devices > 1:
    parts = pieces.split(parts, devices)
    place, of_rows = jax.vmap(place), jax.vmap(of_rows)
  tree, waiting, length = parts

  def step(carry):
    waiting, total = carry
    places = place(length, waiting)
    total = pieces.added(total, of_rows(tree, places))
    return waiting & ~places.placed, total

  places = jax.eval_shape(place, length, waiting)
  carry = waiting, pieces.nothing(of_rows, tree, places)
  return jax.lax.while_loop(lambda c: jnp.any(c[0]), step, carry)[1]
