"""Losses of sorted scores, and the coupling that sorting is."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.objectives import preference, transport


def test_sorted_gaps_are_of_the_rows_that_count():
  x, y = np.array([[3.0, 9.0, 1.0, 2.0], [0.0, 7.0, 5.0, -1.0]])
  rows = np.array([True, False, True, True])
  gap, some = transport.sorted_gap(x, y, rows)
  np.testing.assert_array_equal(gap, [1 + 1, 2 - 0, 3 - 5, 0])
  np.testing.assert_array_equal(some, [True, True, True, False])
  slope = jax.grad(lambda x: jnp.sum(transport.sorted_gap(x, y, rows)[0]))(x)
  np.testing.assert_array_equal(slope, rows * 1.0)


def test_no_coupling_of_two_samples_costs_less_than_the_sorted_one():
  x, y = np.random.default_rng(0).normal(size=(2, 5))
  gap, _ = transport.sorted_gap(x, y, np.ones(5, bool))

  def cost(gap):
    return np.sum(np.logaddexp(0, -np.asarray(gap)))

  orders = itertools.permutations(range(5))
  least = min(cost(x[list(order)] - y) for order in orders)
  np.testing.assert_allclose(cost(gap), least, rtol=1e-6)


def test_one_pair_is_dpo():
  rng = np.random.default_rng(0)
  logp, ref = rng.normal(size=(2, 2, 3)).astype('f')
  mask = np.ones((2, 3), bool)
  given = {
    'ref_logp': ref,
    'rewards': np.array([0.0, 1.0]),
    'group': np.zeros(2, np.int32),
    'valid': np.ones(2, bool),
    'share': mask / 6,
  }
  lost, won = (logp - ref).sum(1)
  expected = preference.logistic(won, lost, 0.0, weight=0.3)
  for fn in (transport.paired_transport, transport.unpaired_transport):
    losses = fn(logp, None, None, mask, weight=0.3, **given)
    np.testing.assert_allclose(losses, np.full(2, expected), rtol=1e-5)


def test_a_step_without_a_pair_costs_nothing():
  logp, mask = np.zeros((4, 2), 'f'), np.ones((4, 2), bool)
  given = {
    'ref_logp': logp,
    'rewards': np.array([1.0, 1.0, 0.0, 0.0]),
    'group': np.array([0, 0, 1, 1]),
    'valid': np.ones(4, bool),
    'share': mask / 8,
  }
  for fn in (transport.paired_transport, transport.unpaired_transport):
    total, slope = jax.value_and_grad(
      lambda x, fn=fn: jnp.sum(fn(x, None, None, mask, **given))
    )(logp)
    assert total == 0 and not slope.any()
