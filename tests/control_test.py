import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import control

positive = st.floats(1e-3, 10)
quick = hypothesis.settings(max_examples=30, deadline=None)


def after(controller, name, value):
  """The coefficient after one iteration that measured `value`."""
  state = controller.update(controller.init(), {name: jnp.float32(value)})
  return float(controller.value(state, 1))


def test_number_stands_for_a_constant():
  constant = control.controller(0.25)
  assert constant == control.Constant(0.25)
  assert after(constant, 'any', 3.0) == 0.25
  assert control.controller(constant) is constant


@quick
@hypothesis.given(positive, positive, st.floats(0, 50))
def test_adaptive_kl_equals_its_formula(initial, target, kl):
  found = after(control.AdaptiveKL(initial, target), 'reference/kl', kl)
  wanted = initial * (1 + np.clip(kl / target - 1, -0.2, 0.2) / 10)
  np.testing.assert_allclose(found, wanted, rtol=1e-5)


@quick
@hypothesis.given(positive, positive, st.floats(-50, 50))
def test_dual_ascent_equals_its_formula_and_stays_above_zero(
  initial, limit, value
):
  found = after(control.DualAscent(initial, limit, 0.5, 'cost'), 'cost', value)
  wanted = max(0.0, initial + 0.5 * (value - limit))
  np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('entropy, way', [(0.1, 1), (0.5, 0), (0.9, -1)])
def test_target_entropy_moves_against_the_error(entropy, way):
  steered = control.TargetEntropy(initial=0.01, target=0.5)
  change = after(steered, 'policy/entropy', entropy) - 0.01
  assert np.sign(np.round(change, 7)) == way


def test_target_entropy_stays_within_its_bounds():
  steered = control.TargetEntropy(0.01, 0.5, rate=100, low=1e-3, high=0.1)
  np.testing.assert_allclose(after(steered, 'policy/entropy', 0), 0.1, 1e-5)
  np.testing.assert_allclose(after(steered, 'policy/entropy', 9), 1e-3, 1e-5)


def test_stepped_entropy_climbs_below_its_target_and_rests_above():
  steered = control.SteppedEntropy(target=0.2, step=0.4, most=1.0)
  state, found = steered.init(), []
  for entropy in (0.1, 0.2, 0.1, 0.3, 0.1, 0.9, 0.9, 0.9, 0.1):
    found.append(float(steered.value(state, 0)))
    state = steered.update(state, {'policy/entropy': jnp.float32(entropy)})
  np.testing.assert_allclose(found, [0, 0.4, 0.8, 1, 0, 1, 0, 0, 0], rtol=1e-6)
  np.testing.assert_allclose(steered.value(state, 0), 0.4, rtol=1e-6)


def test_vee_falls_from_the_middle_then_rises_to_the_most():
  vee = control.Vee(least=0.04, most=0.1, end=100, turn=0.3)
  found = [float(vee.value((), s)) for s in (0, 15, 30, 65, 100, 500)]
  np.testing.assert_allclose(
    found, [0.07, 0.055, 0.04, 0.07, 0.1, 0.1], rtol=1e-5
  )


def test_vee_of_equal_ends_is_constant():
  vee = control.Vee(least=0.2, most=0.2, end=10)
  found = [float(vee.value((), s)) for s in range(12)]
  np.testing.assert_allclose(found, 0.2, rtol=1e-6)


def test_the_share_beside_a_loss_rises_to_its_most_and_falls_to_its_least():
  shared = control.Shared(most=0.8, least=0.2, rise=4, fall=6)
  found = [float(shared.value((), s)) for s in (0, 1, 4, 7, 10, 90)]
  share = np.array([0, 0.2, 0.8, 0.5, 0.2, 0.2])
  np.testing.assert_allclose(found, share / (1 - share), rtol=1e-5)


def test_a_share_without_rise_and_fall_is_its_least_from_the_start():
  shared = control.Shared(most=0.1, least=0.1)
  found = [float(shared.value((), s)) for s in (0, 1, 50)]
  np.testing.assert_allclose(found, 0.1 / 0.9, rtol=1e-6)
  with pytest.raises(ValueError, match='leave nothing of the loss'):
    control.Shared(most=1.0, least=0.1)


def test_linear_goes_from_its_first_to_its_last_and_stays_there():
  linear = control.Linear(first=5.0, last=1.0, iterations=4)
  found = [float(linear.value((), s)) for s in (0, 1, 4, 5, 50)]
  np.testing.assert_allclose(found, [5, 4, 1, 1, 1])


def test_annealed_is_the_inverse_of_a_step_size_that_falls_to_zero():
  annealed = control.Annealed(weight=2.0, iterations=5)
  found = [float(annealed.value((), s)) for s in (0, 1, 4, 5, 50)]
  np.testing.assert_allclose(found, [2, 2.5, 10, 10, 10], rtol=1e-6)
