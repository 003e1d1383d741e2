import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.tabular import mirror


def _given(seed=0):
  keys = jax.random.split(jax.random.key(seed), 3)
  policy, magnet = (
    jax.nn.log_softmax(jax.random.normal(k, (4, 3))) for k in keys[:2]
  )
  return policy, magnet, jax.random.normal(keys[2], (4, 3))


def _kl(p, q):
  return jnp.sum(jnp.exp(p) * (p - q), -1)


def test_magnetic_step_is_where_its_objective_is_flat():
  policy, magnet, q = _given()
  hyper = {'step_size': 0.7, 'weight': 0.4}
  best = mirror.magnetic_step(policy, magnet, q, **hyper)

  def objective(logits):
    p = jax.nn.log_softmax(logits)
    gain = jnp.sum(jnp.exp(p) * q, -1)
    return jnp.sum(gain - 0.4 * _kl(p, magnet) - _kl(p, policy) / 0.7)

  np.testing.assert_allclose(jax.grad(objective)(best), 0, atol=1e-6)


def test_magnetic_steps_settle_at_the_regularised_optimum():
  policy, magnet, q = _given()
  for _ in range(60):
    policy = mirror.magnetic_step(policy, magnet, q, step_size=1.0, weight=0.5)
  expected = jax.nn.log_softmax(magnet + q / 0.5)
  np.testing.assert_allclose(policy, expected, atol=1e-5)


def test_without_a_magnet_it_is_mirror_descent():
  policy, magnet, q = _given()
  ours = mirror.magnetic_step(policy, magnet, q, step_size=0.3, weight=0.0)
  theirs = mirror.mirror_step(policy, q, step_size=0.3)
  np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_huge_magnetic_step_forgets_the_policy():
  policy, magnet, q = _given()
  ours = mirror.magnetic_step(policy, magnet, q, step_size=1e6, weight=0.5)
  np.testing.assert_allclose(
    ours, jax.nn.log_softmax(magnet + q / 0.5), atol=1e-4
  )


def test_soft_mirror_step_is_where_its_loss_is_flat():
  policy, _, q = _given()
  best = mirror.soft_mirror_step(policy, q, kl_weight=0.8, entropy_weight=0.3)

  def loss(logits):
    p = jax.nn.log_softmax(logits)
    return jnp.sum(jnp.exp(p) * (0.8 * p + (0.3 - 0.8) * policy - q))

  np.testing.assert_allclose(jax.grad(loss)(best), 0, atol=1e-6)


def test_soft_mirror_step_ends_in_mirror_descent_and_in_sac():
  policy, _, q = _given()
  hard = mirror.soft_mirror_step(policy, q, kl_weight=2.0, entropy_weight=0.0)
  np.testing.assert_allclose(
    hard, mirror.mirror_step(policy, q, step_size=0.5), atol=1e-6
  )
  sac = mirror.soft_mirror_step(policy, q, kl_weight=0.5, entropy_weight=0.5)
  np.testing.assert_allclose(sac, jax.nn.log_softmax(q / 0.5), atol=1e-6)


def test_mirror_step_is_the_natural_gradient_step_of_a_softmax_policy():
  policy, _, q = _given()
  advantages = q - jnp.sum(jnp.exp(policy) * q, -1, keepdims=True)
  ours = mirror.mirror_step(policy, q, step_size=0.3)
  theirs = jax.nn.log_softmax(policy + 0.3 * advantages)
  np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_cloned_policy_counts_with_one_added():
  counts = jnp.array([[3.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
  expected = [[4 / 7, 1 / 7, 2 / 7], [1 / 3, 1 / 3, 1 / 3]]
  np.testing.assert_allclose(
    jnp.exp(mirror.cloned(counts)), expected, rtol=1e-6
  )


def test_soft_value_is_the_regularised_optimum():
  reference, _, q = _given()
  value = mirror.soft_value(q, reference, weight=0.4)
  best = jax.nn.log_softmax(reference + q / 0.4)
  reached = jnp.sum(jnp.exp(best) * q, -1) - 0.4 * _kl(best, reference)
  np.testing.assert_allclose(value, reached, rtol=1e-5)


@pytest.mark.parametrize('seed', range(5))
def test_regularised_policies_are_continuous_in_the_reward(seed):
  reference, noise, q = _given(seed)
  nearby = q + 0.05 * noise
  policies = [jax.nn.softmax(reference + x / 0.4) for x in (q, nearby)]
  moved = jnp.sum(jnp.abs(policies[0] - policies[1]), -1)
  bound = jnp.max(jnp.abs(q - nearby), -1) / 0.4
  assert np.all(moved <= bound + 1e-6)
