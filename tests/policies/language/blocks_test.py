import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.policies.language import (
  blocks,
  hf,
  parameters,
  score,
  transformer,
)
from jaxrl_llm.tabular import policy
from tests.policies.language import families

VOCAB = 23
# Embeddings tied and not, and logits bounded.
FAMILIES = ('qwen3', 'llama3', 'gemma2')


@functools.cache
def _config(name, vocab=VOCAB):
  changes = {'num_hidden_layers': 1, 'vocab_size': vocab}
  return hf.config_of(families.hf_config(name, **changes))


@functools.cache
def _case(name):
  """A configuration, the kernel of its logits, states and tokens."""
  config, keys = _config(name), jax.random.split(jax.random.key(0), 3)
  shape = (VOCAB, config.width) if config.tied else (config.width, VOCAB)
  kernel = jax.random.normal(keys[0], shape)
  x = jax.random.normal(keys[1], (2, 3, config.width))
  token = jax.random.randint(keys[2], (2, 3), 0, VOCAB)
  return config, kernel, x, token.at[0, 0].set(VOCAB - 1)


def _params(config, kernel):
  return {'embed' if config.tied else 'unembed': {'kernel': kernel}}


@pytest.mark.parametrize('name', FAMILIES)
def test_values_equal_a_loop_over_the_vocabulary(name):
  config, kernel, x, token = _case(name)
  got = blocks.token_logp(
    _params(config, kernel), config, x, token, temperature=0.7, block=5
  )
  rows = np.asarray(kernel, np.float64)
  rows = rows if config.tied else rows.T
  for place in np.ndindex(token.shape):
    scores = []
    for row in rows:
      logit = math.fsum(row * np.asarray(x[place], np.float64))
      if config.logit_cap:
        logit = config.logit_cap * math.tanh(logit / config.logit_cap)
      scores.append(logit / 0.7)
    lse = math.log(math.fsum(map(math.exp, scores)))
    mean = math.fsum(math.exp(s - lse) * s for s in scores)
    # Scores of about 10 in float32.
    np.testing.assert_allclose(
      [y[place] for y in got],
      [scores[token[place]] - lse, lse - mean, max(scores) - lse],
      rtol=1e-5,
      atol=2e-5,
    )


def _total(of, kernel, temperature, x):
  """One number that depends on log-probs and entropies unevenly."""
  logp, entropy, *_ = of(kernel, temperature, x)
  weights = jnp.arange(1.0, logp.size + 1).reshape(logp.shape)
  return jnp.sum(weights * logp) + jnp.sum(jnp.sin(weights) * entropy)


# One entry at a time, a last block that overlaps, all at once.
@pytest.mark.parametrize(
  ('name', 'block'),
  [('qwen3', 1), ('qwen3', 5), ('llama3', 5), ('gemma2', 5), ('gemma2', 99)],
)
def test_gradients_equal_those_of_all_logits(name, block):
  config, kernel, x, token = _case(name)

  def whole(kernel, temperature, x):
    logits = transformer.logits(_params(config, kernel), config, x)
    rows = jax.nn.log_softmax(logits / temperature)
    chosen = jnp.take_along_axis(rows, token[..., None], -1)[..., 0]
    return chosen, -jnp.sum(jnp.exp(rows) * rows, -1)

  def in_blocks(kernel, temperature, x):
    return blocks.token_logp(
      _params(config, kernel),
      config,
      x,
      token,
      temperature=temperature,
      block=block,
    )

  inputs = kernel, jnp.float32(0.7), x
  slope = jax.jit(
    jax.value_and_grad(_total, argnums=(1, 2, 3)), static_argnums=0
  )
  value, expected = slope(whole, *inputs)
  got, found = slope(in_blocks, *inputs)
  np.testing.assert_allclose(got, value, rtol=1e-5)
  # Relative to the largest entry of an array: sums in another order.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, atol=2e-5 * np.abs(b).max() + 1e-6
    ),
    found,
    expected,
  )


def _rollouts(rows, columns):
  tokens = jnp.arange(rows * columns).reshape(rows, columns) % VOCAB
  return policy.as_rollouts(tokens, jnp.ones_like(tokens, bool))


def test_scores_in_blocks_are_those_of_all_logits():
  config, rollouts = _config('gemma2'), _rollouts(2, 4)
  params = parameters.init(config, jax.random.key(0))
  whole = score.score(params, config, rollouts, chunk=0)
  parts = score.score(params, config, rollouts, block=5)
  np.testing.assert_allclose(parts.logp, whole.logp, atol=1e-5)
  np.testing.assert_allclose(parts.entropy, whole.entropy, atol=1e-5)


@pytest.mark.parametrize('options', [{'chunk': 0}, {'chunk': 3}, {'block': 5}])
def test_a_token_is_the_most_probable_where_its_log_prob_is_the_top(options):
  config, rollouts = _config('gemma2'), _rollouts(6, 4)
  params = parameters.init(config, jax.random.key(0))
  wanted = score.score(
    params, config, rollouts, needs=frozenset({'log_probs'})
  ).log_probs
  best = np.argmax(wanted, axis=-1)
  first = rollouts.content.response.at[:, 0].set(best[:, 0])
  rollouts = rollouts.replace(content=rollouts.content.replace(response=first))
  found = score.score(
    params, config, rollouts, needs=frozenset({'top_logp'}), **options
  )
  # The first column decides what is said of the others, not of itself.
  assert (found.logp == found.top_logp)[:, 0].all()
  assert (found.logp <= found.top_logp).all()
  np.testing.assert_allclose(
    found.top_logp[:, 0], np.max(wanted[:, 0], axis=-1), atol=1e-5
  )
  assert 0 < np.mean((found.logp < found.top_logp)[:, 1:])


def test_what_reads_whole_rows_is_refused():
  config = _config('qwen3')
  with pytest.raises(ValueError, match='blocks of 5 .* use block=0'):
    score.score(
      {}, config, _rollouts(2, 4), needs=frozenset({'log_probs'}), block=5
    )


def _temporary(vocab, **options):
  """Bytes that the gradient of the log-probs needs while it is computed."""
  config = _config('qwen3', vocab)
  params = jax.eval_shape(
    functools.partial(parameters.init, config), jax.random.key(0)
  )

  def total(params, rollouts):
    return jnp.sum(score.score(params, config, rollouts, **options).logp)

  compiled = jax.jit(jax.grad(total)).lower(params, _rollouts(4, 32)).compile()
  return compiled.memory_analysis().temp_size_in_bytes


def test_memory_does_not_grow_with_the_vocabulary():
  naive = _temporary(150_000, chunk=0)
  small, large = (_temporary(v, block=2048) for v in (50_000, 150_000))
  # Measured 154, 5.036 and 5.037 MB: the logits twice, and two blocks.
  assert naive > 4 * 32 * 150_000 * 4
  assert large < 1.01 * small
  assert naive > 20 * large
