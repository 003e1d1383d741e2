import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.policies.language import attention, tiles


def _random(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _oracle(q, keys, values, seen, cap, sink=-np.inf):
  """One query [h] over keys and values [S, h], in float64; 0 if none seen."""
  if not seen.any():
    return np.zeros(len(q))
  scores = np.float64(keys) @ np.float64(q)
  scores = cap * np.tanh(scores / cap) if cap else scores
  top = scores[seen].max()
  weights = np.exp(np.where(seen, scores - top, -np.inf))
  return weights @ np.float64(values) / (weights.sum() + np.exp(sink - top))


def _mask(*shape, window=None, causal=True, seed=9):
  """A rule with gaps anywhere, so that positions are not places."""
  valid = np.random.default_rng(seed).random(shape) < 0.7
  positions = np.maximum(np.cumsum(valid, -1) - 1, 0)
  return attention.Mask(valid, positions, window, causal)


def _seen(mask, s, z):
  """Whether query s sees key z, one row."""
  near = abs(mask.positions[s] - mask.positions[z]) < (mask.window or np.inf)
  return mask.valid[z] and near and (z <= s or not mask.causal)


_RULES = {
  'causal': {},
  'causal window': {'window': 3},
  'bidirectional': {'causal': False},
  'bidirectional window': {'causal': False, 'window': 2},
}


@pytest.mark.parametrize('cap', [0.0, 1.5])
@pytest.mark.parametrize('rule', _RULES)
def test_sequences_equal_a_loop_over_queries(rule, cap, monkeypatch):
  monkeypatch.setattr(tiles, 'AT_ONCE', {'cpu': 70})  # Tiles of two by two.
  n, s = 2, 7
  q, k, v = (
    _random(n, s, 4, 3),
    _random(n, s, 2, 3, seed=1),
    _random(n, s, 2, 3, seed=2),
  )
  mask = _mask(n, s, **_RULES[rule])
  attend = functools.partial(attention.within_sequence, cap=cap)
  y = jax.jit(attend)(q, k, v, mask)
  for row, i, head in np.ndindex(n, s, 4):
    own = mask.replace(valid=mask.valid[row], positions=mask.positions[row])
    seen = np.array([_seen(own, i, z) for z in range(s)])
    expected = _oracle(
      q[row, i, head], k[row, :, head // 2], v[row, :, head // 2], seen, cap
    )
    np.testing.assert_allclose(y[row, i, head], expected, atol=1e-5)


@pytest.mark.parametrize('window', [None, 4])
def test_responses_of_a_group_equal_a_loop_over_queries(window, monkeypatch):
  monkeypatch.setattr(tiles, 'AT_ONCE', {'cpu': 24 * 6})
  b, g, t, p, cap = 2, 3, 5, 6, 1.5
  q, k, v = (
    _random(b, g, t, 4, 3),
    _random(b, g, t, 2, 3, seed=1),
    _random(b, g, t, 2, 3, seed=2),
  )
  prompt_k, prompt_v = _random(b, p, 2, 3, seed=3), _random(b, p, 2, 3, seed=4)
  prompt = _mask(b, p, window=window)
  own = _mask(b, g, t, window=window, seed=8)
  before = prompt.valid.sum(-1)[:, None, None]
  own = own.replace(positions=before + own.positions)
  sinks = _random(4, seed=5)
  attend = functools.partial(attention.within_group, cap=cap, sinks=sinks)
  y = jax.jit(attend)(q, prompt_k, prompt_v, k, v, prompt, own)
  for i, j, s, head in np.ndindex(b, g, t, 4):
    # The rule of prompt and response as one sequence.
    whole = prompt.replace(
      valid=np.concatenate([prompt.valid[i], own.valid[i, j]]),
      positions=np.concatenate([prompt.positions[i], own.positions[i, j]]),
    )
    expected = _oracle(
      q[i, j, s, head],
      np.concatenate([prompt_k[i, :, head // 2], k[i, j, :, head // 2]]),
      np.concatenate([prompt_v[i, :, head // 2], v[i, j, :, head // 2]]),
      np.array([_seen(whole, p + s, z) for z in range(p + t)]),
      cap,
      sinks[head],
    )
    np.testing.assert_allclose(y[i, j, s, head], expected, atol=1e-5)


@pytest.mark.parametrize('cap', [0.0, 1.5])
@pytest.mark.parametrize('scale, sink', [(1.0, None), (30.0, None), (1.0, 2.0)])
def test_caches_equal_a_loop_over_rows(scale, sink, cap):
  prompts, samples, p, t = 2, 3, 5, 4
  q = scale * _random(prompts * samples, 4, 3)
  prompt = {'k': _random(prompts, 2, 3, p), 'v': _random(prompts, 2, p, 3)}
  own = {
    'k': _random(prompts * samples, 2, 3, t, seed=1),
    'v': _random(prompts * samples, 2, t, 3, seed=1),
  }
  prompt_seen = np.random.default_rng(3).random((prompts, samples, p)) < 0.5
  own_seen = np.array([True, True, False, False])
  sinks = None if sink is None else sink * _random(4, seed=5)
  y = attention.over_caches(
    q, prompt, own, prompt_seen, own_seen, cap=cap, sinks=sinks
  )
  for n, head in np.ndindex(prompts * samples, 4):
    b, g, kv = n // samples, n % samples, head // 2
    expected = _oracle(
      q[n, head],
      np.concatenate([prompt['k'][b, kv].T, own['k'][n, kv].T]),
      np.concatenate([prompt['v'][b, kv], own['v'][n, kv]]),
      np.concatenate([prompt_seen[b, g], own_seen]),
      cap,
      -np.inf if sinks is None else sinks[head],
    )
    # At scale 30 one part can outweigh the other by e^100.
    np.testing.assert_allclose(y[n, head], expected, atol=2e-5)


def test_writing_changes_one_slot_and_keeps_the_dtype():
  cache = {
    'k': jnp.zeros((2, 1, 3, 4), jnp.bfloat16),
    'v': jnp.zeros((2, 1, 4, 3), jnp.bfloat16),
  }
  new = attention.written(cache, _random(2, 1, 3), _random(2, 1, 3) + 9, 2)
  assert new['k'].dtype == jnp.bfloat16
  k, v = new['k'].astype(jnp.float32), new['v'].astype(jnp.float32)
  assert k[..., 2].all() and v[:, :, 2].all()
  assert not k[..., [0, 1, 3]].any() and not v[:, :, [0, 1, 3]].any()


def test_caches_are_read_in_bfloat16_in_a_loop_over_layers():
  """Of more than one head a key, and more than one row a prompt."""
  q = jnp.asarray(_random(4, 4, 8), jnp.bfloat16)
  prompt = {'k': _random(2, 3, 2, 8, 5), 'v': _random(2, 3, 2, 5, 8)}
  own = {'k': _random(4, 3, 2, 8, 6, seed=1), 'v': _random(4, 3, 2, 6, 8)}
  caches = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), (prompt, own))

  def layer(i, q):
    here = jax.tree.map(lambda x: x[:, i], caches)
    seen = jnp.ones((2, 1, 5), bool), jnp.ones((4, 6), bool)
    return attention.over_caches(q, *here, *seen)

  looped = jax.jit(lambda q: jax.lax.fori_loop(0, 3, layer, q))(q)
  written_out = functools.reduce(lambda q, i: layer(i, q), range(3), q)
  np.testing.assert_allclose(
    np.float32(looped), np.float32(written_out), atol=0.05
  )
