import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.models import config as config_lib
from jaxrl_llm.models import score, transformer
from jaxrl_llm.rollouts.sampler import Sampler
from jaxrl_llm.rollouts.truncation import Sampling
from jaxrl_llm.types import Prompts
from tests.models import families

_FAMILIES = ['qwen3', 'llama3', 'gemma2']
_score = jax.jit(
  score.score, static_argnums=1, static_argnames=('needs', 'chunk')
)


@functools.cache
def _model(name):
  config = config_lib.from_hf(families.hf_config(name))
  return config, transformer.init(config, jax.random.key(1))


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


@pytest.mark.parametrize('name', _FAMILIES)
@pytest.mark.parametrize(
  'values',
  [
    {},
    {'temperature': 0.6},
    {'support': 8, 'top_p': 0.8, 'temperature': 1.3},
    {'support': 6, 'top_k': 3, 'min_p': 0.1},
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
