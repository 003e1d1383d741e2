"""Sums over pieces are sums, and maxima are maxima."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.training import pieces

ROWS = jnp.array([3.0, 1.0, 2.0, 5.0, -4.0, 0.5])


def of_piece(piece):
  """A gradient, and metrics that add up or are the largest of all."""
  return {'w': piece.sum()}, {'total': piece.sum(), 'gap_max': piece.max()}


@pytest.mark.parametrize('count', [1, 2, 3, 6])
def test_accumulated_adds_what_is_no_maximum(count):
  grads, metrics = pieces.accumulated(of_piece, pieces.split(ROWS, count))
  assert grads['w'] == metrics['total'] == 7.5
  assert metrics['gap_max'] == 5.0


def test_summed_adds_what_is_no_maximum():
  parts = {'w': ROWS}, {'total': ROWS, 'gap_max': ROWS}
  grads, metrics = pieces.summed(parts)
  assert grads['w'] == metrics['total'] == 7.5
  assert metrics['gap_max'] == 5.0


def test_merged_averages_what_is_no_maximum():
  metrics = pieces.merged({'loss': ROWS, 'gap_max': ROWS}, jnp.mean)
  assert metrics['loss'] == 1.25
  assert metrics['gap_max'] == 5.0


@pytest.mark.parametrize(('count', 'devices'), [(2, 1), (3, 1), (2, 3), (3, 2)])
def test_pieces_are_joined_as_they_were_split(count, devices):
  rows = np.arange(24).reshape(12, 2)
  split = pieces.split(rows, count, devices)
  assert split.shape == (count, 12 // count, 2)
  # Every piece has as many rows of each device.
  owner = split[..., 0] // 2 // (12 // devices)
  for piece in owner:
    np.testing.assert_array_equal(
      np.bincount(piece), [12 // count // devices] * devices
    )
  np.testing.assert_array_equal(pieces.joined(split, devices), rows)
