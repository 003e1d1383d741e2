"""The mixture of two policies against both, and against its exact law."""

import dataclasses
import functools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.policies.language import hf, parameters, score
from jaxrl_llm.policies.language import mixture as mixture_lib
from jaxrl_llm.policies.language.mixture import Masked, Mixture
from jaxrl_llm.policies.language.sampler import Sampler
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Prompts
from tests.policies.language import families

VOCAB, LENGTH, STOP = 4, 3, 0


def model(layers, seed):
  changes = {'num_hidden_layers': layers, 'vocab_size': VOCAB}
  config = hf.config_of(families.hf_config('qwen3', **changes))
  params = parameters.init(config, jax.random.key(seed))
  return config, params


def prompts_of(count):
  tokens = jnp.broadcast_to(jnp.array([[1, 3]], jnp.int32), (count, 2))
  zero = jnp.zeros(count, jnp.int32)
  return Prompts(tokens, jnp.ones(tokens.shape, bool), zero, zero)


# Two architectures: each keeps its own keys and values.
(FIRST, one), (SECOND, two) = model(1, 0), model(2, 1)
SAMPLER = Sampler(FIRST, LENGTH, stop_tokens=(STOP,))
MIXTURE, SAMPLING = Mixture(SAMPLER, SECOND), Sampling()


def draw(share, count=64, *, key=0, sampling=SAMPLING):
  uids = jnp.arange(2 * count)
  return MIXTURE(
    (one, two),
    prompts_of(count),
    uids,
    jax.random.key(key),
    sampling,
    share,
    samples=2,
  )


@functools.cache
def laws():
  """Every response, its mask, and log p(v | prefix) f64[2, R, T, V] of both."""
  responses, masks = policy.all_responses(VOCAB, LENGTH, stop=STOP)
  rows = policy.as_rollouts(responses, np.ones_like(masks))
  prompts = prompts_of(len(responses))
  rows = rows.replace(
    content=rows.content.replace(
      prompt=prompts.tokens, prompt_mask=prompts.mask
    ),
  )
  both = [
    jax.jit(partial(score.score, config=config, needs={'log_probs'}))(
      params, rollouts=rows
    ).log_probs
    for config, params in ((FIRST, one), (SECOND, two))
  ]
  return responses, masks, np.asarray(both, 'd')


def exact(share):
  """Every response with its log-probs under the mixture, token by token."""
  responses, masks, (first, second) = laws()
  logits = (1 - share) * first + share * second
  normalised = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  chosen = np.take_along_axis(normalised, responses[..., None], -1)[..., 0]
  return responses, np.where(masks, chosen, 0.0)


@pytest.mark.parametrize('share', [0.0, 1.0])
def test_at_the_ends_it_draws_what_the_one_policy_draws(share):
  config, params = (SECOND, two) if share else (FIRST, one)
  sampler = dataclasses.replace(SAMPLER, config=config)
  uids, key = jnp.arange(128), jax.random.key(0)
  alone = sampler(params, prompts_of(64), uids, key, Sampling(), samples=2)
  both = draw(share)
  np.testing.assert_array_equal(both.content.response, alone.content.response)
  np.testing.assert_allclose(both.logp, alone.logp, atol=1e-5)
  assert len(np.unique(both.content.response, axis=0)) > 8


def test_between_them_log_probs_are_those_of_the_exact_mixture():
  responses, logps = exact(0.4)
  np.testing.assert_allclose(np.exp(logps.sum(1)).sum(), 1, rtol=1e-5)
  drawn = draw(0.4)
  table = {tuple(r): logp for r, logp in zip(responses, logps)}
  expected = [
    table[tuple(r)] for r in np.asarray(drawn.content.response).tolist()
  ]
  np.testing.assert_allclose(drawn.logp, expected, atol=2e-5)


def test_between_them_frequencies_are_those_of_the_exact_mixture():
  """4,096 draws: a share of p is off by about sqrt(p / 4096) < 0.008."""
  responses, logps = exact(0.4)
  chances = np.exp(logps.sum(1))
  drawn = np.concatenate(
    [draw(0.4, key=key).content.response for key in range(32)]
  )
  same = (drawn[:, None] == responses[None]).all(-1)
  assert same.any(1).all()
  np.testing.assert_allclose(same.mean(0), chances, atol=0.025)
  # Neither policy has these frequencies.
  for share in (0.0, 1.0):
    other = np.exp(exact(share)[1].sum(1))
    assert np.abs(other - chances).max() > 0.03


def test_another_share_or_temperature_compiles_nothing_anew():
  # Programs that were evicted while many were loaded would spoil the count.
  jax.clear_caches()
  chex.clear_trace_counter()
  draw(0.1)
  sizes = [f._cache_size() for f in (mixture_lib._read, mixture_lib._write)]
  draw(0.9, sampling=Sampling(temperature=0.5))
  draw(1)
  assert sizes == [
    f._cache_size() for f in (mixture_lib._read, mixture_lib._write)
  ]


def test_greedy_takes_the_most_probable_token_of_the_mixture():
  drawn = draw(0.4, sampling=Sampling(temperature=0.0))
  response = np.asarray(drawn.content.response[0])
  responses, masks, (first, second) = laws()
  (row,) = np.flatnonzero((responses == response).all(1))
  best = np.argmax(0.6 * first[row] + 0.4 * second[row], axis=-1)
  np.testing.assert_array_equal(response[masks[row]], best[masks[row]])


def test_two_vocabularies_do_not_mix():
  other = dataclasses.replace(SECOND, vocab=5)
  with pytest.raises(ValueError, match='a mixture of 4 and 5 tokens'):
    Mixture(SAMPLER, other)


def test_masked_draws_are_the_first_policys_among_what_the_second_keeps():
  """A share of 0 keeps the likeliest token alone; the end is always kept."""
  sampler = dataclasses.replace(SAMPLER, support=3)
  drawn = Masked(sampler, SECOND)(
    (one, two),
    prompts_of(64),
    jnp.arange(128),
    jax.random.key(0),
    SAMPLING,
    (0.0, 1),
    samples=2,
  )
  responses, masks, (first, second) = laws()
  allowed = second == second.max(-1, keepdims=True)
  allowed[..., STOP] = True
  logits = np.where(allowed, first, -np.inf)
  logps = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  rows = {tuple(row): i for i, row in enumerate(responses)}
  found = np.asarray(drawn.content.response)
  assert len(np.unique(found, axis=0)) > 2
  for i, response in enumerate(found):
    row = rows[tuple(response.tolist())]
    for t in np.flatnonzero(masks[row]):
      wanted = logps[row, t, response[t]]
      np.testing.assert_allclose(drawn.logp[i, t], wanted, atol=2e-5)
      kept = drawn.extras['support'][i, t]
      assert set(kept[kept >= 0].tolist()) == set(
        np.flatnonzero(allowed[row, t]).tolist()
      )
