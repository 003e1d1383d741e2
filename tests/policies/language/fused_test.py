"""Kernels of accelerators beside our tiles, by their forms for a CPU.

What is called on a GPU cannot be run here. `jax.nn.dot_product_attention` says
the same under one name for all of its implementations, so that of XLA shows
what masks and windows mean; splash is interpreted.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.policies.language import attention, decoding, fused, transformer
from tests.policies.language import decoders

_MESH = {'data': 1, 'model': 1}
_CONFIG = dataclasses.replace(
  decoders.PLAIN, head_dim=64, heads=2, kv_heads=1, layers=2
)


@pytest.fixture(autouse=True, params=['cudnn', 'splash'])
def kernel(request, monkeypatch):
  here = {
    'cudnn': functools.partial(fused.of_jax, 'xla'),
    'splash': functools.partial(fused.splash, interpret=True),
  }
  monkeypatch.setattr(fused, 'KERNELS', here)
  return request.param


def _random(*shape, seed=0):
  return jnp.asarray(
    np.random.default_rng(seed).normal(size=shape), jnp.float32
  )


@pytest.mark.parametrize('window', [None, 5])
def test_values_and_gradients_are_those_of_tiles(kernel, window):
  n, s = 2, 21
  inputs = (
    _random(n, s, 4, 64) / 8,
    _random(n, s, 2, 64, seed=1),
    _random(n, s, 2, 64, seed=2),
  )
  weight = _random(n, s, 4, 64, seed=3)
  # Gaps anywhere, and one row without any token.
  valid = np.random.default_rng(4).random((n, s)) < 0.7
  valid[1] = False
  mask = attention.Mask(
    jnp.asarray(valid), jnp.asarray(np.cumsum(valid, -1) - 1), window
  )

  def said(kernel, *inputs):
    y = attention.within_sequence(*inputs, mask, kernel=kernel)
    y = jnp.where(mask.valid[..., None, None], y, 0)
    return jnp.sum(weight * y), y

  def both(kernel):
    call = functools.partial(said, kernel)
    return jax.jit(jax.value_and_grad(call, (0, 1, 2), has_aux=True))(*inputs)

  wanted, found = both('tiles'), both(kernel)
  for a, b in zip(jax.tree.leaves(wanted), jax.tree.leaves(found)):
    # Sums of float32 in another order.
    np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-5)


def test_what_a_kernel_leaves_where_no_token_is_gets_nowhere(monkeypatch):
  """Neither from its values nor from its gradients."""

  def soiled(x, count):
    off = jnp.arange(x.shape[1]) >= count[:, None]
    return jnp.where(off[..., None, None], jnp.nan, x)

  @jax.custom_vjp
  def backward(x, count):
    del count
    return x

  backward.defvjp(
    lambda x, count: (x, count),
    lambda count, slope: (soiled(slope, count), None),
  )

  def kernel(q, k, v, count, window):
    q, k, v = (backward(x, count) for x in (q, k, v))
    return soiled(fused.of_jax('xla', q, k, v, count, window), count)

  monkeypatch.setitem(fused.KERNELS, 'cudnn', kernel)
  q, k, v = (_random(2, 6, 2, 8, seed=i) for i in range(3))
  valid = jnp.arange(6) >= jnp.array([[2], [0]])

  def total(q, k, v):
    return jnp.sum(fused.attend('cudnn', q, k, v, valid))

  value, slopes = jax.value_and_grad(total, (0, 1, 2))(q, k, v)
  assert all(jnp.isfinite(x).all() for x in (value, *slopes))
  np.testing.assert_array_equal(slopes[0][0, :2], 0)


def test_models_say_the_same_whole_grouped_and_cached(kernel):
  tokens = jax.random.randint(jax.random.key(1), (2, 5), 0, 50)
  prompt_mask = jnp.arange(5) >= jnp.array([[2], [0]])
  response = jax.random.randint(jax.random.key(2), (4, 6), 0, 50)
  mask = jnp.arange(6) < jnp.array([[6], [3], [1], [4]])
  params = jax.tree.map(jnp.asarray, decoders.params(_CONFIG))

  def states(config):
    grouped = transformer.hidden_of_groups(
      params, config, tokens, prompt_mask, response, mask
    )
    whole = transformer.hidden(
      params,
      config,
      jnp.concatenate([jnp.repeat(tokens, 2, 0), response], 1),
      jnp.concatenate([jnp.repeat(prompt_mask, 2, 0), mask], 1),
    )
    read, cache = decoding.prefill(params, config, tokens, prompt_mask)
    seen = prompt_mask[:, None, :, None]
    values = [jnp.where(seen, layer['v'], 0) for layer in cache]
    shown = jnp.where(mask[..., None], grouped[1], 0)
    return (
      grouped[0],
      shown,
      jnp.where(mask[..., None], whole[:, 5:], 0),
      read,
      values,
    )

  wanted = jax.jit(states, static_argnums=0)(_CONFIG)
  config = dataclasses.replace(_CONFIG, kernel=kernel)
  found = jax.jit(states, static_argnums=0)(config)
  for a, b in zip(jax.tree.leaves(wanted), jax.tree.leaves(found)):
    np.testing.assert_allclose(a, b, atol=1e-4)
  with pytest.raises(ValueError, match='read forth alone'):
    transformer.hidden(params, config, tokens, prompt_mask, causal=False)


def test_rows_of_several_sequences_have_tiles(kernel, monkeypatch):
  monkeypatch.setattr(fused, 'KERNELS', {})
  config = dataclasses.replace(_CONFIG, kernel=kernel)
  tokens, mask = decoders.tokens((1, 6)), np.ones((1, 6), bool)
  params = jax.tree.map(jnp.asarray, decoders.params(_CONFIG))
  states = [
    transformer.hidden(
      params, each, tokens, mask, segments=jnp.array([[1, 1, 1, 2, 2, 2]])
    )
    for each in (config, _CONFIG)
  ]
  np.testing.assert_array_equal(*states)


@pytest.mark.parametrize(
  ('kernel', 'changes', 'dtype', 'mesh', 'words'),
  [
    ('cudnn', {}, 'bfloat16', _MESH, ''),
    ('cudnn', {}, 'float16', {'data': 4, 'model': 1}, ''),
    ('cudnn', {}, 'float32', _MESH, 'not in float32'),
    ('cudnn', {'head_dim': 256}, 'bfloat16', _MESH, '256'),
    ('cudnn', {'head_dim': 4}, 'bfloat16', _MESH, 'multiple of 8'),
    ('cudnn', {}, 'bfloat16', {'data': 1, 'model': 2}, 'mesh.model=2'),
    ('cudnn', {'sinks': True}, 'bfloat16', _MESH, 'sinks'),
    ('cudnn', {'attention_cap': 5.0}, 'bfloat16', _MESH, 'bounded'),
    ('cudnn', {'windows': (3, 3)}, 'bfloat16', _MESH, ''),
    ('cudnn', {'windows': (3, 0)}, 'bfloat16', _MESH, 'windows'),
    ('splash', {}, 'float32', _MESH, ''),
    ('splash', {'head_dim': 128}, 'bfloat16', _MESH, ''),
    ('splash', {'head_dim': 80}, 'bfloat16', _MESH, 'multiple of 64'),
    ('splash', {}, 'bfloat16', {'data': 2, 'model': 1}, 'one device'),
  ],
)
def test_what_does_not_fit_is_named(kernel, changes, dtype, mesh, words):
  config = dataclasses.replace(_CONFIG, **changes)
  if not words:
    assert fused.resolve(kernel, config, dtype, mesh) == kernel
    return
  with pytest.raises(ValueError, match=words):
    fused.resolve(kernel, config, dtype, mesh)


@pytest.mark.parametrize(
  ('backend', 'dtype', 'chosen'),
  [
    ('cpu', 'bfloat16', 'tiles'),
    ('gpu', 'bfloat16', 'cudnn'),
    ('gpu', 'float32', 'tiles'),
    ('tpu', 'float32', 'splash'),
  ],
)
def test_the_machine_decides_where_nobody_does(
  monkeypatch, backend, dtype, chosen
):
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  assert fused.resolve('auto', _CONFIG, dtype, _MESH) == chosen


def test_an_unknown_name_is_refused():
  with pytest.raises(ValueError, match="'flash' is not one of"):
    fused.resolve('flash', _CONFIG, 'bfloat16', _MESH)
