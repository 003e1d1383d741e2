"""Mixtures of experts against loops over tokens, alone and over meshes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import collectives
from jaxrl_llm.policies.language import experts
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.training import shard
from tests import thinned
from tests.oracles import experts as oracle

_CONFIG = Config(
  vocab=8,
  width=10,
  layers=1,
  heads=1,
  kv_heads=1,
  head_dim=2,
  mlp_width=24,
  experts=8,
  experts_per_token=3,
  experts_norm=True,
)
_AXES = {
  ('experts', 'gate'): ('experts', 'embed', 'mlp'),
  ('experts', 'up'): ('experts', 'embed', 'mlp'),
  ('experts', 'down'): ('experts', 'mlp', 'embed'),
  ('experts', 'gate_bias'): ('experts', 'mlp'),
  ('experts', 'up_bias'): ('experts', 'mlp'),
  ('experts', 'down_bias'): ('routes', 'embed'),
}
# float32 sums of tens of terms of order one.
_close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)


def _config(**changes):
  return Config(**vars(_CONFIG) | changes)


def _params(config, seed=0):
  rng = np.random.default_rng(seed)
  e, d, f = config.experts, config.width, config.mlp_width

  def normal(*shape):
    return jnp.asarray(rng.normal(0, shape[-2] ** -0.5, shape), jnp.float32)

  params = {
    'router': {'kernel': 3 * normal(d, e)},
    'experts': {
      'gate': normal(e, d, f), 'up': normal(e, d, f), 'down': normal(e, f, d)
    },
  }  # fmt: skip
  if config.mlp_bias:
    params['router']['bias'] = normal(1, e)[0]
    for name, columns in (('gate', f), ('up', f), ('down', d)):
      params['experts'][f'{name}_bias'] = normal(e, 1, columns)[:, 0]
  return params


def _silu(gate, up):
  return jax.nn.silu(gate) * up


def _x(*shape, seed=1):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(*shape, _CONFIG.width)), jnp.float32)


@functools.partial(jax.jit, static_argnums=1)
def _mixture(params, config, x):
  return experts.mixture(params, config, x, _silu)


def _expected(params, config, x):
  y = oracle.mixture(
    params,
    x.reshape(-1, config.width),
    experts_per_token=config.experts_per_token,
    normal=config.experts_norm,
  )
  return y.reshape(x.shape)


@pytest.mark.parametrize(
  'shape, count, each, normal',
  thinned.every(
    2,
    [
      ((4, 7), 8, 3, True),
      ((40,), 8, 1, False),
      ((1, 1), 8, 3, False),
      ((4, 7), 5, 5, False),
      ((40,), 1, 1, True),
    ],
  ),
  ids=str,
)
def test_every_token_hears_its_experts_and_no_other(shape, count, each, normal):
  config = _config(experts=count, experts_per_token=each, experts_norm=normal)
  params, x = _params(config), _x(*shape)
  expected = _expected(params, config, x)
  _close(_mixture(params, config, x), expected)
  _close(experts.mixture(params, config, x, _silu), expected)


def test_biases_are_those_of_the_chosen_experts():
  config = _config(mlp_bias=True)
  params, x = _params(config), _x(4, 7)
  _close(_mixture(params, config, x), _expected(params, config, x))


def test_no_token_is_dropped_when_all_choose_the_same_experts():
  params = _params(_CONFIG)
  # Scores that do not depend on the token but through its size.
  kernel = jnp.zeros((10, 8)).at[0].set(jnp.arange(8.0))
  params['router']['kernel'] = kernel
  x = _x(70, 5).at[..., 0].set(2.0)
  _, chosen = experts.route(params['router'], _CONFIG, x)
  np.testing.assert_array_equal(np.unique(chosen), [5, 6, 7])
  _close(_mixture(params, _CONFIG, x), _expected(params, _CONFIG, x))


def test_of_equal_experts_the_first_are_chosen():
  router = {'kernel': jnp.zeros((10, 8))}
  weights, chosen = experts.route(router, _CONFIG, _x(4))
  np.testing.assert_array_equal(chosen, [[0, 1, 2]] * 4)
  _close(weights, np.full((4, 3), 1 / 3))
  raw, _ = experts.route(router, _config(experts_norm=False), _x(4))
  _close(raw, np.full((4, 3), 1 / 8))


def _slopes(params, config, x, weight):
  def loss(params, x):
    y = experts.mixture(params, config, x, _silu)
    return jnp.sum(weight * y)

  return jax.grad(loss, argnums=(0, 1))(params, x)


@pytest.mark.parametrize('normal, bias', [(True, True), (False, False)])
def test_gradients_are_the_differences_of_the_oracle(normal, bias):
  config = _config(experts_norm=normal, mlp_bias=bias)
  params, x, weight = _params(config), _x(3, 4), _x(3, 4, seed=2)
  gradient = jax.jit(_slopes, static_argnums=1)(params, config, x, weight)
  weight = np.asarray(weight, np.float64)
  inputs = jax.tree.map(lambda x: np.asarray(x, np.float64), (params, x))
  leaves, tree = jax.tree.flatten(inputs)
  rng = np.random.default_rng(3)
  for i, slope in enumerate(jax.tree.leaves(gradient)):
    # So short a step changes no choice, and float64 still resolves it.
    step = 1e-6 * rng.normal(size=slope.shape)
    values = []
    for sign in (1, -1):
      moved = [*leaves[:i], leaves[i] + sign * step, *leaves[i + 1 :]]
      params_, x_ = jax.tree.unflatten(tree, moved)
      values.append(np.sum(weight * _expected(params_, config, x_)))
    difference = (values[0] - values[1]) / 2
    np.testing.assert_allclose(np.sum(slope * step), difference, rtol=2e-4)


def test_an_only_expert_of_weight_one_teaches_the_router_nothing():
  config = _config(experts_per_token=1)
  params, x = _params(config), _x(6)
  gradient, _ = _slopes(params, config, x, _x(6, seed=2))
  _close(gradient['router']['kernel'], 0.0)
  assert jnp.abs(gradient['experts']['down']).max() > 0.1


def test_experts_that_no_token_chose_get_no_gradient():
  params, x = _params(_CONFIG), _x(1)
  _, chosen = experts.route(params['router'], _CONFIG, x)
  gradient, _ = _slopes(params, _CONFIG, x, _x(1, seed=2))
  for leaf in gradient['experts'].values():
    moved = np.flatnonzero(np.abs(leaf).max((1, 2)))
    np.testing.assert_array_equal(moved, np.sort(chosen[0]))


@pytest.mark.parametrize(
  ('shape', 'bias', 'mesh'),
  [
    ((2, 40), True, None),
    ((1, 3), False, None),
    ((4, 20), True, (2, 2)),
    ((4, 20), False, (4, 1)),
  ],
)
def test_what_tpus_compute_is_what_others_do(monkeypatch, shape, bias, mesh):
  """One product over ragged groups, in place of a loop over blocks."""
  layout = shard.Layout(mesh and shard.make_mesh(*mesh), _AXES)
  config = _config(mlp_bias=bias)
  params, x = _params(config), _x(*shape)
  weight = jnp.cos(jnp.arange(x.size)).reshape(x.shape)

  def outputs():
    def both(params, x):
      params, x = layout.gathered(params), layout.rows(x)
      with layout.known():
        y = experts.mixture(params, config, x, _silu)
      return jnp.sum(weight * y), y

    # Not one that was traced for the others.
    return jax.jit(jax.value_and_grad(both, (0, 1), has_aux=True))(params, x)

  looped = outputs()
  monkeypatch.setattr(
    jax.lax, 'platform_dependent', lambda *x, tpu, default: tpu(*x)
  )
  chex.assert_trees_all_close(outputs(), looped, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('mesh', [(1, 1), (1, 2), (2, 2), (8, 1)])
@pytest.mark.parametrize('lanes', [True, False])
def test_tpus_loop_on_no_mesh_and_gpus_on_every_one(mesh, lanes):
  """XLA gives GPUs the product of every row with every expert."""
  layout = shard.Layout(shard.make_mesh(*mesh), _AXES)
  params, x = _params(_CONFIG), _x(8, 3)

  def slopes(params, x):
    params, x = layout.gathered(params), layout.rows(x)
    with layout.known():
      if not lanes:
        return _slopes(params, _CONFIG, x, x)
      x = x.reshape(layout.data, -1, *x.shape[1:])
      return jax.vmap(lambda x: _slopes(params, _CONFIG, x, x))(x)

  traced = jax.jit(slopes).trace(params, x)
  for platform, loops in (('tpu', False), ('cuda', True)):
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ('stablehlo.while' in text) == loops
    assert ('ragged_dot' in text) != loops


@pytest.mark.parametrize('stacked', ['rows', 'both'])
def test_vmap_is_a_loop(stacked):
  many = [_params(_CONFIG, seed) for seed in range(3)]
  params = jax.tree.map(lambda *x: jnp.stack(x), *many)
  x, weight = _x(3, 2, 4), _x(2, 4, seed=2)
  axes = {'rows': (None, 0), 'both': (0, 0)}[stacked]
  inputs = params if stacked == 'both' else many[0], x

  @jax.jit
  def both(params, x):
    y = experts.mixture(params, _CONFIG, x, _silu)
    return y, _slopes(params, _CONFIG, x, weight)

  together = jax.jit(jax.vmap(both, axes))(*inputs)
  apart = [both(many[i if stacked == 'both' else 0], x[i]) for i in range(3)]
  apart = jax.tree.map(lambda *x: jnp.stack(x), *apart)
  chex.assert_trees_all_close(together, apart, rtol=1e-4, atol=1e-5)


def test_rematerialisation_changes_no_gradient():
  params, x, weight = _params(_CONFIG), _x(3, 4), _x(3, 4, seed=2)

  def loss(params):
    mixture = jax.checkpoint(lambda p: _mixture(p, _CONFIG, x))
    return jnp.sum(weight * mixture(params))

  again = jax.jit(jax.grad(loss))(params)
  once, _ = jax.jit(_slopes, static_argnums=1)(params, _CONFIG, x, weight)
  chex.assert_trees_all_close(again, once, rtol=1e-4, atol=1e-5)


def test_bfloat16_stays_near_float32():
  params, x, weight = _params(_CONFIG), _x(3, 4), _x(3, 4, seed=2)
  # Rounded beforehand, so that both choose from the same numbers.
  x = x.astype(jnp.bfloat16)
  y = _mixture(params, _CONFIG, x)
  assert y.dtype == jnp.bfloat16
  exact = _mixture(params, _CONFIG, x.astype(jnp.float32))
  # Eight bits of mantissa, in a handful of roundings.
  assert jnp.abs(y - exact).max() < 0.05 * jnp.abs(exact).max()
  slopes = _slopes(params, _CONFIG, x, weight)
  wanted = _slopes(params, _CONFIG, x.astype(jnp.float32), weight)
  for a, b in zip(*map(jax.tree.leaves, (slopes, wanted))):
    assert a.dtype in (jnp.float32, jnp.bfloat16)
    assert jnp.abs(a - b).max() < 0.1 * jnp.abs(b).max()


# 8 experts are split over every axis of `model`; 6 over 2, and the columns of
# each over 4 and 8; 5 with 9 columns stay whole.
@pytest.mark.parametrize(
  'mesh, count, width, lanes',
  thinned.every(
    2,
    [
      ((8, 1), 8, 24, True),
      ((4, 2), 6, 24, False),
      ((2, 4), 8, 24, True),
      ((1, 8), 8, 24, False),
      ((2, 4), 6, 24, False),
      ((4, 2), 5, 9, True),
    ],
  ),
  ids=str,
)
def test_a_mesh_computes_the_same_and_sends_sums_alone(
  mesh, count, width, lanes
):
  config = _config(experts=count, mlp_width=width, mlp_bias=mesh == (2, 4))
  params, x, weight = _params(config), _x(8, 3), _x(8, 3, seed=2)
  layout = shard.Layout(shard.make_mesh(*mesh), _AXES)

  def slopes(params, x, weight):
    with layout.known():
      if not lanes:
        return _slopes(params, config, x, weight)
      # As the learner does: a gradient of each device's own rows.
      x, weight = (
        y.reshape(layout.data, -1, *y.shape[1:]) for y in (x, weight)
      )
      of_params, of_x = jax.vmap(
        lambda x, weight: _slopes(params, config, x, weight)
      )(x, weight)
      of_params = jax.tree.map(lambda x: jnp.sum(x, axis=0), of_params)
      return of_params, of_x.reshape(-1, *of_x.shape[2:])

  inputs = jax.jit(
    lambda p, *rows: (layout.gathered(p), *layout.rows(rows))
  )(params, x, weight)  # fmt: skip
  compiled = jax.jit(slopes).lower(*inputs).compile()
  chex.assert_trees_all_close(
    compiled(*inputs), _slopes(params, config, x, weight), rtol=1e-4, atol=1e-5
  )
  sent = collectives.of_program(compiled)
  assert {each.kind for each in sent} == {'all-reduce'}
  assert not any(each.looped for each in sent)
  # At most the gradients of the parameters, over `data`, and of rows and
  # weights, over `model`; and how many blocks there are.
  most = sum(y.size for y in jax.tree.leaves(params)) + x.size + 8 * 3 * 3
  assert sum(each.bytes for each in sent) <= 4 * most + 64
