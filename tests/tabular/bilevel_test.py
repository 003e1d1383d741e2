import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.tabular import bilevel

WEIGHT = 0.5
FEATURES = np.random.default_rng(0).standard_normal((4, 2)).astype('f')


def _value(upper, lower):
  """Entropy-regularised reward of a softmax policy; logits kept small."""
  policy = jax.nn.softmax(lower)
  reward = FEATURES @ upper
  entropy = -jnp.sum(policy * jax.nn.log_softmax(lower))
  return policy @ reward + WEIGHT * entropy - 0.5 * jnp.mean(lower) ** 2


def _solved(upper):
  logits = FEATURES @ upper / WEIGHT
  return logits - jnp.mean(logits)


def _preference_loss(upper, lower):
  """Of pairs that the policy draws, labelled by another reward."""
  policy = jax.nn.softmax(lower)
  truth = FEATURES @ jnp.array([1.0, -0.5])
  won = jax.nn.sigmoid(truth[:, None] - truth[None, :])
  ours = FEATURES @ upper
  losses = -won * jax.nn.log_sigmoid(ours[:, None] - ours[None, :])
  return policy @ losses @ policy


def test_hypergradient_is_the_total_derivative():
  upper = jnp.array([0.3, 0.4])
  found = bilevel.hypergradient(_preference_loss, _value, upper, _solved(upper))
  total = jax.grad(lambda u: _preference_loss(u, _solved(u)))(upper)
  np.testing.assert_allclose(found, total, rtol=1e-3, atol=1e-5)
  naive = jax.grad(_preference_loss)(upper, _solved(upper))
  assert np.max(np.abs(naive - total)) > 10 * np.max(np.abs(found - total))


def test_data_that_the_policy_does_not_choose_need_no_correction():
  def fixed(upper, lower):
    del lower
    return jnp.sum((FEATURES @ upper) ** 2)

  upper = jnp.array([0.3, 0.4])
  found = bilevel.hypergradient(fixed, _value, upper, _solved(upper))
  direct = jax.grad(fixed)(upper, None)
  np.testing.assert_allclose(found, direct, rtol=1e-5)
