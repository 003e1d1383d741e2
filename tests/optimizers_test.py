import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_llm import optimizers

_CURVATURE = jnp.array([[2.0, 0.5], [0.5, 1.0]])


def _loss(params):
  return params @ _CURVATURE @ params / 2


def _gradient(params):
  """Of the loss, whose Hessian is constant."""
  return jax.tree.map(lambda x: _CURVATURE @ x, params)


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
  tx = optimizers.implicit_transport(0.1)
  point = jnp.array([3.0, -2.0])
  for _, state in _run(tx, 6):
    np.testing.assert_allclose(state.direction, _gradient(point), rtol=1e-4)
    point = state.point


def test_transport_steps_have_the_asked_length():
  tx = optimizers.implicit_transport(lambda step: 0.1 / (step + 1))
  point = jnp.array([3.0, -2.0])
  for count, (_, state) in enumerate(_run(tx, 4)):
    length = jnp.linalg.norm(state.point - point)
    np.testing.assert_allclose(length, 0.1 / (count + 1), rtol=1e-4)
    point = state.point


def test_transport_without_memory_is_normalised_descent():
  tx = optimizers.implicit_transport(0.1, momentum=lambda step: 1.0)
  params = jnp.array([3.0, -2.0])
  gradient = _gradient(params)
  updates, _ = tx.update(gradient, tx.init(params), params)
  expected = -0.1 * gradient / jnp.linalg.norm(gradient)
  np.testing.assert_allclose(updates, expected, rtol=1e-5)


def _exact_product(point, vector):
  return jax.jvp(_gradient, (point,), (vector,))[1]


def test_hessian_aided_direction_is_the_gradient_at_the_iterate():
  tx = optimizers.hessian_aided(0.1, jax.random.key(0))
  for point, state in _run(tx, 6, hessian_product=_exact_product):
    np.testing.assert_allclose(state.direction, _gradient(point), rtol=1e-4)


@pytest.mark.parametrize('name', ['implicit_transport', 'hessian_aided'])
def test_optimizers_with_steps_of_their_own_length_refuse_clipping(name):
  with pytest.raises(ValueError, match='clip_norm is 1.0.*Set it to inf'):
    optimizers.chain(name, learning_rate=0.1)


def test_the_named_hessian_aided_direction_is_the_gradient():
  tx = optimizers.chain('hessian_aided', learning_rate=0.1, clip_norm=np.inf)
  for point, state in _run(tx, 40, hessian_product=_exact_product):
    direction, gradient = state[1].direction, _gradient(point)
    lengths = jnp.linalg.norm(direction) * jnp.linalg.norm(gradient)
    np.testing.assert_allclose(direction @ gradient / lengths, 1, rtol=1e-4)


def test_noise_is_averaged_fastest_by_the_papers_momentum():
  """Exact products leave only noise: errors fall like t^-1/2, not t^-2/5."""

  def error(momentum):
    length = optimizers.rate_of('inverse', learning_rate=3.0, warmup=0, total=1)
    tx = optimizers.hessian_aided(length, jax.random.key(1), momentum=momentum)

    def product(point, vector):
      return vector / jnp.cosh(point) ** 2

    def step(carry, key):
      params, state = carry
      noisy = jnp.tanh(params) + jax.random.normal(key, params.shape)
      updates, state = tx.update(noisy, state, params, hessian_product=product)
      wrong = jnp.linalg.norm(state.direction - jnp.tanh(params))
      return (optax.apply_updates(params, updates), state), wrong

    start = jnp.full(20, 1.5)
    keys = jax.random.split(jax.random.key(0), 15_000)
    return jax.lax.scan(step, (start, tx.init(start)), keys)[1][-2000:].mean()

  ours = error(optimizers.inverse_momentum)
  assert ours < 0.7 * error(optimizers.decaying_momentum)
  start = jnp.zeros(1)
  named = optimizers.hessian_aided(0.1, jax.random.key(0)).init(start)
  updates = [
    optimizers.hessian_aided(0.1, jax.random.key(0), **momentum)
    .update(
      jnp.ones(1),
      named._replace(count=jnp.int32(6)),
      start,
      hessian_product=_no_product,
    )[1]
    .direction
    for momentum in ({}, {'momentum': lambda t: 2 / (t + 2)})
  ]
  np.testing.assert_array_equal(*updates)


def _no_product(point, vector):
  del point
  return 0 * vector


@pytest.mark.parametrize(
  'tx',
  [
    optimizers.implicit_transport(0.1),
    optimizers.hessian_aided(0.1, jax.random.key(0)),
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


@pytest.mark.parametrize(
  'name', ['adamw', 'sgd', 'implicit_transport', 'hessian_aided']
)
def test_a_named_optimizer_goes_down_a_quadratic_in_one_program(name):
  tx = optimizers.chain(name, learning_rate=0.05, clip_norm=np.inf)
  tx = optax.with_extra_args_support(tx)

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def step(params, state):
    updates, state = tx.update(
      _gradient(params), state, params, hessian_product=_exact_product
    )
    return optax.apply_updates(params, updates), state

  params = {'kernel': jnp.array([3.0, -2.0])}
  before = _loss(params['kernel'])
  state = tx.init(params)
  for _ in range(20):
    params, state = step(params, state)
  assert _loss(params['kernel']) < 0.7 * before


def test_plain_descent_takes_a_step_as_it_is():
  tx = optimizers.chain('sgd', learning_rate=1.0, clip_norm=np.inf)
  step = {'kernel': jnp.array([0.3, -40.0])}
  updates, _ = tx.update(step, tx.init(step), step)
  np.testing.assert_array_equal(updates['kernel'], -step['kernel'])


def test_only_kernels_decay():
  tx = optimizers.chain(learning_rate=1.0, weight_decay=0.1)
  params = {'kernel': jnp.ones(2), 'scale': jnp.ones(2)}
  still = jax.tree.map(jnp.zeros_like, params)
  updates, _ = tx.update(still, tx.init(params), params)
  np.testing.assert_allclose(updates['kernel'], -0.1, rtol=1e-6)
  np.testing.assert_array_equal(updates['scale'], 0)


def test_a_warm_up_rises_to_the_rate_and_the_rest_decays():
  rate = optimizers.rate_of('linear', learning_rate=1.0, warmup=4, total=8)
  expected = [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25, 0]
  np.testing.assert_allclose([rate(s) for s in range(9)], expected, rtol=1e-6)


def test_unknown_names_and_endless_warm_ups_are_refused():
  with pytest.raises(ValueError, match="optimizer.name 'adam'; known: adamw"):
    optimizers.chain('adam', learning_rate=1.0)
  with pytest.raises(ValueError, match="optimizer.schedule 'step'"):
    optimizers.chain(learning_rate=1.0, schedule='step')
  with pytest.raises(ValueError, match='at most 7'):
    optimizers.rate_of('rex', learning_rate=1.0, warmup=8, total=8)


@pytest.mark.parametrize('beta', [0.0, 0.9, 1.0])
def test_rex_equals_its_formula(beta):
  schedule = optimizers.rex(3.0, 10, beta=beta)
  for step in range(11):
    p = step / 10
    expected = 3 * (1 - p) / (0.5 + (1 - beta * p) / 2)
    np.testing.assert_allclose(schedule(step), expected, rtol=1e-6)
  assert schedule(25) == 0


def test_rex_without_reflection_is_linear():
  schedule = optimizers.rex(2.0, 8, beta=0.0)
  rates = [float(schedule(s)) for s in range(9)]
  np.testing.assert_allclose(np.diff(rates), -0.25, rtol=1e-5)


def test_constant_norms_recommend_linear_decay():
  schedule = optimizers.refined(np.full(50, 7.0), 1.0)
  rates = [float(schedule(s)) for s in range(50)]
  np.testing.assert_allclose(rates, np.linspace(1, 0, 50), atol=1e-6)


def test_large_early_norms_recommend_a_warm_up():
  norms = np.concatenate([np.linspace(20, 1, 30), np.ones(70)])
  schedule = optimizers.refined(norms, 2.0)
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
      window.append(norms[s if s < 40 else 2 * 39 - s])
    smooth.append(np.median(window))
  weights = [1 / g for g in smooth]
  rates = [w * sum(weights[t + 1 :]) for t, w in enumerate(weights)]
  schedule = optimizers.refined(norms, 1.0, power=1.0)
  ours = [float(schedule(s)) for s in range(40)]
  np.testing.assert_allclose(ours, np.array(rates) / max(rates), rtol=1e-5)


@pytest.mark.parametrize('bad', [[1.0, 0.0], [1.0, np.nan], [[1.0]]])
def test_norms_that_recommend_nothing_are_refused(bad):
  with pytest.raises(ValueError, match='one positive number per step'):
    optimizers.refined(bad, 1.0)


def _ran(folder, **norms):
  """A run folder whose metrics hold these norms, one an iteration."""
  count = len(next(iter(norms.values())))
  rows = [
    {f'grad/{name}': x[i] for name, x in norms.items()} for i in range(count)
  ]
  lines = ''.join(json.dumps(row) + '\n' for row in rows)
  (folder / 'metrics.jsonl').write_text(lines)
  return str(folder)


@pytest.mark.parametrize(
  ('adaptive', 'name', 'power'),
  [(True, 'norm_l1', 1.0), (False, 'norm', 2.0)],
)
def test_a_run_recommends_the_schedule_of_the_next(
  tmp_path, adaptive, name, power
):
  """Adam's by its l1 norms, as often as the next one has steps."""
  rng = np.random.default_rng(0)
  l1, l2 = (rng.exponential(1.0, 31) + 0.1 for _ in range(2))
  folder = _ran(tmp_path, norm=[*l2, None], norm_l1=[*l1, None])
  rate = optimizers.rate_of(
    'refined',
    learning_rate=0.3,
    warmup=0,
    total=61,
    norms=folder,
    adaptive=adaptive,
  )
  norms = {'norm': l2, 'norm_l1': l1}[name]
  between = [(a + b) / 2 for a, b in zip(norms, norms[1:])]
  stretched = np.zeros(61)
  stretched[::2], stretched[1::2] = norms, between
  expected = optimizers.refined(stretched, 0.3, power=power)
  for step in range(61):
    np.testing.assert_allclose(rate(step), expected(step), rtol=1e-5)


def test_a_schedule_of_no_run_is_refused(tmp_path):
  refined = functools.partial(
    optimizers.chain, learning_rate=1.0, schedule='refined', total=9
  )
  with pytest.raises(ValueError, match="norms is ''; name the folder"):
    refined()
  with pytest.raises(ValueError, match='holds no grad/norm_l1'):
    refined(norms=_ran(tmp_path, norm=[1.0, 2.0]))


def test_inverse_decay_halves_after_two_steps():
  rate = optimizers.rate_of('inverse', learning_rate=3.0, warmup=0, total=9)
  np.testing.assert_allclose([rate(s) for s in (0, 2, 4)], [3, 1.5, 1])
