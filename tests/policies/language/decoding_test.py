"""Prompts read once and tokens one by one, against whole sequences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.policies.language import attention, caches, decoding
from jaxrl_llm.policies.language.rope import Rope
from tests import thinned
from tests.policies.language import decoders

_decode = jax.jit(decoding.decode, static_argnums=2)
_extend = jax.jit(decoding.extend, static_argnums=2)


def test_no_loop_over_layers_reads_the_keys_of_others():
  config = decoders.CONFIGS['global']
  with pytest.raises(ValueError, match='2 layers read .* sample.unroll=True'):
    decoding.split_layers(decoders.params(config), config, unroll=False)


@pytest.mark.parametrize('name', decoders.CONFIGS)
def test_prefill_and_decode_equal_the_full_forward(name):
  config = decoders.CONFIGS[name]
  params = decoders.params(config)
  samples, steps = 3, 5
  prompts, responses = (
    decoders.tokens((2, 6)),
    decoders.tokens((2 * samples, steps), seed=1),
  )
  prompt_mask = np.array([[False] * 3 + [True] * 3, [True] * 6])
  tokens = np.concatenate([prompts.repeat(samples, 0), responses], 1)
  mask = np.concatenate(
    [prompt_mask.repeat(samples, 0), np.ones(responses.shape, bool)], 1
  )
  expected = decoders.hidden(params, config, tokens, mask)

  last, prompt_cache = decoders.prefill(params, config, prompts, prompt_mask)
  decoders.close(last.repeat(samples, 0), expected[:, 5])
  layers = decoding.split_layers(params, config)
  rest = {name: x for name, x in params.items() if name != 'layers'}
  cache = caches.empty_cache(config, 2 * samples, steps)
  lengths = prompt_mask.sum(1).repeat(samples)
  for t in range(steps):
    x, cache = _decode(
      layers,
      rest,
      config,
      responses[:, t],
      lengths + t,
      prompt_cache,
      prompt_mask,
      cache,
      t,
    )
    decoders.close(x, expected[:, 6 + t])


LOOPS = [name for name, c in decoders.CONFIGS.items() if len(c.segments) == 1]


@pytest.mark.parametrize(
  ('name', 'unroll'),
  thinned.every(
    2,
    [(name, True) for name in decoders.CONFIGS]
    + [(name, False) for name in LOOPS if not decoders.CONFIGS[name].readers],
  ),
)
def test_blocks_of_tokens_and_single_ones_equal_the_full_forward(name, unroll):
  """Of rows that are never equally long, some of which read nothing."""
  config = decoders.CONFIGS[name]
  params = decoders.params(config)
  samples, most = 3, 14
  prompts, responses = (
    decoders.tokens((2, 6)),
    decoders.tokens((2 * samples, most), seed=1),
  )
  prompt_mask = np.array([[False] * 3 + [True] * 3, [True] * 6])
  tokens = np.concatenate([prompts.repeat(samples, 0), responses], 1)
  mask = np.concatenate(
    [prompt_mask.repeat(samples, 0), np.ones(responses.shape, bool)], 1
  )
  expected = np.asarray(decoders.hidden(params, config, tokens, mask))[:, 6:]

  _, prompt_cache = decoding.prefill(
    params, config, prompts, prompt_mask, unroll=unroll
  )
  layers = decoding.split_layers(params, config, unroll=unroll)
  rest = {name: x for name, x in params.items() if name != 'layers'}
  rows = np.arange(2 * samples)
  cache = caches.empty_cache(config, len(rows), most, unroll=unroll)
  length, before = np.zeros(len(rows), int), prompt_mask.sum(1).repeat(samples)
  for counts in ([0, 4, 1, 2, 3, 0], [3, 0, 1, 4, 2, 4]):
    count = np.array(counts)
    place = np.minimum(length[:, None] + np.arange(4), most - 1)
    block = responses[rows[:, None], place]
    x, cache = _extend(
      layers,
      rest,
      config,
      block,
      count,
      length,
      prompt_cache,
      prompt_mask,
      cache,
    )
    length, some = length + count, count > 0
    decoders.close(x[some], expected[rows, length - 1][some])
    for _ in range(2):
      x, cache = _decode(
        layers,
        rest,
        config,
        responses[rows, length],
        before + length,
        prompt_cache,
        prompt_mask,
        cache,
        length,
      )
      decoders.close(x, expected[rows, length])
      length = length + 1


def test_what_is_written_past_the_last_slot_is_lost():
  config = decoders.CONFIGS[LOOPS[0]]
  cache = caches.empty_cache(config, 2, 3)[0]
  k = np.ones((2, config.kv_heads, config.head_dim))
  found = attention.written(cache, k, k, np.array([1, 3]))
  assert found['k'][0, ..., 1].min() == 1 and found['v'][0, :, 1].min() == 1
  assert not found['k'][1].any() and not found['v'][1].any()


def test_decode_refuses_rows_that_do_not_divide():
  config = decoders.CONFIGS['plain']
  params = decoders.params(config)
  prompts = decoders.tokens((2, 4))
  _, prompt_cache = decoders.prefill(params, config, prompts, prompts >= 0)
  layers = decoding.split_layers(params, config)
  cache = caches.empty_cache(config, 5, 3)
  with pytest.raises(ValueError, match='5 rows .* 2 prompts'):
    decoding.decode(
      layers,
      params,
      config,
      np.zeros(5, int),
      np.zeros(5, int),
      prompt_cache,
      prompts >= 0,
      cache,
      0,
    )


def test_contexts_beyond_those_of_longrope_are_refused():
  rope = Rope(kind='longrope', length=8, factors=(2.0,) * 4)
  config = dataclasses.replace(decoders.PLAIN, rope=rope)
  params = decoders.params(config)
  prompts = np.ones((1, 8), int)
  _, prompt_cache = decoders.prefill(params, config, prompts, prompts > 0)
  with pytest.raises(ValueError, match='9 columns .* beyond 8 tokens'):
    decoding.decode(
      decoding.split_layers(params, config),
      params,
      config,
      np.zeros(1, int),
      np.full(1, 8),
      prompt_cache,
      prompts > 0,
      caches.empty_cache(config, 1, 1),
      0,
    )


def test_caches_and_layers_are_of_the_dtype_asked_for():
  config = decoders.CONFIGS['alternating']
  params, tokens = decoders.params(config), decoders.tokens((2, 6))
  _, cache = decoders.prefill(
    params, config, tokens, tokens >= 0, dtype=jnp.bfloat16
  )
  assert cache[0]['k'].dtype == jnp.bfloat16
  split = decoding.split_layers(params, config, jnp.bfloat16)
  assert split[0]['q']['kernel'].dtype == jnp.bfloat16
