import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxrl_llm.policies.language import (
  caches,
  decoding,
  lora,
  parameters,
  transformer,
)
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.delta import Delta

_CONFIG = Config(
  vocab=40, width=16, layers=2, heads=4, kv_heads=2, head_dim=6, mlp_width=24
)
_TOKENS = np.arange(12).reshape(2, 6)
_MASK = _TOKENS >= 0
_forward = jax.jit(
  lambda params: transformer.hidden(params, _CONFIG, _TOKENS, _MASK)
)


def _random(entries, seed=0):
  rng = np.random.default_rng(seed)
  return {
    path: np.float32(rng.normal(0.0, 0.5, entry.shape))
    for path, entry in entries.items()
  }


def _base():
  return traverse_util.unflatten_dict(_random(parameters.table(_CONFIG)))


def _adapted(targets=lora.TARGETS):
  """Random factors: as they are after some training."""
  entries = lora.table(_CONFIG, rank=3, alpha=6.0, targets=targets)
  return traverse_util.unflatten_dict(
    traverse_util.flatten_dict(_base()) | _random(entries, seed=1)
  )


def test_the_first_forward_equals_the_base():
  base = _base()
  params = lora.add(
    base, _CONFIG, jax.random.key(0), rank=3, alpha=6.0, targets=('q', 'o')
  )
  assert params['layers']['q']['lora_a'].any()
  np.testing.assert_array_equal(params['layers']['o']['lora_scale'], [2.0, 2.0])
  np.testing.assert_array_equal(_forward(params), _forward(base))
  assert 'lora_a' not in params['layers']['down']


def test_leaves_follow_the_table():
  entries = lora.table(_CONFIG, rank=3, alpha=6.0)
  assert len(entries) == 3 * len(lora.TARGETS)
  params = jax.eval_shape(
    lambda: lora.add(_base(), _CONFIG, jax.random.key(0), rank=3, alpha=6.0)
  )
  flat = traverse_util.flatten_dict(params)
  for path, entry in entries.items():
    chex.assert_shape(flat[path], entry.shape)
    assert len(entry.axes) == len(entry.shape)


@pytest.mark.parametrize('target', lora.TARGETS)
def test_merging_changes_no_output(target):
  params = _adapted((target,))
  merged = lora.merge(params)
  chex.assert_trees_all_equal_shapes_and_dtypes(merged, _base())
  # float32 products of six to 24 terms, in another order.
  np.testing.assert_allclose(_forward(merged), _forward(params), atol=2e-5)
  assert jnp.abs(_forward(merged) - _forward(_base())).max() > 1e-2


def test_a_target_means_the_maps_of_delta_nets_too():
  config = dataclasses.replace(
    _CONFIG, deltas=(True, False), delta=Delta(4, 2, 6, 4, taps=3)
  )
  entries = lora.table(config, rank=3, alpha=6.0, targets=('q', 'o'))
  shapes = {path[1:]: entry.shape for path, entry in entries.items()}
  assert shapes['q', 'lora_a'] == shapes['delta_q', 'lora_a'] == (1, 16, 3)
  assert shapes['delta_o', 'lora_a'] == (1, 4, 4, 3)
  assert shapes['delta_o', 'lora_b'] == (1, 3, 16)
  params = traverse_util.unflatten_dict(
    _random(parameters.table(config)) | _random(entries, seed=1)
  )

  @jax.jit
  def hidden(params):
    return transformer.hidden(params, config, _TOKENS, _MASK)

  # Short keys are brought to length one, whatever is left of their precision.
  np.testing.assert_allclose(
    hidden(lora.merge(params)), hidden(params), atol=1e-4
  )


def test_merged_kernels_keep_their_dtype():
  params = _adapted()
  kernel = params['layers']['q']['kernel'].astype(jnp.bfloat16)
  params['layers']['q']['kernel'] = kernel
  assert lora.merge(params)['layers']['q']['kernel'].dtype == jnp.bfloat16


def test_prefill_and_decode_apply_the_factors():
  params, merged = _adapted(), lora.merge(_adapted())

  @jax.jit
  def step(params):
    _, prompt = decoding.prefill(params, _CONFIG, _TOKENS, _MASK)
    cache = caches.empty_cache(_CONFIG, 2, 1)
    return decoding.decode(
      decoding.split_layers(params, _CONFIG),
      params,
      _CONFIG,
      _TOKENS[:, 0],
      jnp.full(2, 6),
      prompt,
      _MASK,
      cache,
      0,
    )[0]

  np.testing.assert_allclose(step(params), step(merged), atol=2e-5)


def test_only_factors_and_heads_are_trainable():
  params = _adapted() | {'value_head': {'kernel': np.ones(16)}}
  trainable, frozen = lora.split(params)
  names = {path[-1] for path in traverse_util.flatten_dict(trainable['layers'])}
  assert names == {'lora_a', 'lora_b'}
  assert set(trainable) == {'layers', 'value_head'}
  assert set(frozen) == {'embed', 'layers', 'final_norm', 'unembed'}
  chex.assert_trees_all_equal(lora.join(trainable, frozen), params)


def test_gradients_reach_both_factors():
  trainable, frozen = lora.split(_adapted())

  def loss(trainable):
    return jnp.sum(_forward(lora.join(trainable, frozen)) ** 2)

  for leaf in jax.tree.leaves(jax.grad(loss)(trainable)):
    assert jnp.abs(leaf).max() > 1e-4


def test_without_factors_everything_is_trainable():
  base = _base()
  trainable, frozen = lora.split(base)
  assert frozen == {}
  chex.assert_trees_all_equal(lora.join(trainable, frozen), base)
  chex.assert_trees_all_equal(lora.merge(base), base)


@pytest.mark.parametrize(
  'options, message',
  [
    ({'rank': 3, 'targets': ('q', 'head')}, "'head'.*'gate'"),
    ({'rank': 3, 'targets': ()}, 'at least one'),
    ({'rank': 0}, 'rank 0 is below 1'),
  ],
)
def test_what_cannot_be_adapted_is_refused(options, message):
  with pytest.raises(ValueError, match=message):
    lora.table(_CONFIG, alpha=1.0, **options)


_EXPERTS = dataclasses.replace(_CONFIG, experts=3, experts_per_token=2)


def test_attention_of_a_mixture_of_experts_is_adapted():
  attention = ('q', 'k', 'v', 'o')
  entries = parameters.table(_EXPERTS) | lora.table(
    _EXPERTS, rank=3, alpha=6.0, targets=attention
  )
  params = traverse_util.unflatten_dict(_random(entries))

  def hidden(params):
    return transformer.hidden(params, _EXPERTS, _TOKENS, _MASK)

  merged = lora.merge(params)
  np.testing.assert_allclose(hidden(merged), hidden(params), atol=2e-5)
  trainable, frozen = lora.split(params)
  slopes = jax.grad(lambda x: jnp.sum(hidden(lora.join(x, frozen))))(trainable)
  assert set(slopes['layers']) == set(attention)
  for leaf in jax.tree.leaves(slopes):
    assert jnp.abs(leaf).max() > 1e-5


def test_experts_are_not_adapted():
  with pytest.raises(ValueError, match="'gate', 'up', 'down'.* 3 experts"):
    lora.table(_EXPERTS, rank=3, alpha=6.0)
