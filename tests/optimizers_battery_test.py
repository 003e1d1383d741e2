"""What every optimizer that a setting can name keeps to."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_llm import optimizers
from jaxrl_llm.catalogue.pieces import pieces

# By name: the length of a step that goes down a quadratic.
OPTIMIZERS = {
  'adamw': 0.1,
  'muon': 0.4,
  'adafactor': 0.1,
  'sgd': 0.1,
  'implicit_transport': 0.3,
  'hessian_aided': 0.3,
}
each = pytest.mark.parametrize('name', OPTIMIZERS)
# A matrix for each of two layers, and what is no matrix.
PARAMS = {
  'layers': {'up': {'kernel': jnp.linspace(-2, 2, 24).reshape(2, 3, 4)}},
  'final_norm': {'scale': jnp.array([1.0, -1.0, 2.0])},
}


def loss(params):
  return sum(jnp.sum(x**2) for x in jax.tree.leaves(params)) / 2


def made(name, **settings):
  rate = {'learning_rate': OPTIMIZERS[name]}
  tx = optimizers.chain(name, **({'clip_norm': math.inf} | rate | settings))
  return optax.with_extra_args_support(tx)


@functools.cache
def step_of(name):
  """One compiled step f(gradients, state, params) -> params, state."""
  tx = made(name)

  @jax.jit
  def step(gradients, state, params):
    updates, state = tx.update(
      gradients, state, params, hessian_product=lambda point, vector: vector
    )
    return optax.apply_updates(params, updates), state

  return step


def test_every_listed_optimizer_is_here():
  listed = {p.name for p in pieces() if p.kind == 'optimizer'}
  assert listed <= {f'optimizers.{name}' for name in OPTIMIZERS}
  with pytest.raises(ValueError) as error:
    optimizers.chain('none', learning_rate=1.0)
  assert str(error.value).endswith(f'known: {", ".join(OPTIMIZERS)}')


@each
def test_it_goes_down_a_quadratic_in_one_program(name):
  step, params, state = step_of(name), PARAMS, made(name).init(PARAMS)
  kept = jax.tree.map(lambda x: (x.shape, x.dtype), state)
  for _ in range(20):
    params, state = step(jax.grad(loss)(params), state, params)
  assert loss(params) < 0.5 * loss(PARAMS)
  assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == kept
  assert step._cache_size() == 1


@each
def test_no_gradient_moves_nothing(name):
  still = jax.tree.map(jnp.zeros_like, PARAMS)
  params, _ = step_of(name)(still, made(name).init(PARAMS), PARAMS)
  jax.tree.map(np.testing.assert_array_equal, params, PARAMS)


@each
def test_a_clipped_gradient_is_a_shorter_one_or_is_refused(name):
  if name in optimizers._OWN_LENGTH:
    with pytest.raises(ValueError, match='Set it to inf'):
      made(name, clip_norm=1.0)
    return
  tx, gradients = made(name, clip_norm=0.5), jax.grad(loss)(PARAMS)
  norm = optax.tree.norm(gradients)
  shorter = jax.tree.map(lambda x: x * (0.5 / norm), gradients)
  found, _ = tx.update(gradients, tx.init(PARAMS), PARAMS)
  expected, _ = made(name).update(shorter, tx.init(PARAMS), PARAMS)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    found,
    expected,
  )


@each
def test_state_is_in_float32_but_for_the_moment_that_is_asked_for(name):
  reads = 'moment_dtype' in optimizers.READS.get(name, ())
  for dtype in ('float32', 'bfloat16'):
    state = jax.eval_shape(made(name, moment_dtype=dtype).init, PARAMS)
    found = {str(x.dtype) for x in jax.tree.leaves(state)} - {'int32'}
    asked = {dtype} if reads else set()
    assert found <= {'float32'} | asked and found >= asked
