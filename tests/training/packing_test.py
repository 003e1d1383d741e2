"""Which rows have a place, and that all get one in the end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.training import packing

WIDTH, ROWS = 10, 4


def oracle(length, waiting, unit):
  """First-fit decreasing of units, one by one."""
  units = np.where(waiting, length, -1).reshape(-1, unit)
  used, found = [0] * ROWS, {}
  for number in np.argsort(-units.max(1), kind='stable'):
    after, places = [*used], []
    for size in np.maximum(units[number], 0):
      room = [row for row in range(ROWS) if after[row] + size <= WIDTH]
      places.append((room[0], after[room[0]]) if room else None)
      if room:
        after[room[0]] += size
    if None not in places and (units[number] >= 0).any():
      used, found[number] = after, places
  return found


@pytest.mark.parametrize('unit', [1, 2])
@pytest.mark.parametrize('seed', range(5))
def test_the_longest_rows_go_where_there_is_room_first(unit, seed):
  rng = np.random.default_rng(seed)
  length, waiting = rng.integers(1, WIDTH + 1, 12), rng.random(12) < 0.8
  places = jax.jit(packing.fitted, static_argnames=('rows', 'width', 'unit'))(
    jnp.asarray(length), jnp.asarray(waiting), rows=ROWS, width=WIDTH, unit=unit
  )
  expected = oracle(length, waiting, unit)
  placed = np.asarray(places.placed).reshape(-1, unit)
  assert (placed == placed[:, :1]).all()
  assert {*np.flatnonzero(placed[:, 0])} == {*expected}
  for number, each in expected.items():
    row, column = (
      np.asarray(x).reshape(-1, unit)[number]
      for x in (places.row, places.column)
    )
    assert [*zip(row, column)] == each


@pytest.mark.parametrize('devices', [1, 2])
def test_every_waiting_row_is_added_once_and_no_other(devices):
  rng = np.random.default_rng(0)
  length, waiting = rng.integers(1, WIDTH + 1, 24), rng.random(24) < 0.7

  def of_rows(rows, places):
    mine = jnp.where(places.placed, rows, 0)
    return mine, {'rows': jnp.sum(places.placed), 'row_max': jnp.max(mine)}

  rows = jnp.arange(24.0)
  total, metrics = jax.jit(
    lambda *arrays: packing.accumulated(
      of_rows, *arrays, rows=2, width=WIDTH, unit=1, devices=devices
    )
  )(rows, jnp.asarray(waiting), jnp.asarray(length, np.int32))
  np.testing.assert_array_equal(total.reshape(-1), np.where(waiting, rows, 0))
  assert metrics['rows'].sum() == waiting.sum()
  assert metrics['row_max'].max() == np.flatnonzero(waiting).max()
