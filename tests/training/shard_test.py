import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec

from jaxrl_llm.training import shard


def test_mesh_takes_the_rest_of_the_devices():
  assert dict(shard.make_mesh().shape) == {'data': 8, 'model': 1}
  assert dict(shard.make_mesh(-1, 4).shape) == {'data': 2, 'model': 4}
  assert dict(shard.make_mesh(2, -1).shape) == {'data': 2, 'model': 4}
  assert dict(shard.make_mesh(2, 2).shape) == {'data': 2, 'model': 2}


def test_mesh_axes_are_automatic():
  types = shard.make_mesh().axis_types
  assert set(types) == {AxisType.Auto}


def test_mesh_of_too_many_devices_is_refused_with_the_numbers():
  with pytest.raises(ValueError, match='needs 32 devices and there are 8'):
    shard.make_mesh(8, 4)


@pytest.mark.parametrize(
  'axes, shape, wanted',
  [
    (('vocab', 'embed'), (12, 8), ('model', 'data')),
    (('layers', 'embed', 'heads', 'head_dim'), (3, 8, 4, 5), None),
    # Ten rows do not split in four: the dimension stays whole.
    (('vocab', 'embed'), (10, 8), (None, 'data')),
    (('heads', 'mlp'), (4, 4), ('model', None)),
    ((None,), (7,), (None,)),
  ],
)
def test_spec_follows_rules_and_keeps_what_does_not_divide(axes, shape, wanted):
  mesh = shard.make_mesh(2, 4)
  wanted = wanted or (None, 'data', 'model', None)
  assert shard.spec(axes, shape, mesh) == PartitionSpec(*wanted)


def test_axis_without_a_rule_is_refused():
  with pytest.raises(KeyError, match="'depth'; add it to RULES"):
    shard.spec(('depth',), (4,), shard.make_mesh())


def test_axes_and_shape_must_match():
  with pytest.raises(ValueError):
    shard.spec(('embed',), (4, 4), shard.make_mesh())


def test_rows_are_split_and_the_rest_kept_whole():
  layout = shard.Layout(shard.make_mesh(8, 1))
  tree = {'rows': jnp.arange(16.0), 'odd': jnp.arange(3.0), 'one': jnp.ones(())}
  placed = jax.jit(layout.rows)(tree)
  assert placed['rows'].sharding.is_equivalent_to(shard.rows(layout.mesh), 1)
  assert placed['odd'].sharding.is_fully_replicated
  assert placed['one'].sharding.is_fully_replicated
  np.testing.assert_array_equal(placed['rows'], tree['rows'])


def test_rows_that_are_sampled_are_split_over_the_context_too():
  layout = shard.Layout(shard.make_mesh(2, 2, context=2))
  sampled = layout.sampling()
  held = [
    {shard.data.shape for shard in jax.jit(each.rows)(x).addressable_shards}
    for each in (layout, sampled)
    for x in (jnp.arange(8.0), jnp.arange(6.0))
  ]
  # Where both axes do not divide the rows, `data` alone does.
  assert held == [{(4,)}, {(3,)}, {(2,)}, {(3,)}]
  assert layout.data == sampled.data == 2
  for whole in (shard.ALONE, shard.Layout(shard.make_mesh(8, 1))):
    assert whole.sampling() is whole


@pytest.mark.parametrize('jit', [jax.jit, lambda f: f])
def test_what_a_state_keeps_of_a_parameter_lives_where_it_does(jit):
  mesh = shard.make_mesh(2, 4)
  params = {'head': {'kernel': jnp.ones((8, 4)), 'bias': jnp.ones(4)}}
  axes = {('head', 'kernel'): ('embed', 'vocab'), ('head', 'bias'): ('vocab',)}
  layout = shard.layout(mesh, axes, params)
  state = {'params': params, 'opt': optax.adam(1.0).init(params)}
  kept, gathered = jit(layout.kept)(state), jit(layout.gathered)(state)
  for part in (kept['params'], kept['opt'][0].mu, kept['opt'][0].nu):
    places = jax.tree.map(lambda x: x.sharding.spec, part)
    assert places['head']['kernel'] == PartitionSpec('data', 'model')
    assert places['head']['bias'] == PartitionSpec('model')
  assert kept['opt'][0].count.sharding.is_fully_replicated
  whole = gathered['params']['head']['kernel'].sharding.spec
  assert whole == PartitionSpec(None, 'model')


def test_one_device_places_nothing():
  mesh = shard.make_mesh(1, 1, jax.devices()[:1])
  tree = object()
  layout = shard.layout(mesh, {}, {})
  assert layout.rows(tree) is tree and layout.kept(tree) is tree


def test_parameters_that_no_rule_covers_are_listed():
  params = {'a': jnp.ones(2), 'b': {'c': jnp.ones(2)}, 'd': jnp.ones(2)}
  axes = {('a',): ('embed',), ('b', 'c'): ('depth',)}
  with pytest.raises(ValueError, match='covers b.c, d; give their'):
    shard.layout(shard.make_mesh(), axes, params)
