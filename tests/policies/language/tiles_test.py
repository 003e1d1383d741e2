"""Tiles against all scores at once: values, slopes, memory, work."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.policies.language import tiles

_B, _G, _T, _P, _H, _K, _WIDTH = 2, 3, 7, 5, 4, 2, 3


def _random(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _ragged(*shape, seed, start=0):
  valid = np.random.default_rng(seed).random(shape) < 0.6
  return valid, start + np.maximum(np.cumsum(valid, -1) - 1, 0)


_VALID, _PLACE = _ragged(_B, _G, _T, seed=1, start=_P)
# Nothing at all is seen by some.
_VALID[0, 0] = False
_PARTS = (
  tiles.Part(
    _random(_B, 1, _P, _K, _WIDTH, seed=2),
    _random(_B, 1, _P, _K, _WIDTH, seed=3),
    *_ragged(_B, 1, _P, seed=4),
  ),
  tiles.Part(
    _random(_B, _G, _T, _K, _WIDTH, seed=5),
    _random(_B, _G, _T, _K, _WIDTH, seed=6),
    _VALID,
    _PLACE,
  ),
)
_Q = _random(_B, _G, _T, _H, _WIDTH)
_SINKS = _random(_H, seed=8)
_ARRAYS = (_Q, *((part.k, part.v) for part in _PARTS), _SINKS)


def _with(arrays):
  q, *pairs, _ = arrays
  parts = (part._replace(k=k, v=v) for part, (k, v) in zip(_PARTS, pairs))
  return q, tuple(parts)


def _dense(q, parts, causal, window, cap, sinks):
  """The same from all scores and one array of what is seen."""
  masks, keys, values = [], [], []
  for part, ordered in zip(parts, causal):
    seen = part.valid[:, :, None]
    if ordered:
      seen = seen & np.tri(_T, dtype=bool)
    if window:
      far = _PLACE[..., None] - part.positions[:, :, None]
      seen = seen & (abs(far) < window)
    size = part.k.shape[2]
    masks.append(np.broadcast_to(seen, (_B, _G, _T, size)))
    for kept, x in ((keys, part.k), (values, part.v)):
      shape = (_B, _G, size, _H, _WIDTH)
      kept.append(jnp.broadcast_to(jnp.repeat(x, _H // _K, 3), shape))
  k, v = (jnp.concatenate(x, axis=2) for x in (keys, values))
  seen = np.concatenate(masks, axis=-1)[:, :, None]
  scores = tiles.capped(jnp.einsum('bgthd,bgshd->bghts', q, k), cap)
  scores = jnp.where(seen, scores, -1e30)
  if sinks is not None:
    # A key that all see, whose weight is then dropped.
    of_heads = jnp.broadcast_to(sinks[:, None, None], (*scores.shape[:-1], 1))
    scores = jnp.concatenate([scores, of_heads], axis=-1)
  weights = jax.nn.softmax(scores, -1)[..., : seen.shape[-1]]
  return jnp.einsum('bghts,bgshd->bgthd', jnp.where(seen, weights, 0.0), v)


def _loss(attend, causal, window, cap, sink, arrays):
  q, parts = _with(arrays)
  y = attend(q, parts, causal, window, cap, arrays[-1] if sink else None)
  return jnp.sum(_random(*y.shape, seed=7) * y), y


def _tiled(q, parts, causal, window, cap, sinks=None):
  place = jnp.asarray(_PLACE)
  return tiles.attend(q, parts, causal, place, window, cap, sinks)


def _answers(attend, causal, window, cap, sink=False):
  loss = functools.partial(_loss, attend, causal, window, cap, sink)
  return jax.jit(jax.value_and_grad(loss, has_aux=True))(_ARRAYS)


# Causality of the own tokens, window, cap, sinks.
_RULES = (
  (True, None, 1.5, False),
  (True, 4, 0.0, True),
  (False, None, 0.0, False),
  (False, 3, 2.0, True),
)


@pytest.mark.parametrize('own, window, cap, sink', _RULES)
def test_values_and_gradients_equal_those_of_all_scores(
  own, window, cap, sink, monkeypatch
):
  expected = _answers(_dense, (False, own), window, cap, sink)
  # All scores, a few queries and keys with odd ends, and one of each.
  for at_once in (2**20, 24 * 9, 1):
    monkeypatch.setattr(tiles, 'AT_ONCE', {'cpu': at_once})
    actual = _answers(_tiled, (False, own), window, cap, sink)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
      # Sums of a few terms of order one, in another order.
      np.testing.assert_allclose(a, b, atol=2e-5)


def test_slopes_of_gradients_equal_those_of_all_scores(monkeypatch):
  monkeypatch.setattr(tiles, 'AT_ONCE', {'cpu': 24 * 9})
  towards = jax.tree.map(lambda x: np.roll(x, 1), _ARRAYS)

  def product(attend):
    loss = functools.partial(_loss, attend, (False, True), 4, 1.5, True)
    slope = jax.grad(lambda arrays: loss(arrays)[0])
    return jax.jit(lambda: jax.jvp(slope, (_ARRAYS,), (towards,))[1])()

  expected = jax.tree.leaves(product(_dense))
  for a, b in zip(jax.tree.leaves(product(_tiled)), expected):
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_traced_window_is_a_number_of_the_same_value():
  def of(window):
    q, parts = _with(_ARRAYS)
    return _tiled(q, parts, (False, True), window, 0.0)

  np.testing.assert_array_equal(jax.jit(of)(3), jax.jit(lambda: of(3))())


def test_who_sees_nothing_gets_zero_with_finite_slopes():
  y = _answers(_tiled, (False, True), 1, 0.0)
  # A window of one holds no token of the prompt.
  assert not y[0][1][0, 0].any() and y[0][1].any()
  assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(y))


def _sequence(length, fill=0.0):
  x = jnp.full((1, 1, length, 2, 8), fill)
  there = jnp.ones((1, 1, length), bool)
  return x, tiles.Part(x, x, there, jnp.arange(length)[None, None])


@pytest.mark.parametrize('causal, clean', [(True, 32), (False, 0)])
def test_keys_after_all_queries_of_a_block_are_not_multiplied(
  causal, clean, monkeypatch
):
  monkeypatch.setattr(tiles, 'AT_ONCE', {'cpu': 2 * 16 * 16})
  q, part = _sequence(64)
  # Weights of 0 would still give NaN.
  part = part._replace(v=part.v.at[:, :, 32:].set(jnp.nan))

  @jax.jit
  def attend(q, part):
    return tiles.attend(q, (part,), (causal,), part.positions, None, 0.0)

  y = attend(q, part)
  there = jnp.isfinite(y).all((0, 1, 3, 4))
  np.testing.assert_array_equal(there, jnp.arange(64) < clean)


def test_memory_grows_with_the_length_and_not_with_its_square(monkeypatch):
  monkeypatch.setattr(tiles, 'AT_ONCE', {'cpu': 2 * 32 * 32})

  def reserved(length):
    q, part = _sequence(length)

    def loss(q, k, v):
      parts = (part._replace(k=k, v=v),)
      return tiles.attend(q, parts, (True,), part.positions, None, 0.0).sum()

    gradient = jax.jit(jax.grad(loss, (0, 1, 2)))
    compiled = gradient.lower(q, part.k, part.v).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert reserved(4096) < 2.1 * reserved(2048)


def test_caps_bound_and_leave_small_values():
  x = jnp.array([-1e9, -0.01, 0.0, 0.01, 1e9])
  np.testing.assert_allclose(
    tiles.capped(x, 5.0), [-5.0, -0.01, 0.0, 0.01, 5.0], rtol=1e-5
  )
  np.testing.assert_array_equal(tiles.capped(x, 0.0), x)
