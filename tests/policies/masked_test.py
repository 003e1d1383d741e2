"""What masked-diffusion models alone keep to: paths, and what bounds them."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.environments.base import row_keys
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.masked import Masked
from jaxrl_llm.policies.protocol import initial
from jaxrl_llm.types import Rollouts, Unmasking

KEY = jax.random.key(0)
TOKENS, LENGTH = 3, 3
PROMPT = jnp.array([[2, 0]], jnp.int32)


def policy_of(**changed):
  decoder = Config(TOKENS + 1, 8, 1, 2, 2, 4, 16)
  return Masked(decoder, **{'length': LENGTH, 'steps': LENGTH} | changed)


# Halved, so that no path is too rare to be seen.
PARAMS = jax.tree.map(
  lambda x: 0.5 * x, initial(policy_of().table(), jax.random.key(1))
)


def prompts(rows):
  prompt = jnp.broadcast_to(PROMPT, (rows, 2))
  return prompt, prompt > -1


def rows_of(token, position, hidden=None):
  token, position = map(jnp.asarray, (token, position))
  everywhere = jnp.ones(token.shape, bool)
  row = jnp.arange(len(token))
  return Rollouts(
    content=Unmasking(*prompts(len(token)), token, position, hidden),
    response_mask=everywhere,
    action_mask=everywhere,
    logp=jnp.zeros(token.shape),
    paid=jnp.zeros(token.shape),
    group=row,
    task=row,
    domain=row,
    valid=everywhere[:, 0],
    truncated=~everywhere[:, 0],
  )


def total(policy, *content):
  rollouts = rows_of(*content)
  stats = jax.jit(policy.score)(PARAMS, rollouts)
  return np.asarray(jnp.sum(stats.logp, axis=1), np.float64)


@pytest.mark.parametrize(
  ('order', 'steps', 'orders'),
  [('random', 2, 3), ('random', 3, 6), ('confident', 2, 1)],
)
def test_paths_have_all_the_chance_and_come_as_often(order, steps, orders):
  """Of all orders that the steps tell apart, each as probable as it says."""
  policy, rows = policy_of(order=order, steps=steps), 20000
  keys = row_keys(KEY, jnp.arange(rows))
  content, logp = jax.jit(policy.write)(PARAMS, *prompts(rows), keys)
  seen = {}
  totals = np.asarray(jnp.sum(logp, axis=1), np.float64)
  paths = np.concatenate([content.token, content.position], axis=1)
  for path, chance in zip(map(tuple, paths.tolist()), np.exp(totals)):
    count, _ = seen.get(path, (0, 0))
    seen[path] = count + 1, chance
  counts, chances = map(np.array, zip(*seen.values()))
  assert len(seen) == orders * TOKENS**LENGTH
  np.testing.assert_allclose(chances.sum(), orders, rtol=1e-5)
  expected = rows * chances / orders
  # Chi-squared has mean 1 a path; its spread here is below 0.3.
  assert np.mean((counts - expected) ** 2 / expected) < 2


def test_steps_open_as_many_tokens_as_they_can_share():
  for steps, wanted in ((1, [0] * 5), (2, [0, 0, 0, 1, 1]), (5, range(5))):
    assert policy_of(length=5, steps=steps).step_of.tolist() == list(wanted)
  with pytest.raises(ValueError, match='6 steps cannot open 5'):
    policy_of(length=5, steps=6)


def test_confident_positions_open_first():
  policy = policy_of(order='confident')
  hidden = jnp.full((1, LENGTH), policy.mask_token)
  rows, _ = policy._read(PARAMS, *prompts(1), hidden)
  content, _ = policy.write(PARAMS, *prompts(1), row_keys(KEY, jnp.arange(1)))
  assert content.position[0, 0] == jnp.argmax(jnp.max(rows[0], axis=-1))


def test_a_token_is_read_beside_those_opened_before_it_alone():
  policy = policy_of(steps=2)  # Two tokens, then one.
  first = [[0, 1, 2], [0, 1, 0], [2, 1, 2]]
  logp = policy.score(PARAMS, rows_of(first, [[2, 0, 1]] * 3)).logp
  np.testing.assert_allclose(logp[0, :2], logp[1, :2], rtol=1e-6)
  np.testing.assert_allclose(logp[0, 1], logp[2, 1], rtol=1e-6)
  assert abs(logp[0, 2] - logp[2, 2]) > 1e-4


def every_response():
  return np.array([*itertools.product(range(TOKENS), repeat=LENGTH)], np.int32)


def bounds():
  """f64[V^L]: the elbo of every response, over all that may be hidden."""
  policy, found = policy_of(estimate='elbo'), 0
  responses = every_response()
  positions = np.broadcast_to(np.arange(LENGTH), responses.shape)
  for count in range(1, LENGTH + 1):
    for chosen in itertools.combinations(range(LENGTH), count):
      hidden = np.isin(np.arange(LENGTH), chosen)
      hidden = jnp.broadcast_to(hidden, (len(responses), 1, LENGTH))
      one = total(policy, responses, positions, hidden)
      found = found + one / LENGTH / math.comb(LENGTH, count)
  return found


def test_elbo_is_the_mean_over_orders_and_bounds_the_likelihood():
  """Opening one token a step, in all orders: exact, by enumeration."""
  responses, policy = every_response(), policy_of(order='random')
  paths = []
  for order in itertools.permutations(range(LENGTH)):
    order = np.array(order, np.int32)
    positions = np.broadcast_to(order, responses.shape)
    paths.append(total(policy, responses[:, order], positions))
  np.testing.assert_allclose(bounds(), np.mean(paths, axis=0), rtol=1e-5)
  likelihood = np.mean(np.exp(paths), axis=0)
  np.testing.assert_allclose(likelihood.sum(), 1, rtol=1e-5)
  assert np.all(bounds() <= np.log(likelihood) + 1e-6)


def test_drawn_readings_have_the_elbo_for_their_mean():
  policy = policy_of(estimate='elbo', readings=2)
  keys = row_keys(KEY, jnp.arange(20000))
  hidden = jax.jit(policy._hidden)(keys)
  responses = np.broadcast_to(every_response()[5], (20000, LENGTH))
  positions = np.broadcast_to(np.arange(LENGTH), responses.shape)
  found = total(policy, responses, positions, hidden)
  error = found.std() / np.sqrt(found.size)
  assert abs(found.mean() - bounds()[5]) < 4 * error
  counts = np.asarray(hidden.sum(axis=-1))
  share = np.bincount(counts.ravel(), minlength=LENGTH + 1) / counts.size
  np.testing.assert_allclose(share, [0, *[1 / 3] * 3], atol=0.02)


def test_one_step_reads_every_token_with_all_hidden():
  responses = every_response()
  positions = np.broadcast_to(np.arange(LENGTH), responses.shape)
  one = policy_of(estimate='one_step')
  hidden = one._hidden(row_keys(KEY, jnp.arange(len(responses))))
  at_once = total(policy_of(steps=1), responses, positions)
  found = total(one, responses, positions, hidden)
  np.testing.assert_allclose(found, at_once, rtol=1e-6)


def test_the_mask_is_never_drawn():
  policy = policy_of()
  rows, _ = policy._read(PARAMS, *prompts(1), jnp.array([[0, 3, 1]]))
  assert np.all(np.exp(rows[..., policy.mask_token]) == 0)
  np.testing.assert_allclose(np.exp(rows).sum(axis=-1), 1, rtol=1e-6)


@pytest.mark.parametrize(
  ('changed', 'words'),
  [
    ({'order': 'left'}, "order 'left' is none of random, confident"),
    ({'estimate': 'exact'}, 'is none of path, elbo, one_step'),
    ({'readings': 0}, 'readings 0'),
    ({'temperature': 0.0}, 'temperature 0.0'),
  ],
)
def test_what_means_nothing_is_refused(changed, words):
  with pytest.raises(ValueError, match=words):
    policy_of(**changed)
