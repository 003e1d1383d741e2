import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.objectives import critics

_TARGETS = np.array([-20.0, -10.0, -3.3, 0.0, 0.01, 7.77, 10.0, 40.0], 'f')


def _normal(x):
  return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def test_gaussian_bins_equal_the_loops():
  ours = critics.gaussian_bins(_TARGETS, low=-10.0, high=10.0, bins=51)
  width = 20 / 51
  for y, row in zip(_TARGETS, ours):
    y = min(max(float(y), -10.0), 10.0)
    borders = [-10 + width * k for k in range(52)]
    below = [_normal((e - y) / (0.75 * width)) for e in borders]
    mass = np.diff(below) / (below[-1] - below[0])
    # Edges of size 10 over sigma 0.3 leave 3e-6 in float32.
    np.testing.assert_allclose(row, mass, atol=1e-5)


def test_gaussian_bins_have_the_target_as_their_mean():
  inner = np.linspace(-8, 8, 33).astype('f')
  mean = critics.gaussian_bins(inner) @ critics.centres()
  np.testing.assert_allclose(mean, inner, atol=1e-3)


def test_a_narrow_gaussian_is_one_hot():
  rows = critics.gaussian_bins(np.array([0.1, 5.0], 'f'), width=1e-3)
  assert np.all(np.max(rows, -1) > 0.999)


def test_two_hot_has_the_target_as_its_mean_on_two_neighbours():
  rows = np.asarray(critics.two_hot(_TARGETS))
  clipped = np.clip(_TARGETS, -10, 10)
  np.testing.assert_allclose(rows @ critics.atoms(), clipped, atol=1e-5)
  np.testing.assert_allclose(rows.sum(-1), 1, atol=1e-5)
  for row in rows:
    (live,) = np.nonzero(row)
    assert live.size <= 2 and np.ptp(live) <= 1


@pytest.mark.parametrize('encode', [critics.gaussian_bins, critics.two_hot])
def test_cross_entropy_is_least_at_the_target_distribution(encode):
  wanted = encode(_TARGETS)
  best = jnp.log(wanted + 1e-12)
  slope = jax.grad(lambda x: jnp.sum(critics.cross_entropy(x, wanted)))(best)
  np.testing.assert_allclose(slope, 0, atol=1e-5)


def test_expectation_of_a_certain_critic_is_its_bin():
  logits = jnp.where(jnp.arange(51) == 12, 50.0, 0.0)
  support = critics.atoms()
  np.testing.assert_allclose(
    critics.expectation(logits, support), support[12], rtol=1e-5
  )


def test_pessimistic_error_trains_the_lower_critic():
  state, after = jnp.array([1.0, 3.0]), jnp.array([2.0, 0.5])
  targets = jnp.array([0.0, 1.0])

  def loss(state, after):
    return jnp.sum(critics.pessimistic_error(state, after, targets))

  np.testing.assert_allclose(loss(state, after), 0.5 + 0.125)
  slopes = jax.grad(loss, argnums=(0, 1))(state, after)
  np.testing.assert_allclose(slopes[0], [1.0, 0.0])
  np.testing.assert_allclose(slopes[1], [0.0, -0.5])


@pytest.mark.parametrize('critic', [critics.Categorical(), critics.TwoHot()])
def test_a_critic_answers_its_own_target(critic):
  inner = np.linspace(-8, 8, 33).astype('f')
  wanted = critic.distribution(inner)
  assert wanted.shape == (33, *critic.shape)
  # A bin without mass would need a logit of -inf; e^-46 is as good.
  answers = jnp.log(wanted + 1e-20)
  np.testing.assert_allclose(critic.values(answers), inner, atol=1e-3)


def test_a_scalar_critic_answers_its_value():
  assert critics.Scalar().shape == ()
  np.testing.assert_array_equal(critics.Scalar().values(_TARGETS), _TARGETS)
