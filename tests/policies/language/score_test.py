import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import digests, numerics
from jaxrl_llm.policies.language import (
  heads,
  hf,
  parameters,
  score,
  transformer,
)
from jaxrl_llm.policies.language.sampler import Sampler
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.types import Prompts
from tests import thinned
from tests.policies.language import families

_FAMILIES = ['qwen3', 'llama3', 'gemma2', 'qwen3_moe']
_score = jax.jit(
  score.score, static_argnums=1, static_argnames=('needs', 'chunk')
)


@functools.cache
def _model(name):
  config = hf.config_of(families.hf_config(name, num_hidden_layers=2))
  return config, parameters.init(config, jax.random.key(1))


def _prompts(lengths, width=6, seed=0):
  generator = np.random.default_rng(seed)
  mask = np.arange(width) >= width - np.array(lengths)[:, None]
  tokens = generator.integers(3, 48, mask.shape) * mask
  return Prompts(
    tokens=jnp.asarray(tokens, jnp.int32),
    mask=jnp.asarray(mask),
    task=jnp.arange(len(lengths)),
    domain=jnp.zeros(len(lengths), jnp.int32),
  )


@functools.cache
def _rollouts(name, support=0, **values):
  config, params = _model(name)
  sampler = Sampler(config, 9, support=support, stop_tokens=(2,))
  return sampler(
    params,
    _prompts([6, 4, 1]),
    jnp.arange(12),
    jax.random.key(0),
    Sampling(**values),
    samples=4,
  )


_VALUES = (
  {},
  {'temperature': 0.6},
  {'support': 8, 'top_p': 0.8, 'temperature': 1.3},
  {'support': 8, 'top_k': 3, 'min_p': 0.1},
)


@pytest.mark.parametrize(
  'name, values',
  [
    *itertools.product(_FAMILIES, _VALUES),
    ('qwen3_5', {}),
    pytest.param('gpt_oss', {}, marks=pytest.mark.slow),
  ],
  ids=str,
)
def test_learner_and_sampler_agree_on_every_token(name, values):
  rollouts = _rollouts(name, **values)
  assert 0 < np.mean(np.asarray(rollouts.response_mask)) <= 1
  stats = _score(
    _model(name)[1],
    _model(name)[0],
    rollouts,
    temperature=values.get('temperature', 1.0),
    chunk=4,
  )
  # Measured 3e-6: float32 sums in two orders. 1e-4 is the promise.
  np.testing.assert_allclose(stats.logp, rollouts.logp, atol=2e-5)


def test_logp_of_the_vocabulary_is_logp_plus_log_mass():
  rollouts = _rollouts('qwen3', temperature=0.8, top_p=0.7)
  stats = _score(
    _model('qwen3')[1], _model('qwen3')[0], rollouts, temperature=0.8
  )
  sampled = rollouts.logp + rollouts.extras['log_mass']
  np.testing.assert_allclose(stats.logp, sampled, atol=2e-5)


def _logp_sum(params, config, rollouts, chunk, **options):
  stats = score.score(params, config, rollouts, chunk=chunk, **options)
  return jnp.sum(stats.logp * rollouts.content.response) + jnp.sum(
    stats.entropy
  ), stats


@functools.partial(
  jax.jit,
  static_argnames=('config', 'chunk', 'remat', 'unroll', 'shared', 'block'),
)
def _gradient(params, config, rollouts, chunk, **options):
  return jax.grad(_logp_sum, has_aux=True)(
    params, config, rollouts, chunk, **options
  )


@pytest.mark.parametrize(
  'options',
  [{'chunk': 4}, {'chunk': 99}, {'chunk': 1, 'remat': True, 'unroll': True}],
  ids=str,
)
def test_chunks_and_remat_change_neither_value_nor_gradient(options):
  config, params = _model('qwen3')
  rollouts = _rollouts('qwen3', support=8, top_p=0.8)
  whole = _gradient(params, config, rollouts, 0)
  pieces = _gradient(params, config, rollouts, **options)
  # Sums over tokens in another order, on gradients up to about 100.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3, rtol=2e-4),
    pieces,
    whole,
  )


# Windows of 5 end inside prompts of 6 and of 4, padded on the left; layers
# differ in them (gemma2), in rotations (gemma3), or do not (mistral).
_SHARING = 'qwen3 mistral gemma3_caps llama3 gemma2 gemma3 mixtral'.split()


@pytest.mark.parametrize(
  ('name', 'shared'),
  [
    *thinned.every(4, itertools.product(_SHARING, (2, 4))),
    pytest.param('qwen3_5', 4, marks=pytest.mark.slow),
  ],
)
def test_sharing_prompts_changes_neither_value_nor_gradient(name, shared):
  config, params = _model(name)
  rollouts = _rollouts(name, support=8, top_p=0.8)
  plain, stats = _gradient(params, config, rollouts, 4)
  gradient, of_shared = _gradient(params, config, rollouts, 4, shared=shared)
  # Measured 2e-6 on values: the same sums in another order.
  for x in ('logp', 'entropy'):
    a, b = getattr(of_shared, x), getattr(stats, x)
    np.testing.assert_allclose(a, b, atol=1e-5)
  # Relative to the largest entry of an array; measured 1e-6.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, atol=1e-5 * np.abs(b).max() + 1e-9
    ),
    gradient,
    plain,
  )


@pytest.mark.parametrize(
  'options', [{'remat': True}, {'unroll': True}], ids=str
)
def test_sharing_prompts_goes_with_remat_and_unrolling(options):
  config, params = _model('gemma2')
  rollouts = _rollouts('gemma2')
  scanned, _ = _gradient(params, config, rollouts, 4, shared=4)
  other, _ = _gradient(params, config, rollouts, 4, shared=4, **options)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, atol=1e-5 * np.abs(b).max() + 1e-9
    ),
    other,
    scanned,
  )


def test_sharing_prompts_gives_heads_the_same_states():
  config, params = _model('qwen3')
  params = params | {
    name: heads.init_value(config, jax.random.key(i))
    for i, name in enumerate(heads.NAMES.values())
  }
  needs = frozenset({*heads.NAMES, 'log_probs'})
  rollouts = _rollouts('qwen3')
  plain = score.score(params, config, rollouts, needs=needs)
  shared = score.score(params, config, rollouts, needs=needs, shared=4)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), shared, plain
  )


def test_row_with_another_prompt_than_its_block_gets_nan():
  config, params = _model('qwen3')
  rollouts = _rollouts('qwen3')
  other = rollouts.replace(
    content=rollouts.content.replace(
      prompt=rollouts.content.prompt.at[5, -1].add(1)
    )
  )
  mask = np.asarray(rollouts.response_mask)
  logp = score.score(params, config, other, shared=4).logp
  wrong = np.isnan(logp)
  np.testing.assert_array_equal(wrong, mask & (np.arange(12) == 5)[:, None])
  # What padding holds is nobody's prompt.
  unseen = rollouts.replace(
    content=rollouts.content.replace(
      prompt=rollouts.content.prompt
      + ~rollouts.content.prompt_mask * jnp.arange(12)[:, None]
    )
  )
  logp = score.score(params, config, unseen, shared=4).logp
  np.testing.assert_array_equal(
    logp, score.score(params, config, rollouts, shared=4).logp
  )


@pytest.mark.parametrize('support', [0, 8])
def test_masked_positions_give_zeros_and_finite_gradients(support):
  config, params = _model('qwen3')
  rollouts = _rollouts('qwen3', support=support, temperature=1.5)
  lengths = jnp.arange(12) % 4
  mask = (jnp.arange(9) < lengths[:, None]) & rollouts.response_mask
  rollouts = rollouts.replace(
    response_mask=mask,
    content=rollouts.content.replace(
      prompt_mask=rollouts.content.prompt_mask & (lengths > 0)[:, None]
    ),
  )
  gradient, stats = _gradient(params, config, rollouts, 4)
  assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))
  for x in (stats.logp, stats.entropy):
    assert x.dtype == jnp.float32
    np.testing.assert_array_equal(np.asarray(x)[~np.asarray(mask)], 0)
    assert np.any(np.asarray(x)[np.asarray(mask)] != 0)


def test_rows_entropy_and_logp_are_of_one_distribution():
  config, params = _model('qwen3')
  rollouts = _rollouts('qwen3')
  needs = frozenset({'log_probs'})
  stats = _score(params, config, rollouts, needs=needs, temperature=0.7)
  mask = np.asarray(rollouts.response_mask)
  rows = np.asarray(stats.log_probs, 'd')[mask]
  np.testing.assert_allclose(np.exp(rows).sum(-1), 1, rtol=1e-5)
  entropy = -np.sum(np.exp(rows) * rows, -1)
  np.testing.assert_allclose(stats.entropy[mask], entropy, atol=1e-5)
  chosen = np.asarray(rollouts.content.response)[mask]
  logp = rows[np.arange(len(rows)), chosen]
  np.testing.assert_allclose(stats.logp[mask], logp, atol=1e-5)
  np.testing.assert_array_equal(np.asarray(stats.log_probs)[~mask], 0)


def _sums(stats, weights):
  """One sum of log-probs and one of entropies, each unevenly weighted."""
  return jnp.sum(weights * stats[0]), jnp.sum(weights * stats[1])


@pytest.mark.parametrize(
  ('support', 'options'),
  [(0, {'chunk': 0}), (0, {'chunk': 4}), (0, {'block': 7}), (3, {'chunk': 4})],
  ids=str,
)
def test_gradients_are_those_of_the_rows_of_logits(support, options):
  config, params = _model('qwen3')
  rollouts = _rollouts('qwen3', support=support)
  mask = rollouts.response_mask
  weights = jnp.sin(jnp.arange(1.0, mask.size + 1)).reshape(mask.shape) * mask
  tokens = jnp.concatenate(
    [rollouts.content.prompt, rollouts.content.response], axis=1
  )
  whole = jnp.concatenate([rollouts.content.prompt_mask, mask], axis=1)
  before = rollouts.content.prompt.shape[1] - 1
  allowed = jnp.ones((*mask.shape, config.vocab), bool)
  if support:
    kept = rollouts.extras['support'][..., None] == jnp.arange(config.vocab)
    allowed = jnp.any(kept, axis=2) | ~mask[..., None]

  def plain(params):
    x = transformer.hidden(params, config, tokens, whole)[:, before:-1]
    logits = transformer.logits(params, config, x) / 0.7
    p = jax.nn.softmax(logits, where=allowed, axis=-1)
    log_p = jnp.log(jnp.where(allowed, p, 1.0))
    chosen = rollouts.content.response[..., None]
    logp = jnp.take_along_axis(log_p, chosen, axis=-1)[..., 0]
    return _sums((logp, -jnp.sum(p * log_p, axis=-1)), weights)

  def ours(params):
    stats = score.score(params, config, rollouts, temperature=0.7, **options)
    return _sums((stats.logp, stats.entropy), weights)

  found, expected = (jax.jit(jax.jacrev(f))(params) for f in (ours, plain))
  for one, other in zip(found, expected):
    # Sums in another order; measured 1e-6 of the largest entry.
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(
        a, b, atol=2e-5 * np.abs(b).max() + 1e-7
      ),
      one,
      other,
    )


def _pulled(log_probs, seen, *, power=2):
  """Two numbers of a token's distribution, and one of it and its group's."""
  chance = jnp.exp(power * log_probs)
  own = digests.at(log_probs, seen.token)
  peers = numerics.group_mean(log_probs, seen.group, seen.live)
  apart = jnp.sum(chance * (log_probs - peers), axis=-1)
  return jnp.stack([jnp.sum(chance, axis=-1), own, apart], axis=-1)


@pytest.mark.parametrize('chunk', [0, 4])
def test_digests_are_those_of_whole_rows_in_value_and_gradient(chunk):
  config, params = _model('qwen3')
  rollouts = _rollouts('qwen3')
  # Whole rows are 0 where a response has ended; here none has.
  ones = jnp.ones_like(rollouts.response_mask)
  named = jnp.stack([rollouts.content.response, 0 * ones - 1], axis=-1)
  rollouts = rollouts.replace(
    response_mask=ones, action_mask=ones, extras={'candidates': named}
  )
  digest = digests.Digest(_pulled, compares=True)
  both = frozenset({digest, digests.OF_CANDIDATES})
  weights = jnp.sin(jnp.arange(3.0 * ones.size)).reshape(*ones.shape, 3)
  seen = digests.seen(rollouts, rollouts.content.response)

  def total(made):
    # The token itself is a candidate; in the place of none stands 0.
    own = jnp.sum(weights[..., :2] * made[digests.OF_CANDIDATES])
    return jnp.sum(weights * made[digest]) + own

  def ours(params):
    stats = score.score(params, config, rollouts, needs=both, chunk=chunk)
    return total(stats.digests)

  def plain(params):
    needs = frozenset({'log_probs'})
    stats = score.score(params, config, rollouts, needs=needs)
    return total(digests.made(both, stats.log_probs, seen))

  found, expected = (
    jax.jit(jax.value_and_grad(f))(params) for f in (ours, plain)
  )
  np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, atol=2e-5 * np.abs(b).max() + 1e-7
    ),
    found[1],
    expected[1],
  )


def test_entropy_is_over_the_support():
  rollouts = _rollouts('qwen3', support=8, top_k=2)
  config, params = _model('qwen3')
  stats = _score(params, config, rollouts)
  mask = np.asarray(rollouts.response_mask)
  entropy = np.asarray(stats.entropy)[mask]
  assert np.all(entropy <= np.log(2) + 1e-6) and np.all(entropy > 0)


def test_values_are_read_before_their_token_is_chosen():
  config, params = _model('qwen3')
  head = heads.init_value(config, jax.random.key(3))
  params = params | {'value_head': head | {'bias': jnp.float32(0.5)}}
  rollouts, needs = _rollouts('qwen3'), frozenset({'values'})
  values = _score(params, config, rollouts, needs=needs).values
  other = rollouts.replace(
    content=rollouts.content.replace(
      response=rollouts.content.response.at[:, 4].add(-1)
    )
  )
  moved = _score(params, config, other, needs=needs).values != values
  assert not moved[:, :5].any() and moved[:, 5].any()
  mask = np.asarray(rollouts.response_mask)
  np.testing.assert_array_equal(np.asarray(values)[~mask], 0)
  x = transformer.hidden(
    params, config, rollouts.content.prompt, rollouts.content.prompt_mask
  )
  first = x[:, -1] @ head['kernel'] + 0.5
  np.testing.assert_allclose(values[:, 0], first, atol=1e-5)


def test_after_values_are_read_once_their_token_is_chosen():
  config, params = _model('qwen3')
  head = heads.init_value(config, jax.random.key(3), shape=(5,))
  params = params | {'after_head': head, 'value_head': head}
  rollouts = _rollouts('qwen3')
  stats = _score(params, config, rollouts, needs=frozenset(heads.NAMES))
  assert stats.after_values.shape == (*rollouts.content.response.shape, 5)
  # What one head says of a token chosen is what it says before the next.
  both = rollouts.response_mask[:, 1:, None]
  np.testing.assert_array_equal(
    jnp.where(both, stats.after_values[:, :-1], 0),
    jnp.where(both, stats.values[:, 1:], 0),
  )
  other = rollouts.replace(
    content=rollouts.content.replace(
      response=rollouts.content.response.at[:, 4].add(-1)
    )
  )
  moved = _score(params, config, other, needs=frozenset(heads.NAMES))
  moved = np.any(moved.after_values != stats.after_values, axis=-1)
  assert not moved[:, :4].any() and moved[:, 4].any()


@pytest.mark.parametrize('shape', [(), (5,)])
def test_the_value_table_describes_the_head(shape):
  config, _ = _model('qwen3')
  head = heads.init_value(config, jax.random.key(0), shape=shape)
  table = heads.value_table(config, name='after_head', shape=shape)
  assert {p[1]: e.shape for p, e in table.items()} == {
    name: x.shape for name, x in head.items()
  }


def test_gradient_memory_grows_with_the_chunk_not_the_response():
  def temporaries(vocab, chunk):
    config = hf.config_of(
      families.hf_config('qwen3', num_hidden_layers=1, vocab_size=vocab)
    )
    shapes = jax.eval_shape(
      functools.partial(parameters.init, config), jax.random.key(0)
    )
    compiled = _gradient.lower(shapes, config, long, chunk).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  def pad(x):
    return jnp.pad(x, ((0, 0), (0, 55)) + ((0, 0),) * (x.ndim - 2))

  short = _rollouts('qwen3')
  long = short.replace(
    content=short.content.replace(response=pad(short.content.response)),
    response_mask=pad(short.response_mask),
  )
  whole, vocab = 12 * 64, 4096
  assert temporaries(vocab, 0) > 4 * whole * vocab
  few, many = temporaries(vocab, 2), temporaries(2 * vocab, 2)
  # Beside some copies of a chunk's 24 logits, what grows are the embedding's
  # gradient and its sum over chunks, 32 numbers a token of the vocabulary.
  assert many - few < 4 * vocab * (6 * 24 + 4 * 32) < 4 * vocab * whole


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'temperature': 0}, 'temperature 0 must be positive'),
    ({'chunk': -1}, 'chunk -1 must be at least 0'),
    ({'shared': 5}, '12 rows are not blocks of 5'),
    ({'block': -1}, 'block -1 must be at least 0'),
    ({'needs': frozenset({'values'})}, "no 'value_head'"),
    ({'needs': frozenset({'after_values'})}, "no 'after_head'"),
  ],
  ids=str,
)
def test_impossible_scores_are_refused(options, message):
  config, params = _model('qwen3')
  with pytest.raises(ValueError, match=message):
    score.score(params, config, _rollouts('qwen3'), **options)
