import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.objectives import barrier, surrogates
from tests.objectives import cases
from tests.oracles import offline


def _components(rows, count, seed=0):
  rng = np.random.default_rng(seed)
  return rng.random((rows, count)).astype('f').astype('d')


def _loss(logp, old, a, mask, components, weights, hyper):
  low, high, kept, t, l = (
    hyper[k] for k in ('low', 'high', 'kept', 'sharpness', 'objective')
  )
  count = components.shape[1]
  mean = sum(w * c for w, c in zip(weights, components)) / sum(weights)
  out = np.zeros(logp.shape)
  for i, u in np.ndindex(*logp.shape):
    ratio = np.exp(logp[i, u] - old[i, u]) if mask[i, u] else 1.0
    kept_in = min(max(ratio, 1 - low), 1 + high)
    clip = max(-a[i, u] * ratio, -a[i, u] * kept_in)
    logs = [
      np.log(max((kept_in - kept) * mean[j], 1e-3))
      for j in range(count)
      if j != l
    ]
    out[i, u] = (clip if mask[i, u] else 0.0) - (
      np.mean(logs) / t if logs else 0.0
    )
  return np.where(mask, out, 0.0)


@pytest.mark.parametrize('objective', [0, 1])
@pytest.mark.parametrize('count', [1, 2, 3])
def test_barrier_equals_the_loop(count, objective):
  logp, old, a, mask = cases.inputs(spread=0.15)
  components = _components(len(logp), count)
  weights = np.random.default_rng(1).random(len(logp)).astype('f').astype('d')
  hyper = {
    'low': 0.2,
    'high': 0.2,
    'kept': 0.85,
    'sharpness': 5.0,
    'objective': objective % count,
  }

  def total(x):
    losses = barrier.interior(
      x,
      jnp.asarray(old, 'f'),
      jnp.asarray(a, 'f'),
      mask,
      components=jnp.asarray(components, 'f'),
      row_weights=jnp.asarray(weights, 'f'),
      share=None,
      **hyper,
    )
    losses = jnp.where(mask, losses, 0.0)
    return jnp.sum(losses), losses

  (_, losses), slope = jax.value_and_grad(total, has_aux=True)(
    jnp.asarray(logp, 'f')
  )

  def rule(x):
    return _loss(x, old, a, mask, components, weights, hyper)

  np.testing.assert_allclose(losses, rule(logp), rtol=1e-4, atol=1e-5)
  expected = offline.slope(rule, logp, step=1e-6)
  np.testing.assert_allclose(slope, expected, rtol=1e-3, atol=1e-4)


def test_one_component_has_no_barrier():
  logp, old, a, mask = cases.single(cases.inputs())
  found = barrier.interior(
    logp,
    old,
    a,
    mask,
    components=jnp.ones((len(logp), 1)),
    row_weights=jnp.ones(len(logp)),
    share=None,
  )
  np.testing.assert_allclose(found, surrogates.clip(logp, old, a, mask))


def test_barrier_pushes_ratios_up_where_returns_are_at_stake():
  def loss(x):
    return jnp.sum(
      barrier.interior(
        x,
        jnp.zeros((1, 1)),
        jnp.zeros((1, 1)),
        jnp.ones((1, 1), bool),
        components=jnp.array([[1.0, 2.0]]),
        row_weights=jnp.ones(1),
        share=None,
      )
    )

  assert jax.grad(loss)(jnp.zeros((1, 1)))[0, 0] < 0
