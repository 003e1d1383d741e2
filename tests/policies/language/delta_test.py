"""Delta nets against a loop over tokens in float64, and against themselves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.policies.language import delta

_SIZES = delta.Delta(heads=4, key_heads=2, key_dim=3, value_dim=5, taps=4)
_SHAPES = {'q': (2, 3), 'k': (2, 3), 'v': (4, 5)}
_sequence = jax.jit(delta.sequence)


def _random(*shape, seed):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _arguments(rows, length, scale=1.0):
  """Inputs, kernels, rates and betas of rows of random tokens."""
  inputs = {
    name: scale * _random(rows, length, *shape, seed=i)
    for i, (name, shape) in enumerate(_SHAPES.items())
  }
  kernels = {
    name: _random(*shape, 4, seed=10 + i)
    for i, (name, shape) in enumerate(_SHAPES.items())
  }
  rate = -np.abs(_random(rows, length, 4, seed=20))
  beta = 1 / (1 + np.exp(-_random(rows, length, 4, seed=21)))
  return inputs, kernels, rate, beta


def _oracle(inputs, kernels, rate, beta):
  """One row, token by token and head by head, in float64."""
  length, mixed = len(rate), {}
  for name, shape in _SHAPES.items():
    x, w = (np.asarray(each[name], np.float64) for each in (inputs, kernels))
    x = np.concatenate([np.zeros((3, *shape)), x])
    y = np.array([sum(w[..., i] * x[t + i] for i in range(4))
                  for t in range(length)])  # fmt: skip
    mixed[name] = y / (1 + np.exp(-y))
  result = np.zeros((length, 4, 5))
  for head in range(4):
    state = np.zeros((3, 5))
    for t in range(length):
      q, k = (
        mixed[name][t, head // 2]
        / np.sqrt(np.sum(mixed[name][t, head // 2] ** 2) + 1e-6)
        for name in 'qk'
      )
      state = state * np.exp(np.float64(rate[t, head]))
      error = mixed['v'][t, head] - state.T @ k
      state = state + beta[t, head] * np.outer(k, error)
      result[t, head] = state.T @ q / np.sqrt(3)
  return result


# One chunk, one that is not full, several, and a last one that is not full.
@pytest.mark.parametrize('length', [1, 7, 16, 19])
def test_chunks_equal_a_loop_over_tokens(length, monkeypatch):
  monkeypatch.setattr(delta, '_CHUNK', 8)
  arguments = _arguments(2, length)
  mask, before = np.ones((2, length), bool), _SIZES.empty(2, jnp.float32)
  y, _ = delta.sequence(*arguments, mask, before)
  for row in range(2):
    inputs, kernels, rate, beta = arguments
    own = {name: x[row] for name, x in inputs.items()}
    expected = _oracle(own, kernels, rate[row], beta[row])
    # float32 sums of tens of terms of order one.
    np.testing.assert_allclose(y[row], expected, atol=2e-5)


def test_equal_keys_do_not_cancel():
  inputs, kernels, rate, beta = _arguments(1, 64)
  # The worst of systems: keys all alike, nothing forgotten, all corrected.
  inputs = {name: np.ones_like(x) for name, x in inputs.items()}
  kernels = {name: np.ones_like(x) for name, x in kernels.items()}
  rate, beta = 0 * rate, 0 * beta + 0.999
  mask, before = np.ones((1, 64), bool), _SIZES.empty(1, jnp.float32)
  y, _ = _sequence(inputs, kernels, rate, beta, mask, before)
  own = {name: x[0] for name, x in inputs.items()}
  np.testing.assert_allclose(
    y[0], _oracle(own, kernels, rate[0], beta[0]), atol=2e-5
  )


def test_steps_and_parts_equal_one_pass():
  inputs, kernels, rate, beta = arguments = _arguments(2, 9)
  mask, before = np.ones((2, 9), bool), _SIZES.empty(2, jnp.float32)
  whole, last = _sequence(*arguments, mask, before)

  def part(first, end):
    x = {name: x[:, first:end] for name, x in inputs.items()}
    return x, kernels, rate[:, first:end], beta[:, first:end]

  y, states = _sequence(*part(0, 5), mask[:, :5], before)
  np.testing.assert_allclose(y, whole[:, :5], atol=2e-5)
  rest, after = _sequence(*part(5, 9), mask[:, 5:], states)
  np.testing.assert_allclose(rest, whole[:, 5:], atol=2e-5)
  np.testing.assert_allclose(after['state'], last['state'], atol=2e-5)
  step = jax.jit(delta.step)
  for t in range(5, 9):
    x = {name: x[:, t] for name, x in inputs.items()}
    y, states = step(x, kernels, rate[:, t], beta[:, t], states)
    np.testing.assert_allclose(y, whole[:, t], atol=2e-5)
  for name, x in last.items():
    np.testing.assert_allclose(states[name], x, atol=2e-5)


def test_padding_does_not_bleed_into_what_follows():
  inputs, kernels, rate, beta = arguments = _arguments(2, 6)
  mask, before = np.ones((2, 6), bool), _SIZES.empty(2, jnp.float32)
  whole, last = _sequence(*arguments, mask, before)

  def padded(x):
    junk = _random(2, 5, *x.shape[2:], seed=30)
    return np.concatenate([junk, x, junk], axis=1)

  wide = {name: padded(x) for name, x in inputs.items()}
  mask = np.arange(16) // 5 == 1
  mask[10] = True
  mask = np.broadcast_to(mask, (2, 16))
  y, _ = _sequence(wide, kernels, padded(rate), padded(beta), mask, before)
  np.testing.assert_allclose(y[:, 5:11], whole, atol=2e-5)
  left = {name: x[:, :11] for name, x in wide.items()}
  _, after = _sequence(
    left, kernels, padded(rate)[:, :11], padded(beta)[:, :11], mask[:, :11],
    before,
  )  # fmt: skip
  for name, x in last.items():
    np.testing.assert_allclose(after[name], x, atol=2e-5)


def test_rows_of_zeros_have_finite_slopes():
  inputs, kernels, rate, beta = _arguments(1, 4, scale=0.0)
  before = _SIZES.empty(1, jnp.float32)

  @functools.partial(jax.grad, argnums=(0, 1))
  def slope(inputs, kernels, mask):
    y, after = delta.sequence(inputs, kernels, rate, beta, mask, before)
    return jnp.sum(y) + jnp.sum(after['state'])

  for mask in (np.ones((1, 4), bool), np.zeros((1, 4), bool)):
    slopes = jax.jit(slope)(inputs, kernels, mask)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(slopes))


def test_gradients_are_differences_of_the_oracle():
  inputs, kernels, rate, beta = _arguments(1, 6)
  weight = _random(6, 4, 5, seed=31)
  before, mask = _SIZES.empty(1, jnp.float32), np.ones((1, 6), bool)

  @functools.partial(jax.grad, argnums=(0, 1, 2, 3))
  def slope(*arguments):
    y, _ = delta.sequence(*arguments, mask, before)
    return jnp.sum(weight * y[0])

  def value(inputs, kernels, rate, beta):
    own = {name: x[0] for name, x in inputs.items()}
    return np.sum(weight * _oracle(own, kernels, rate[0], beta[0]))

  arguments = jax.tree.map(np.float64, (inputs, kernels, rate, beta))
  leaves, tree = jax.tree.flatten(arguments)
  slopes = jax.tree.leaves(jax.jit(slope)(inputs, kernels, rate, beta))
  rng = np.random.default_rng(32)
  for i, each in enumerate(slopes):
    move = 1e-5 * rng.normal(size=each.shape)
    ends = [
      value(*jax.tree.unflatten(tree, [*leaves[:i], leaves[i] + s * move,
                                       *leaves[i + 1 :]]))
      for s in (1, -1)
    ]  # fmt: skip
    expected = (ends[0] - ends[1]) / 2
    np.testing.assert_allclose(np.sum(each * move), expected, rtol=1e-3)


def test_heads_that_do_not_divide_are_refused():
  with pytest.raises(ValueError, match='4 heads of values do not share 3'):
    delta.Delta(4, 3, 2, 2, 4)
