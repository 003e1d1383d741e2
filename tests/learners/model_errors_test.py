import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.learners import model_errors
from tests.oracles import models as oracle

RNG = np.random.default_rng(0)
# Of three models, five rows and four numbers; slopes of two values.
ERRORS, SLOPES = RNG.normal(size=(3, 5, 4)), RNG.normal(size=(2, 5, 4))
NAMES = 'squared', 'value_weighted', 'taylor'


@pytest.mark.parametrize('name', NAMES)
def test_each_is_its_loop(name):
  found = jax.jit(getattr(model_errors, name))(ERRORS, SLOPES)
  expected = [
    [
      getattr(oracle, name)(error, SLOPES[:, b])
      for b, error in enumerate(errors)
    ]
    for errors in ERRORS
  ]
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  one = getattr(model_errors, name)(jnp.asarray(ERRORS[1]), jnp.asarray(SLOPES))
  np.testing.assert_allclose(one, expected[1], rtol=1e-5)


@pytest.mark.parametrize('name', NAMES)
def test_slopes_of_the_losses_are_those_of_finite_differences(name):
  loss = getattr(oracle, name)
  found = jax.grad(lambda e: getattr(model_errors, name)(e, SLOPES)[2])(
    jnp.asarray(ERRORS[0], jnp.float32)
  )
  for b in range(5):
    expected = oracle.slopes(
      lambda e: np.array([loss(e[0], SLOPES[:, 2])]), ERRORS[0, b : b + 1]
    )
    np.testing.assert_allclose(found[b], (b == 2) * expected[0], atol=1e-5)


def test_with_slopes_of_one_it_is_the_squared_error():
  np.testing.assert_allclose(
    model_errors.value_weighted(ERRORS, jnp.ones((2, 5, 4))),
    model_errors.squared(ERRORS, SLOPES),
    rtol=1e-6,
  )


def test_it_bounds_the_value_s_own_error_which_cancels():
  aware = model_errors.taylor(ERRORS, SLOPES)
  bound = 4**2 * model_errors.value_weighted(ERRORS, SLOPES)
  assert np.all(aware <= bound + 1e-6)
  slope = jnp.array([[[1.0, -2.0]]])
  cancels = jnp.array([[2.0, 1.0]])
  assert model_errors.taylor(cancels, slope)[0] == 0
  assert model_errors.value_weighted(cancels, slope)[0] == 4


def test_small_errors_cost_what_they_do_to_a_value():
  def value(s):
    return np.sum(np.sin(s) + s**2 * s[..., ::-1], axis=-1)

  states, tiny = RNG.normal(size=(5, 4)), 1e-3 * ERRORS[0]
  slope = oracle.slopes(value, states)
  changed = (value(states + tiny) - value(states)) ** 2
  found = model_errors.taylor(tiny, slope[None])
  # What is left is of the next order, a thousandth of |e|.
  np.testing.assert_allclose(found**0.5, changed**0.5, atol=3e-5)
  # Exact where one number alone matters.
  alone = jnp.asarray(SLOPES).at[:, :, 1:].set(0.0)
  np.testing.assert_allclose(
    model_errors.taylor(ERRORS, alone),
    4 * model_errors.value_weighted(ERRORS, alone),
    rtol=1e-5,
  )


@pytest.mark.parametrize('quantile', [0.3, 0.95, 1.0])
def test_slopes_are_clipped_to_the_quantile_of_their_value(quantile):
  slopes = SLOPES * np.array([1.0, 100.0])[:, None, None]
  found = model_errors.clipped(jnp.asarray(slopes), quantile)
  np.testing.assert_allclose(found, oracle.clipped(slopes, quantile), rtol=1e-5)
  if quantile == 1:
    np.testing.assert_allclose(found, slopes, rtol=1e-6)
  assert np.all(model_errors.clipped(jnp.zeros((2, 5, 4)), quantile) == 0)
