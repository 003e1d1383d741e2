import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages.group import norm
from jaxrl_llm.rewards import combine
from jaxrl_llm.tabular import policy
from tests.advantages import cases
from tests.oracles import advantages as oracle


def test_weighted_sum_equals_a_matrix_product():
  rng = np.random.default_rng(0)
  components, weights = rng.normal(size=(5, 3)), rng.normal(size=3)
  ours = combine.weighted_sum(components, weights, None)
  np.testing.assert_allclose(ours, components @ weights, rtol=1e-5)


def test_weights_of_another_length_are_refused():
  with pytest.raises(AssertionError):
    combine.weighted_sum(np.ones((5, 3)), np.ones(2), None)


def test_decoupled_equals_its_oracle():
  rewards, group, valid = cases.rows('holes')
  rng = np.random.default_rng(0)
  components = np.stack([rewards, rng.normal(size=16), np.ones(16)], axis=1)
  components = np.where(valid[:, None], components, 0).astype(np.float32)
  weights = np.array([1.0, 0.5, 3.0], np.float32)
  rollouts = cases.rollouts().replace(group=group, valid=valid)
  ours = combine.decoupled(
    components, weights, rollouts,
    fn=functools.partial(norm, epsilon=1e-4),
  )  # fmt: skip
  expected = oracle.gdpo(components, weights, group, valid)
  np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_decoupled_components_may_be_of_any_scale():
  rollouts = cases.rollouts()
  rng = np.random.default_rng(0)
  components = rng.normal(size=(16, 2)).astype(np.float32)
  fn = functools.partial(norm, epsilon=0.0)
  plain = combine.decoupled(components, np.ones(2), rollouts, fn=fn)
  wide = combine.decoupled(
    components * np.array([1.0, 1000.0]), np.ones(2), rollouts, fn=fn
  )
  np.testing.assert_allclose(wide, plain, rtol=1e-4, atol=1e-5)


def _models(seed=0):
  rng = np.random.default_rng(seed)
  components = rng.standard_normal((6, 4)).astype('f')
  weights = np.array([1.0, 0.0, 0.5, 1.0], 'f')
  return components, weights, [0, 2, 3]


def test_least_served_is_the_component_of_the_least_mean():
  components, weights, counted = _models()
  valid = np.arange(6) != 2
  rollouts = policy.as_rollouts(np.zeros((6, 1), int), np.ones((6, 1)))
  rollouts = rollouts.replace(valid=jnp.asarray(valid))
  found = combine.least_served(components, weights, rollouts)
  means = {k: components[valid, k].astype('d').mean() for k in counted}
  worst = min(means, key=means.get)
  np.testing.assert_array_equal(found, components[:, worst])


def test_ensembles_equal_their_loops():
  components, weights, counted = _models()
  worst = combine.worst_model(components, weights, None)
  for ddof in (0, 1):
    certain = combine.certain_models(
      components, weights, None, penalty=0.3, ddof=ddof
    )
    for i in range(6):
      scores = [float(components[i, k]) for k in counted]
      np.testing.assert_allclose(worst[i], min(scores))
      mean = sum(scores) / 3
      spread = sum((s - mean) ** 2 for s in scores) / (3 - ddof)
      np.testing.assert_allclose(certain[i], mean - 0.3 * spread, rtol=1e-5)
  one = combine.certain_models(components, weights * [1, 0, 0, 0], None)
  np.testing.assert_allclose(one, components[:, 0], rtol=1e-6)
  np.testing.assert_array_equal(
    combine.one_of(components, weights, None, objective=2), components[:, 2]
  )


def test_ascending_the_least_served_levels_two_groups_of_people():
  """Tastes are opposite but for a compromise, which serves both."""
  tastes = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]])  # response, group
  rollouts = policy.as_rollouts(np.zeros((3, 1), int), np.ones((3, 1)))

  def step(logits, _):
    chance = jax.nn.softmax(logits)
    # Three rows stand for all responses, weighted to the policy's mean.
    means = 3 * chance[:, None] * tastes
    served = combine.least_served(means, jnp.ones(2), rollouts)
    taste = served / (3 * chance)
    return logits + jax.grad(lambda x: jax.nn.softmax(x) @ taste)(logits), None

  logits, _ = jax.lax.scan(step, jnp.array([2.0, 0.0, -1.0]), None, 800)
  utility = jax.nn.softmax(logits) @ tastes
  # The best of the worst is 0.7; a mixture of the extremes gives 0.5.
  assert float(jnp.min(utility)) > 0.68


def test_any_judge_that_counts_is_enough():
  components = jnp.array([[1.0, 0.0, 9.0], [0.0, 0.5, 9.0]])
  best = combine.any_judge(components, jnp.array([1.0, 0.5, 0.0]), None)
  np.testing.assert_array_equal(best, [1.0, 0.5])
