import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_llm import optimisers

_CURVATURE = jnp.array([[2.0, 0.5], [0.5, 1.0]])


def _gradient(params):
  """Of params' C params / 2, whose Hessian is constant."""
  return _CURVATURE @ params


def _run(tx, steps, **extra):
  params = jnp.array([3.0, -2.0])
  state, states = tx.init(params), []
  for _ in range(steps):
    before = params
    updates, state = tx.update(_gradient(params), state, params, **extra)
    params = optax.apply_updates(params, updates)
    states.append((before, state))
  return states


def test_transported_direction_is_the_gradient_at_the_iterate():
  tx = optimisers.implicit_transport(0.1)
  point = jnp.array([3.0, -2.0])
  for _, state in _run(tx, 6):
    np.testing.assert_allclose(state.direction, _gradient(point), rtol=1e-4)
    point = state.point


def test_transport_steps_have_the_asked_length():
  tx = optimisers.implicit_transport(lambda step: 0.1 / (step + 1))
  point = jnp.array([3.0, -2.0])
  for count, (_, state) in enumerate(_run(tx, 4)):
    length = jnp.linalg.norm(state.point - point)
    np.testing.assert_allclose(length, 0.1 / (count + 1), rtol=1e-4)
    point = state.point


def test_transport_without_memory_is_normalised_descent():
  tx = optimisers.implicit_transport(0.1, momentum=lambda step: 1.0)
  params = jnp.array([3.0, -2.0])
  gradient = _gradient(params)
  updates, _ = tx.update(gradient, tx.init(params), params)
  expected = -0.1 * gradient / jnp.linalg.norm(gradient)
  np.testing.assert_allclose(updates, expected, rtol=1e-5)


def _exact_product(point, vector):
  return jax.jvp(_gradient, (point,), (vector,))[1]


def test_hessian_aided_direction_is_the_gradient_at_the_iterate():
  tx = optimisers.hessian_aided(0.1, jax.random.key(0))
  for point, state in _run(tx, 6, hessian_product=_exact_product):
    np.testing.assert_allclose(state.direction, _gradient(point), rtol=1e-4)


@pytest.mark.parametrize(
  'tx',
  [
    optimisers.implicit_transport(0.1),
    optimisers.hessian_aided(0.1, jax.random.key(0)),
  ],
)
def test_no_gradient_moves_nothing(tx):
  params = jnp.zeros(2)
  extra = {}
  if isinstance(tx, optax.GradientTransformationExtraArgs):
    extra = {'hessian_product': _exact_product}
  updates, _ = jax.jit(lambda g, s, p: tx.update(g, s, p, **extra))(
    params, tx.init(params), params
  )
  np.testing.assert_array_equal(updates, 0)
  with pytest.raises(ValueError, match='needs params'):
    tx.update(params, tx.init(params), **extra)


@pytest.mark.parametrize('beta', [0.0, 0.9, 1.0])
def test_rex_equals_its_formula(beta):
  schedule = optimisers.rex(3.0, 10, beta=beta)
  for step in range(11):
    p = step / 10
    expected = 3 * (1 - p) / (0.5 + (1 - beta * p) / 2)
    np.testing.assert_allclose(schedule(step), expected, rtol=1e-6)
  assert schedule(25) == 0


def test_rex_without_reflection_is_linear():
  schedule = optimisers.rex(2.0, 8, beta=0.0)
  rates = [float(schedule(s)) for s in range(9)]
  np.testing.assert_allclose(np.diff(rates), -0.25, rtol=1e-5)


def test_constant_norms_recommend_linear_decay():
  schedule = optimisers.refined(np.full(50, 7.0), 1.0)
  rates = [float(schedule(s)) for s in range(50)]
  np.testing.assert_allclose(rates, np.linspace(1, 0, 50), atol=1e-6)


def test_large_early_norms_recommend_a_warm_up():
  norms = np.concatenate([np.linspace(20, 1, 30), np.ones(70)])
  schedule = optimisers.refined(norms, 2.0)
  rates = np.array([float(schedule(s)) for s in range(100)])
  assert 15 < rates.argmax() < 50
  np.testing.assert_allclose(rates.max(), 2.0, rtol=1e-6)
  assert rates[-1] == 0 and rates[0] < 0.1


def test_refined_equals_the_loops():
  rng = np.random.default_rng(0)
  norms = rng.exponential(1.0, 40) + 0.1
  half = int(0.1 * 40) // 2
  smooth = []
  for t in range(40):
    window = []
    for s in range(t - half, t + half + 1):
      s = max(s, 0)
      window.append(norms[s if s < 40 else 2 * 40 - 1 - s])
    smooth.append(np.median(window))
  weights = [1 / g for g in smooth]
  rates = [w * sum(weights[t + 1 :]) for t, w in enumerate(weights)]
  schedule = optimisers.refined(norms, 1.0, power=1.0)
  ours = [float(schedule(s)) for s in range(40)]
  np.testing.assert_allclose(ours, np.array(rates) / max(rates), rtol=1e-5)


@pytest.mark.parametrize('bad', [[1.0, 0.0], [1.0, np.nan], [[1.0]]])
def test_norms_that_recommend_nothing_are_refused(bad):
  with pytest.raises(ValueError, match='one positive number per step'):
    optimisers.refined(bad, 1.0)
