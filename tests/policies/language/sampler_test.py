import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.policies.language import (
  drawing,
  hf,
  parameters,
  transformer,
)
from jaxrl_llm.policies.language import sampler as sampler_lib
from jaxrl_llm.policies.language.sampler import Sampler
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.types import Prompts
from tests import compiled
from tests.policies.language import families


@functools.cache
def _model(vocab=48):
  changes = {'num_hidden_layers': 1, 'vocab_size': vocab}
  config = hf.config_of(families.hf_config('qwen3', **changes))
  return config, parameters.init(config, jax.random.key(1))


def _prompts(lengths, width=6, seed=0, vocab=48):
  """Prompt i is the same whatever the width and the other prompts."""
  tokens = np.zeros((len(lengths), width), np.int32)
  mask = np.zeros(tokens.shape, bool)
  for row, length in enumerate(lengths):
    generator = np.random.default_rng([seed, length])
    tokens[row, width - length :] = generator.integers(0, vocab, length)
    mask[row, width - length :] = True
  return Prompts(
    tokens=jnp.asarray(tokens),
    mask=jnp.asarray(mask),
    task=jnp.asarray(lengths, jnp.int32),
    domain=jnp.zeros(len(lengths), jnp.int32),
  )


def _sample(prompts, uids, *, samples=2, values=None, vocab=48, **options):
  config, params = _model(vocab)
  options = {'max_tokens': 8, 'stop_tokens': (2, 7)} | options
  return Sampler(config, **options)(
    params,
    prompts,
    jnp.asarray(uids, jnp.int32),
    jax.random.key(0),
    Sampling(**(values or {})),
    samples=samples,
  )


def test_a_sample_depends_on_neither_slot_nor_neighbours_nor_padding():
  one = _sample(_prompts([3, 5, 1]), [0, 1, 2, 3, 4, 5])
  # Other order, other neighbours, other padding, rows swapped in a group.
  two = _sample(_prompts([1, 4, 3], width=9), [4, 5, 8, 9, 1, 0])
  for a, b in ((0, 5), (1, 4), (4, 0), (5, 1)):
    np.testing.assert_array_equal(
      one.content.response[a], two.content.response[b]
    )
    np.testing.assert_array_equal(one.response_mask[a], two.response_mask[b])
    np.testing.assert_allclose(one.logp[a], two.logp[b], atol=1e-5)
  assert np.any(one.content.response[0] != one.content.response[1])


@pytest.mark.parametrize('widths', (2, 3, 9))
@pytest.mark.parametrize('most', (7, 12))
def test_caches_that_grow_change_no_response(most, widths):
  stops = (2, 7) if most == 7 else (7,)
  arguments = {'max_tokens': most, 'stop_tokens': stops, 'samples': 3}
  one = _sample(_prompts([3, 5]), range(6), **arguments)
  other = _sample(_prompts([3, 5]), range(6), widths=widths, **arguments)
  np.testing.assert_array_equal(one.content.response, other.content.response)
  np.testing.assert_array_equal(one.response_mask, other.response_mask)
  np.testing.assert_array_equal(one.truncated, other.truncated)
  np.testing.assert_allclose(one.logp, other.logp, rtol=0, atol=1e-5)
  assert np.sum(one.response_mask, axis=1).max() > most // 2


@pytest.mark.parametrize(
  ('family', 'options'),
  [
    ('gemma4', {'widths': 2}),  # periods of several kinds
    ('gpt_oss', {'slots': 3}),  # experts with biases, sinks
    *(
      pytest.param(family, {'slots': 3}, marks=pytest.mark.slow)
      for family in ('gemma3', 'smollm3', 'qwen3_next')
    ),
  ],
)
def test_a_loop_over_layers_draws_what_written_out_ones_do(family, options):
  config = hf.config_of(families.hf_config(family, vocab_size=48))
  params = parameters.init(config, jax.random.key(1))

  def sample(**more):
    sampler = Sampler(config, 8, stop_tokens=(2, 7), **options, **more)
    return sampler(
      params,
      _prompts([3, 5]),
      jnp.arange(4),
      jax.random.key(0),
      Sampling(),
      samples=2,
    )

  one, other = sample(), sample(unroll=False)
  np.testing.assert_array_equal(one.content.response, other.content.response)
  np.testing.assert_array_equal(one.response_mask, other.response_mask)
  np.testing.assert_allclose(one.logp, other.logp, rtol=0, atol=1e-5)


def test_each_loop_reads_a_cache_of_its_own_width():
  config, params = _model()
  sampler = Sampler(config, 12, widths=3)
  assert sampler.columns == (3, 6, 12)
  prompts, keys = _prompts([3, 5]), jax.random.split(jax.random.key(0), 4)
  state, cache = sampler_lib._read(
    sampler, 2, params, prompts, keys, Sampling(), None
  )
  program = (
    jax.make_jaxpr(sampler_lib._write, static_argnums=0)(
      sampler, params, prompts, keys, Sampling(), None, cache, state
    )
    .eqns[0]
    .params['jaxpr']
  )
  loops = [e for e in program.eqns if e.primitive.name == 'while']
  shape = (4, config.kv_heads, config.head_dim)
  columns = [
    {v.aval.shape[3] for v in loop.outvars if v.aval.shape[:3] == shape}
    for loop in loops
  ]
  assert columns == [{3}, {6}, {12}]


def test_slots_and_growing_caches_exclude_each_other():
  with pytest.raises(ValueError, match='widths 2 with slots 3'):
    Sampler(_model()[0], 8, slots=3, widths=2)


def test_rows_carry_what_their_prompt_says():
  got = _sample(_prompts([3, 5]), range(6), samples=3)
  np.testing.assert_array_equal(got.group, [0, 0, 0, 1, 1, 1])
  np.testing.assert_array_equal(got.task, [3, 3, 3, 5, 5, 5])
  np.testing.assert_array_equal(got.content.prompt_mask.sum(-1), got.task)
  np.testing.assert_array_equal(got.action_mask, got.response_mask)
  assert np.all(got.valid)


def test_a_stop_token_is_the_last_of_its_response():
  got = _sample(_prompts([3, 5, 1, 4]), range(32), samples=8)
  response, mask = (
    np.asarray(got.content.response),
    np.asarray(got.response_mask),
  )
  ended = 0
  for row, own, cut in zip(response, mask, got.truncated):
    stops = np.flatnonzero(np.isin(row, (2, 7)) & own)
    length = own.sum()
    assert own[:length].all() and not row[length:].any()
    assert bool(cut) == (len(stops) == 0)
    if len(stops):
      assert list(stops) == [length - 1]
      ended += 1
    else:
      assert length == 8
  assert 0 < ended < 32
  for off in (got.logp, got.extras['log_mass']):
    np.testing.assert_array_equal(np.asarray(off)[~mask], 0)


def test_a_stop_table_ends_responses_across_tokens():
  """Text: even ids write 'a', odd ones 'b'; ids from 40 on write nothing."""
  parity = np.arange(40) % 2
  # States: nothing, 'a', 'ab', 'abb' found.
  table = np.array([[1, 0], [1, 2], [1, 3], [3, 3]])[:, parity]
  got = _sample(
    _prompts([3, 5]), range(32), samples=16, stop_tokens=(), stop_table=table
  )
  ended = 0
  for row, mask in zip(np.asarray(got.content.response), got.response_mask):
    texts = ['' if t >= 40 else 'ab'[t % 2] for t in row]
    ends = [n for n in range(1, 9) if 'abb' in ''.join(texts[:n])]
    assert np.sum(mask) == min(ends, default=8)
    ended += bool(ends)
  assert 0 < ended < 32


def test_greedy_is_the_argmax_of_the_full_forward():
  config, params = _model()
  got = _sample(
    _prompts([3, 5]), range(2), samples=1, values={'temperature': 0}
  )
  tokens = jnp.concatenate([got.content.prompt, got.content.response], axis=1)
  mask = jnp.concatenate([got.content.prompt_mask, got.response_mask], axis=1)
  hidden = transformer.hidden(params, config, tokens, mask)
  best = jnp.argmax(transformer.logits(params, config, hidden), -1)[:, 5:-1]
  own = np.asarray(got.response_mask)
  np.testing.assert_array_equal(
    np.asarray(got.content.response)[own], np.asarray(best)[own]
  )
  np.testing.assert_array_equal(got.logp, 0)


@pytest.mark.parametrize('values', [{}, {'temperature': 0.5, 'top_k': 2}])
def test_frequencies_follow_the_exact_distribution_of_sequences(values):
  """All 3 + 3 * 4 endings of two tokens, token 0 stops; chi-square at 1e-5."""
  config, params = _model(vocab=4)
  draws = 8192
  prompts = _prompts([3], width=3, vocab=4)
  got = _sample(
    prompts,
    range(draws),
    samples=draws,
    vocab=4,
    max_tokens=2,
    stop_tokens=(0,),
    values=values,
  )
  pairs = np.array([(0, 0), *itertools.product((1, 2, 3), range(4))])
  tokens = jnp.concatenate(
    [jnp.repeat(prompts.tokens, len(pairs), 0), jnp.asarray(pairs)], axis=1
  )
  hidden = transformer.hidden(
    params, config, tokens, jnp.ones_like(tokens, bool)
  )
  logits = np.asarray(transformer.logits(params, config, hidden)[:, 2:4], 'd')
  logits = logits / values.get('temperature', 1.0)
  if 'top_k' in values:
    kth = np.sort(logits, -1)[..., -values['top_k'], None]
    logits = np.where(logits >= kth, logits, -np.inf)
  logits -= logits.max(-1, keepdims=True)
  p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  rows = np.arange(len(pairs))
  expected = p[rows, 0, pairs[:, 0]]
  expected[1:] *= p[rows, 1, pairs[:, 1]][1:]
  np.testing.assert_allclose(expected.sum(), 1, rtol=1e-6)
  codes = np.asarray(got.content.response) @ [4, 1]
  counts = np.array([np.sum(codes == pair @ [4, 1]) for pair in pairs])
  assert counts.sum() == draws
  live = expected > 0
  assert not counts[~live].any()
  mean = draws * expected[live]
  statistic = np.sum((counts[live] - mean) ** 2 / mean)
  degrees = live.sum() - 1
  assert statistic < degrees + 4.5 * np.sqrt(2 * degrees) + 9


def test_sampling_values_compile_nothing_anew():
  # Programs that were evicted while many were loaded would spoil the count.
  jax.clear_caches()
  programs = (sampler_lib._read, sampler_lib._write)
  prompts = _prompts([3, 5])
  _sample(prompts, range(4))
  before = [program._cache_size() for program in programs]
  for values in (
    {'temperature': 0},
    {'top_k': 3, 'top_p': 0.5},
    {'min_p': 0.1},
  ):
    _sample(prompts, range(4), values=values)
  assert [program._cache_size() for program in programs] == before


def test_support_holds_the_drawn_tokens_and_is_empty_off_the_mask():
  got = _sample(_prompts([3, 5]), range(8), samples=4, support=5)
  support, mask = np.asarray(got.extras['support']), got.response_mask
  assert support.shape == (8, 8, 5)
  held = np.any(support == np.asarray(got.content.response)[..., None], -1)
  assert held[np.asarray(mask)].all()
  np.testing.assert_array_equal(support[~np.asarray(mask)], -1)


def test_a_bfloat16_cache_moves_logp_little():
  values = {'temperature': 1.5}
  got = _sample(_prompts([3, 5]), range(4), values=values)
  coarse = _sample(
    _prompts([3, 5]), range(4), values=values, cache_dtype=jnp.bfloat16
  )
  # The first token reads no cache; bfloat16 has 8 bits of mantissa.
  np.testing.assert_allclose(coarse.logp[:, 0], got.logp[:, 0], atol=1e-6)
  np.testing.assert_allclose(coarse.logp[:, 1], got.logp[:, 1], atol=0.05)
  assert np.any(coarse.logp[:, 1] != got.logp[:, 1])


def test_decoding_copies_no_cache():
  config, params = _model()
  sampler, prompts = Sampler(config, 16), _prompts([3, 5])
  keys = jax.random.split(jax.random.key(0), 4)
  sampling = Sampling().checked()
  state, cache = jax.eval_shape(
    functools.partial(sampler_lib._read, sampler, 2),
    params,
    prompts,
    keys,
    sampling,
    None,
  )
  text = (
    sampler_lib._write.lower(
      sampler, params, prompts, keys, sampling, None, cache, state
    )
    .compile()
    .as_text()
  )
  shapes = (f'4,2,{config.head_dim},16', f'4,2,16,{config.head_dim}')
  # The other loops are those of the truncation.
  (body,) = compiled.loops(text, shapes)
  assert not compiled.copies(body, shapes)


def test_wrong_numbers_of_uids_are_refused():
  with pytest.raises(ValueError, match='2 prompts x 2 samples need 4 uids'):
    _sample(_prompts([3, 5]), range(3))


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'max_tokens': 0}, 'max_tokens 0 must be at least 1'),
    ({'max_tokens': 4, 'stop_tokens': (48,)}, 'token 48 is not in'),
    ({'max_tokens': 4, 'stop_table': np.zeros((2, 49))}, 'has 49 tokens'),
  ],
  ids=str,
)
def test_impossible_samplers_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    Sampler(_model()[0], **options)


@pytest.mark.parametrize('tied', [True, False])
def test_logits_out_of_parts_are_those_of_the_whole_kernel(tied, monkeypatch):
  monkeypatch.setattr(drawing, '_ENTRIES', 10)
  changes = {'num_hidden_layers': 1, 'vocab_size': 48}
  config = hf.config_of(
    families.hf_config('qwen3', tie_word_embeddings=tied, **changes)
  )
  params = parameters.init(config, jax.random.key(1))
  sampler = Sampler(config, max_tokens=2)
  _, whole = drawing.unstacked(params, sampler)
  assert transformer.PARTS not in whole  # There are several devices here.
  monkeypatch.setattr(jax, 'device_count', lambda: 1)
  _, apart = drawing.unstacked(params, sampler)
  assert len(apart[transformer.PARTS]) == 5
  hidden = jax.random.normal(jax.random.key(2), (3, config.width))
  np.testing.assert_allclose(
    transformer.logits(apart, config, hidden),
    transformer.logits(params, config, hidden),
    rtol=1e-6,
    atol=1e-6,
  )
