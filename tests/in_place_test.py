import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_llm import in_place, optimizers, update

# Leaves of several blocks, with rows left over, of one, and of none.
SHAPES = {
  'embed': {'kernel': (23, 4)},
  'layers': {'up': {'kernel': (5, 3, 4)}, 'norm': {'scale': (5, 2)}},
  'temperature': (),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  monkeypatch.setattr(in_place, 'AT_ONCE', {'cpu': 12})


def tree(seed):
  shapes, structure = jax.tree.flatten(
    SHAPES, is_leaf=lambda x: isinstance(x, tuple)
  )
  draw = np.random.default_rng(seed)
  return structure.unflatten(
    [jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in shapes]
  )


def made(name='adamw', **settings):
  return optimizers.chain(name, **({'learning_rate': 0.1} | settings))


@functools.cache
def written(tx):
  return jax.jit(functools.partial(in_place.step, tx))


YES = jnp.bool_(True)


@pytest.mark.parametrize(
  ('name', 'settings'),
  [
    ('adamw', {'weight_decay': 0.1, 'schedule': 'cosine', 'total': 5}),
    ('adamw', {'clip_norm': 1e9, 'moment_dtype': 'bfloat16'}),
    ('sgd', {'clip_norm': 0.5}),
  ],
)
def test_blocks_are_the_steps_of_whole_arrays(name, settings):
  tx = made(name, **settings)
  params, opt = tree(0), tx.init(tree(0))
  others, same = params, opt
  step = jax.jit(tx.update)
  for number in range(1, 4):
    grads = tree(number)
    params, opt, metrics = written(tx)(params, opt, grads, YES)
    updates, same = step(grads, same, others)
    others = optax.apply_updates(others, updates)
    norms = update.norms(grads)
    assert metrics['bad_steps'] == 0
    chex.assert_trees_all_close(
      {k: metrics[k] for k in norms}, norms, rtol=1e-6
    )
  chex.assert_trees_all_equal_shapes_and_dtypes(opt, same)
  chex.assert_trees_all_close(
    jax.tree.map(lambda x: x.astype(jnp.float32), (params, opt)),
    jax.tree.map(lambda x: x.astype(jnp.float32), (others, same)),
    rtol=1e-5,
    atol=1e-6,
  )


def broken(leaf, value):
  return leaf.at[(-1,) * leaf.ndim].set(value)


@pytest.mark.parametrize('why', ['healthy', 'gradient', 'parameters'])
def test_a_step_that_is_not_finite_changes_no_block(why):
  """Nor blocks that come before the one in which it is found."""
  # The gradient is finite, and the step is not.
  rate = 3e38 if why == 'parameters' else 0.1
  tx = made(learning_rate=rate)
  params = tree(0)
  _, opt, _ = written(made())(params, tx.init(params), tree(1), YES)
  grads = tree(2)
  if why == 'gradient':
    grads['layers']['up']['kernel'] = broken(
      grads['layers']['up']['kernel'], jnp.nan
    )
  healthy = jnp.bool_(why != 'healthy')
  if why == 'parameters':
    params['embed']['kernel'] = broken(params['embed']['kernel'], -3e38)
    grads['embed']['kernel'] = broken(grads['embed']['kernel'], 9.0)
  after, kept, metrics = written(tx)(params, opt, grads, healthy)
  assert metrics['bad_steps'] == 1
  chex.assert_trees_all_equal((after, kept), (params, opt))


def test_no_copy_of_what_is_written_exists(monkeypatch):
  monkeypatch.setattr(in_place, 'AT_ONCE', {'cpu': 2**10})
  params = {'layers': {'up': {'kernel': jnp.zeros((64, 2**10))}}}
  tx = made()
  arguments = (params, tx.init(params), params, YES)
  step = jax.jit(functools.partial(in_place.step, tx), donate_argnums=(0, 1))
  memory = step.lower(*arguments).compile().memory_analysis()
  whole = params['layers']['up']['kernel'].nbytes
  assert memory.alias_size_in_bytes > 3 * whole - 8
  assert memory.temp_size_in_bytes < whole / 4


def test_a_rule_of_one_step_writes_in_place_where_that_pays():
  def grad_fn(params, batch):
    return batch, {'loss': jnp.float32(1)}

  tx, params, grads = made(), tree(0), tree(1)
  arguments = (grad_fn, tx, params, tx.init(params), grads)
  _, opt, metrics = jax.jit(update.single, static_argnums=(0, 1))(*arguments)
  assert metrics['bad_steps'] == 0 and opt[1][0].count == 1
  few = {'temperature': params['temperature']}
  assert in_place.pays(params) and not in_place.pays(few)
