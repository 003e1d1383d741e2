import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from jaxrl_llm import optimizers, schedules, types
from jaxrl_llm.policies.language import hf, lora, parameters
from jaxrl_llm.policies.language.hf import folders
from jaxrl_llm.training import checkpoint, shard
from tests.policies.language import families

_CURVATURE = jnp.array([[2.0, 0.5], [0.5, 1.0]])


def _gradient(params):
  """Of a quadratic, whose Hessian is constant."""
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
    length = schedules.rate_of('inverse', learning_rate=3.0, warmup=0, total=1)
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

  ours = error(schedules.inverse_momentum)
  assert ours < 0.7 * error(schedules.decaying_momentum)
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


def test_plain_descent_takes_a_step_as_it_is():
  tx = optimizers.chain('sgd', learning_rate=1.0, clip_norm=np.inf)
  step = {'kernel': jnp.array([0.3, -40.0])}
  updates, _ = tx.update(step, tx.init(step), step)
  np.testing.assert_array_equal(updates['kernel'], -step['kernel'])


def test_only_kernels_decay():
  tx = optimizers.chain(learning_rate=1.0, weight_decay=0.1)
  ones = jnp.ones(2)
  params = {'kernel': ones, 'scale': ones, 'experts': {'up': ones}}
  still = jax.tree.map(jnp.zeros_like, params)
  updates, _ = tx.update(still, tx.init(params), params)
  np.testing.assert_allclose(updates['kernel'], -0.1, rtol=1e-6)
  np.testing.assert_allclose(updates['experts']['up'], -0.1, rtol=1e-6)
  np.testing.assert_array_equal(updates['scale'], 0)


@pytest.mark.parametrize('name', ['qwen2', 'qwen3_moe', 'qwen3_5'])
def test_matrices_are_those_of_the_published_names(name):
  """Inputs and outputs are as many as the stored [outputs, inputs] has."""
  source = families.hf_config(name)
  config = hf.config_of(source)
  shapes = {p: x.shape for p, x in parameters.table(config).items()}
  for path, row in folders.table(config, source.model_type).items():
    axes = optimizers.matrix_axes(path, len(shapes[path]))
    stored = row.bijection.their_shape(shapes[path][row.stacked :])
    # Taps of a convolution are no map.
    in_layers = path[0] == 'layers' and len(stored) == 2
    in_layers &= path[1] != 'delta_conv'
    assert (axes is not None) == in_layers, path
    if axes:
      assert axes[0][0] == row.stacked
      sides = [int(np.prod([shapes[path][i] for i in a])) for a in axes]
      assert sides == [*stored[::-1]], path


def _layers():
  """One parameter of each kind of shape, with an adapted output."""
  config = hf.config_of(families.hf_config('qwen3_moe'))
  table = parameters.table(config)
  table |= lora.table(config, rank=2, alpha=4.0, targets=['o'])
  rng = np.random.default_rng(0)
  paths = [
    *(('layers', 'o', x) for x in ('kernel', 'lora_a', 'lora_b')),
    ('layers', 'q', 'kernel'),
    ('layers', 'experts', 'down'),
    ('layers', 'mlp_norm', 'scale'),
    ('embed', 'kernel'),
  ]
  shapes = {path: table[path].shape for path in paths}
  return table, {p: np.float32(rng.normal(size=x)) for p, x in shapes.items()}


def _orthogonal(x):
  """Five quintic steps, with the published coefficients."""
  x = x / (np.sqrt(np.sum(x * x)) + 1e-8)
  for _ in range(5):
    square = x @ x.T
    x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
  return x


def _muon_loop(path, params, gradients, *, rate, decay, b1=0.9, b2=0.95):
  """One leaf after the steps, in float64."""
  x, m, v = (np.float64(y) for y in (params, 0 * params, 0 * params))
  stacked = {'experts': 2}.get(path[1], 1)
  heads = path[1] == 'o' and path[2] != 'lora_b'
  inputs = x.shape[stacked : stacked + 1 + heads]
  for t, g in enumerate(np.float64(gradients), 1):
    if path[0] != 'layers' or path[-1] == 'scale':
      m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
      step = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
    else:
      m = 0.95 * m + 0.05 * g
      ahead = 0.95 * m / (1 - 0.95 ** (t + 1)) + 0.05 * g / (1 - 0.95**t)
      step = np.zeros_like(x)
      for place in np.ndindex(x.shape[:stacked]):
        flat = ahead[place].reshape(int(np.prod(inputs)), -1)
        wide = 0.2 * np.sqrt(max(flat.shape)) * _orthogonal(flat)
        step[place] = wide.reshape(step[place].shape)
    x = x - rate * (step + decay * x * (path[-1] != 'scale'))
  return x


def _steps(tx, params, gradients):
  state = tx.init(params)

  @jax.jit
  def step(params, state, gradient):
    updates, state = tx.update(gradient, state, params)
    return optax.apply_updates(params, updates), state

  for gradient in gradients:
    params, state = step(params, state, gradient)
  return params, state


@pytest.fixture(scope='module')
def moved():
  """Two steps of Muon on one device, with all that went in."""
  table, flat = _layers()
  rng = np.random.default_rng(1)
  moves = {p: rng.normal(size=(2, *x.shape)) for p, x in flat.items()}
  tx = optimizers.chain(
    'muon', learning_rate=0.1, weight_decay=0.3, clip_norm=np.inf
  )
  params = traverse_util.unflatten_dict(flat)
  gradients = [
    traverse_util.unflatten_dict(
      {p: np.float32(x[t]) for p, x in moves.items()}
    )
    for t in range(2)
  ]
  return table, flat, moves, tx, gradients, _steps(tx, params, gradients)


def test_muon_equals_the_loops(moved):
  _, flat, moves, _, _, (params, _) = moved
  for path, x in traverse_util.flatten_dict(params).items():
    expected = _muon_loop(path, flat[path], moves[path], rate=0.1, decay=0.3)
    # Five cubes of float32 matrices; entries are about 1.
    np.testing.assert_allclose(x, expected, atol=1e-4, err_msg=path)


def test_muon_on_a_mesh_is_that_of_one_device(moved):
  table, flat, _, tx, gradients, (expected, _) = moved
  axes = {path: table[path].axes for path in flat}
  params = traverse_util.unflatten_dict(flat)
  mesh = shard.make_mesh(2, 2, jax.devices()[:4])
  layout = shard.layout(mesh, axes, params)
  placed = jax.jit(layout.kept)(params)
  split, state = _steps(tx, placed, gradients)
  chex.assert_trees_all_close(split, expected, rtol=0, atol=1e-4)
  # Momenta live where their parameters do.
  where = layout.shardings(state)
  momenta = [
    place
    for path, place in jax.tree_util.tree_leaves_with_path(where)
    if jax.tree_util.keystr(path).endswith(".mu['layers']['q']['kernel']")
  ]
  kernel = placed['layers']['q']['kernel']
  (place,) = momenta
  assert place.is_equivalent_to(kernel.sharding, kernel.ndim)


def test_muon_goes_on_from_a_checkpoint_as_if_never_stopped(tmp_path, moved):
  *_, tx, gradients, (params, opt) = moved
  state = types.TrainState(
    params=params, opt=opt, reference=(), method={}, step=jnp.int32(2)
  )
  saver = checkpoint.Checkpointer(tmp_path / 'c', asynchronous=False)
  saver.save(2, state, {})
  found = saver.restore(jax.eval_shape(lambda: state)).state
  saver.close()
  update = jax.jit(tx.update)
  ends = [update(gradients[0], x.opt, x.params) for x in (state, found)]
  chex.assert_trees_all_equal(*ends)
  chex.assert_trees_all_equal_structs(*ends)


@pytest.mark.parametrize(
  ('name', 'dtype', 'numbers', 'size'),
  [
    ('adamw', 'float32', 8, 'two of four bytes a parameter'),
    ('adamw', 'bfloat16', 6, 'one of two, one of four'),
    ('muon', 'float32', 4, 'one of four'),
    ('muon', 'bfloat16', 2, 'one of two'),
    ('adafactor', 'float32', 4 * (128 + 256) / (128 * 256), 'two sides'),
  ],
)
def test_states_take_the_bytes_they_promise(name, dtype, numbers, size):
  tx = optimizers.chain(name, learning_rate=1.0, moment_dtype=dtype)
  kernel = jax.ShapeDtypeStruct((3, 128, 256), np.float32)
  state = jax.eval_shape(tx.init, {'layers': {'up': {'kernel': kernel}}})
  kept = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
  # Counts and coefficients are a few numbers more.
  assert 0 <= kept - numbers * kernel.size < 64, size


def test_a_first_moment_in_bfloat16_moves_alike():
  """The first step exactly, since the sum is rounded where it is kept."""
  params = {'kernel': np.linspace(-1, 1, 50, dtype=np.float32)}
  gradients = [{'kernel': params['kernel'] * t} for t in (1, -0.3, 0.7)]
  for steps, tolerance in ((1, 0), (3, 0.01)):
    ends = [
      _steps(
        optimizers.chain(learning_rate=1.0, moment_dtype=dtype),
        params,
        gradients[:steps],
      )[0]['kernel']
      for dtype in ('float32', 'bfloat16')
    ]
    np.testing.assert_allclose(*ends, rtol=0, atol=tolerance)
  assert np.any(ends[0] != ends[1])


def test_adafactor_equals_the_loops():
  rng = np.random.default_rng(2)
  params = rng.normal(size=(2, 130, 140))
  gradients = rng.normal(size=(2, *params.shape)) * 3
  tx = optimizers.chain(
    'adafactor', learning_rate=0.1, weight_decay=0.3, clip_norm=np.inf
  )
  ours, _ = _steps(
    tx,
    {'kernel': np.float32(params)},
    [{'kernel': np.float32(g)} for g in gradients],
  )
  rows = columns = 0
  for t, g in enumerate(gradients, 1):
    keep = 1 - t**-0.8
    rows = keep * rows + (1 - keep) * np.mean(g * g, axis=2)
    columns = keep * columns + (1 - keep) * np.mean(g * g, axis=1)
    mean = np.mean(rows, axis=1)[:, None, None]
    u = g / np.sqrt(rows[:, :, None] * columns[:, None, :] / mean)
    u /= max(1, np.sqrt(np.mean(u * u)))
    params = params - 0.1 * (u + 0.3 * params)
  np.testing.assert_allclose(ours['kernel'], params, atol=1e-5)


def test_muon_needs_layers_and_moments_a_known_dtype():
  tx = optimizers.chain('muon', learning_rate=1.0)
  with pytest.raises(ValueError, match=r"none among \['mean'\]; use adamw"):
    tx.init({'mean': {'kernel': np.zeros((2, 2))}})
  with pytest.raises(ValueError, match="dtype is 'float16'; use float32"):
    optimizers.chain(learning_rate=1.0, moment_dtype='float16')
