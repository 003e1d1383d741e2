"""Experts of the sampler, kept and used again."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.policies.language import experts, parameters, routes, score
from jaxrl_llm.policies.language.sampler import Sampler
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.types import Prompts
from tests.policies.language import decoders

_KINDS = {
  'plain': {},
  'periods': {'windows': (3, 0, 3, 0)},
  'delta': {
    'delta': decoders.CONFIGS['delta'].delta,
    'deltas': (True, False, True, False),
  },
}
_B, _G, _P, _T = 2, 2, 4, 6


def _config(kind='plain'):
  return dataclasses.replace(
    decoders.CONFIGS['experts'], layers=4, replay=True, **_KINDS[kind]
  )


def _params(config):
  params = parameters.init(config, jax.random.key(3))
  # Spread out, so that tokens differ in what they choose.
  layers = params['layers']
  router = jax.tree.map(lambda x: 30 * x, layers['router'])
  return params | {'layers': layers | {'router': router}}


def _sampled(config, **options):
  tokens = jax.random.randint(jax.random.key(1), (_B, _P), 1, config.vocab)
  mask = jnp.arange(_P) >= jnp.array([[1], [0]])
  row = jnp.arange(_B)
  sampler = Sampler(config, _T, **options)
  return sampler(
    _params(config),
    Prompts(tokens, mask, row, 0 * row),
    jnp.arange(_B * _G),
    jax.random.key(0),
    Sampling(),
    samples=_G,
  )


@functools.partial(jax.jit, static_argnums=(0, 3))
def _logp(config, params, rollouts, shared):
  return score.score(params, config, rollouts, shared=shared).logp


@pytest.mark.parametrize(
  ('kind', 'options'),
  [
    pytest.param('plain', {'widths': 2}, marks=pytest.mark.slow),
    ('plain', {'slots': 2, 'stop_tokens': (7, 9)}),
    pytest.param('periods', {'unroll': False}, marks=pytest.mark.slow),
    pytest.param('delta', {'unroll': False}, marks=pytest.mark.slow),
    pytest.param('delta', {}, marks=pytest.mark.slow),
  ],
  ids=str,
)
def test_what_is_kept_is_what_the_model_chooses(kind, options):
  """Float32 leaves no doubt, so the scorer says the same with and without."""
  config = _config(kind)
  rollouts = _sampled(config, **options)
  kept = rollouts.extras['routes']
  assert kept.shape == (_B * _G, _T, config.layers, config.experts_per_token)
  assert kept.dtype == jnp.int8
  there = np.asarray(rollouts.response_mask)
  assert (np.asarray(kept)[there][:, 0, 0] >= 0).sum() == there[:, 1:].sum()
  assert (np.asarray(kept)[~there] == -1).all()
  params = _params(config)
  free = _logp(dataclasses.replace(config, replay=False), params, rollouts, _G)
  replayed = _logp(config, params, rollouts, _G)
  np.testing.assert_allclose(replayed, free, atol=1e-4)
  np.testing.assert_allclose(replayed, rollouts.logp, atol=1e-4)


@pytest.mark.parametrize('shared', [1, _G])
def test_routes_decide_and_each_only_of_its_own_token(shared):
  config = _config()
  params, rollouts = _params(config), _sampled(config)
  kept = rollouts.extras['routes']

  def logp(routes):
    extras = {**rollouts.extras, 'routes': routes}
    return _logp(config, params, rollouts.replace(extras=extras), shared)

  before = logp(kept)
  column, others = 3, (kept + 1) % config.experts
  moved = logp(kept.at[:, column].set(others[:, column])) != before
  # The token before decision 3 is read for that one and for those after it.
  assert not moved[:, :column].any() and moved[:, column].all()
  assert (logp(kept.at[:, 0].set(others[:, 0])) == before).all()


def test_the_router_learns_from_the_experts_that_are_replayed():
  config = _config()
  x = jax.random.normal(jax.random.key(0), (5, config.width))
  router = {'kernel': jax.random.normal(jax.random.key(1), (config.width, 4))}
  given = jnp.array([[3, 1], [0, 2], [1, 0], [-1, -1], [2, 3]], jnp.int8)
  weights, chosen = experts.route(router, config, x, given)
  own = experts.route(router, config, x)[1]
  np.testing.assert_array_equal(chosen, jnp.where(given >= 0, given, own))
  probs = jax.nn.softmax(x @ router['kernel'])
  picked = jnp.take_along_axis(probs, chosen, 1)
  np.testing.assert_allclose(
    weights, picked / picked.sum(1, keepdims=True), 1e-5
  )

  def first(router, given):
    return experts.route(router, config, x, given)[0][0, 0]

  def wanted(router):
    p = jax.nn.softmax(x[0] @ router['kernel'])
    return p[3] / (p[3] + p[1])

  slope, expected = jax.grad(first)(router, given), jax.grad(wanted)(router)
  np.testing.assert_allclose(slope['kernel'], expected['kernel'], atol=1e-6)
  assert jnp.abs(slope['kernel']).max() > 1e-3


def test_many_experts_take_two_bytes_and_models_without_any_are_refused():
  config = _config()
  assert routes.none(config, 3).dtype == jnp.int8
  many = dataclasses.replace(config, experts=129)
  assert routes.none(many, 3).dtype == jnp.int16
  with pytest.raises(ValueError, match='model.replay_routes'):
    dataclasses.replace(decoders.PLAIN, replay=True)


def test_nothing_is_kept_where_nobody_asks():
  config = dataclasses.replace(_config(), replay=False)
  assert 'routes' not in _sampled(config).extras
