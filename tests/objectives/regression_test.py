import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.advantages.group import norm
from jaxrl_llm.objectives import regression

GROUP = np.repeat([0, 1], 4).astype(np.int32)


def _batch(seed=0):
  rng = np.random.default_rng(seed)
  old, noise = rng.normal(size=(2, 8, 5))
  mask = np.arange(5) < rng.integers(1, 6, 8)[:, None]
  valid = np.arange(8) != 5
  mask &= valid[:, None]
  rewards = rng.normal(size=8)
  advantages = np.asarray(norm(rewards, GROUP, valid, epsilon=0.0))
  advantages = np.where(mask, advantages[:, None], 0)
  return old + 0.3 * noise, old, advantages, mask, valid


def _oracle(logp, old, advantages, mask, valid, epsilon):
  """Losses from dictionaries of log-ratios."""
  ratio = {
    i: sum(logp[i, t] - old[i, t] for t in range(5) if mask[i, t])
    for i in range(8)
    if valid[i]
  }
  out = np.zeros(8)
  for i in ratio:
    peers = np.array([ratio[j] for j in ratio if GROUP[j] == GROUP[i]])
    if len(peers) == 1:
      continue  # alone, a row has no spread to be measured by
    spread = np.sqrt(peers.var(ddof=1) + epsilon)
    out[i] = (advantages[i, 0] - (ratio[i] - peers.mean()) / spread) ** 2
  return out


def test_loss_equals_its_oracle_in_value_and_gradient():
  logp, old, advantages, mask, valid = _batch()
  fn = functools.partial(
    regression.normalised_log_ratio, group=GROUP, valid=valid, epsilon=0.01
  )
  arrays = (old, advantages, mask)
  expected = _oracle(logp, *arrays, valid, 0.01)
  np.testing.assert_allclose(fn(logp, *arrays), expected, rtol=1e-4, atol=1e-5)
  slope = jax.grad(lambda x: jnp.sum(fn(x, *arrays)))(logp)
  for i, t in ((0, 0), (2, 0), (6, 0)):
    moved = [logp.copy(), logp.copy()]
    moved[0][i, t] -= 1e-5
    moved[1][i, t] += 1e-5
    low, high = (_oracle(x, *arrays, valid, 0.01).sum() for x in moved)
    np.testing.assert_allclose(slope[i, t], (high - low) / 2e-5, rtol=1e-3)
  assert not np.any(np.asarray(slope)[~mask])


def test_two_rows_are_compared_and_one_alone_is_not():
  logp, old, _, _, _ = _batch()
  valid, mask = np.isin(np.arange(8), [1, 2, 6]), np.ones((8, 5), bool)
  advantages = np.arange(1.0, 9.0)[:, None] * mask
  found = regression.normalised_log_ratio(
    logp, old, advantages, mask, group=GROUP, valid=valid, epsilon=0.01
  )
  expected = _oracle(logp, old, advantages, mask, valid, 0.01)
  assert expected[1] > 0 == expected[6]
  np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_loss_is_twice_one_minus_the_correlation():
  logp, old, advantages, mask, valid = _batch(1)
  fn = functools.partial(
    regression.normalised_log_ratio, group=GROUP, valid=valid, epsilon=1e-12
  )
  losses = np.asarray(fn(logp, old, advantages, mask))[:4]
  ratio = np.where(mask, logp - old, 0).sum(axis=1)[:4]
  correlation = np.corrcoef(advantages[:4, 0], ratio)[0, 1]
  # Spreads divide by n - 1 = 3, so the mean over the 4 rows is 3/4 of it.
  expected = 2 * (1 - correlation) * 3 / 4
  np.testing.assert_allclose(losses.mean(), expected, rtol=1e-4)


def test_on_policy_its_gradient_is_that_of_grpo_scaled():
  _, old, advantages, mask, valid = _batch(2)
  fn = functools.partial(
    regression.normalised_log_ratio, group=GROUP, valid=valid, epsilon=0.04
  )
  slope = jax.grad(lambda x: jnp.sum(fn(x, old, advantages, mask)))(old)
  expected = np.where(mask, -2 * advantages / 0.2, 0)
  np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-5)
