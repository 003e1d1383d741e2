import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.policies.language import attention


def _random(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _oracle(q, keys, values, seen, cap):
  """One query [h] over keys and values [S, h], in float64."""
  scores = np.float64(keys) @ np.float64(q)
  scores = cap * np.tanh(scores / cap) if cap else scores
  weights = np.exp(scores - scores.max()) * seen
  return weights @ np.float64(values) / weights.sum()


@pytest.fixture(params=[2**20, 60, 1])
def at_once(request, monkeypatch):
  """Scores of a block: all of the tests' arrays, a few queries, one query."""
  monkeypatch.setattr(attention, 'AT_ONCE', {})
  monkeypatch.setattr(attention, 'ELSEWHERE', request.param)


@pytest.mark.parametrize('cap', [0.0, 1.5])
def test_sequences_equal_a_loop_over_queries(cap, at_once):
  q, k, v = (
    _random(2, 5, 4, 3),
    _random(2, 5, 2, 3, seed=1),
    _random(2, 5, 2, 3),
  )
  seen = np.random.default_rng(2).random((2, 5, 5)) < 0.5
  seen |= np.eye(5, dtype=bool)
  y = attention.within_sequence(q, k, v, seen, cap=cap)
  for n, s, head in np.ndindex(2, 5, 4):
    expected = _oracle(
      q[n, s, head], k[n, :, head // 2], v[n, :, head // 2], seen[n, s], cap
    )
    np.testing.assert_allclose(y[n, s, head], expected, atol=1e-5)


@pytest.mark.parametrize('cap', [0.0, 1.5])
def test_responses_of_a_group_equal_a_loop_over_queries(cap, at_once):
  b, g, t, p = 2, 3, 4, 5
  q, k, v = (
    _random(b, g, t, 4, 3),
    _random(b, g, t, 2, 3, seed=1),
    _random(b, g, t, 2, 3, seed=2),
  )
  prompt_k, prompt_v = _random(b, p, 2, 3, seed=3), _random(b, p, 2, 3, seed=4)
  seen = np.random.default_rng(5).random((b, g, t, p + t)) < 0.5
  seen[..., p] = True
  y = attention.within_group(q, prompt_k, prompt_v, k, v, seen, cap=cap)
  for i, j, s, head in np.ndindex(b, g, t, 4):
    expected = _oracle(
      q[i, j, s, head],
      np.concatenate([prompt_k[i, :, head // 2], k[i, j, :, head // 2]]),
      np.concatenate([prompt_v[i, :, head // 2], v[i, j, :, head // 2]]),
      seen[i, j, s],
      cap,
    )
    np.testing.assert_allclose(y[i, j, s, head], expected, atol=1e-5)


def test_gradients_do_not_depend_on_blocks(monkeypatch):
  b, g, t, p = 2, 3, 5, 4
  inputs = (
    _random(b, g, t, 4, 3),
    _random(b, p, 2, 3, seed=1),
    _random(b, p, 2, 3, seed=2),
    _random(b, g, t, 2, 3, seed=3),
    _random(b, g, t, 2, 3, seed=4),
  )
  seen = np.random.default_rng(5).random((b, g, t, p + t)) < 0.5
  weights = _random(b, g, t, 4, 3, seed=6)

  def gradients(at_once):
    monkeypatch.setattr(attention, 'AT_ONCE', {'cpu': at_once})

    def of_group(*inputs):
      return jnp.sum(weights * attention.within_group(*inputs, seen, cap=2.0))

    def of_rows(q, k, v):
      y = attention.within_sequence(q, k, v, seen[:, 0, :, p:], cap=2.0)
      return jnp.sum(weights[:, 0] * y)

    q, _, _, k, v = inputs
    return (
      *jax.grad(of_group, range(5))(*inputs),
      *jax.grad(of_rows, range(3))(q[:, 0], k[:, 0], v[:, 0]),
    )

  whole = gradients(2**20)
  for at_once in (1, 40, 100):
    for a, b in zip(gradients(at_once), whole):
      np.testing.assert_allclose(a, b, atol=1e-5)


def test_scores_of_all_queries_never_exist_at_once(monkeypatch):
  monkeypatch.setattr(attention, 'AT_ONCE', {'cpu': 2 * 4 * 16 * 512})
  q = jnp.zeros((2, 512, 4, 8))
  k = jnp.zeros((2, 512, 2, 8))
  seen = jnp.ones((2, 512, 512), bool)

  def loss(q, k):
    return jnp.sum(attention.within_sequence(q, k, k, seen))

  compiled = jax.jit(jax.grad(loss, (0, 1))).lower(q, k).compile()
  whole = 4 * 2 * 4 * 512 * 512
  assert compiled.memory_analysis().temp_size_in_bytes < whole / 4


@pytest.mark.parametrize('cap', [0.0, 1.5])
@pytest.mark.parametrize('scale', [1.0, 30.0])
def test_caches_equal_a_loop_over_rows(scale, cap):
  prompts, samples, p, t = 2, 3, 5, 4
  q = scale * _random(prompts * samples, 4, 3)
  prompt = {'k': _random(prompts, 2, 3, p), 'v': _random(prompts, 2, p, 3)}
  own = {
    'k': _random(prompts * samples, 2, 3, t, seed=1),
    'v': _random(prompts * samples, 2, t, 3, seed=1),
  }
  prompt_seen = np.random.default_rng(3).random((prompts, samples, p)) < 0.5
  own_seen = np.array([True, True, False, False])
  y = attention.over_caches(q, prompt, own, prompt_seen, own_seen, cap=cap)
  for n, head in np.ndindex(prompts * samples, 4):
    b, g, kv = n // samples, n % samples, head // 2
    expected = _oracle(
      q[n, head],
      np.concatenate([prompt['k'][b, kv].T, own['k'][n, kv].T]),
      np.concatenate([prompt['v'][b, kv], own['v'][n, kv]]),
      np.concatenate([prompt_seen[b, g], own_seen]),
      cap,
    )
    # At scale 30 one part can outweigh the other by e^100.
    np.testing.assert_allclose(y[n, head], expected, atol=2e-5)


def test_seeing_nothing_gives_the_mean_and_no_nan():
  x = _random(1, 3, 2, 4)
  y = attention.within_sequence(x, x, x, np.zeros((1, 3, 3), bool))
  np.testing.assert_allclose(
    y, np.broadcast_to(x.mean(1, keepdims=True), x.shape), atol=1e-6
  )
  gradient = jax.grad(
    lambda x: attention.within_sequence(
      x, x, x, np.zeros((1, 3, 3), bool)
    ).sum()
  )(x)
  assert jnp.isfinite(gradient).all()


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


def test_caps_bound_and_leave_small_values():
  x = jnp.array([-1e9, -0.01, 0.0, 0.01, 1e9])
  np.testing.assert_allclose(
    attention.capped(x, 5.0), [-5.0, -0.01, 0.0, 0.01, 5.0], rtol=1e-5
  )
  np.testing.assert_array_equal(attention.capped(x, 0.0), x)
