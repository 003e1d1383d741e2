import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import baselines
from jaxrl_llm.types import Scores, Spec, initial_credit
from tests.advantages import cases
from tests.oracles import advantages as oracle

SPEC = Spec(16, 4, 1, 6, tasks=6)


def _credit(rollouts, rewards):
  scores = Scores(jnp.asarray(rewards)[:, None], jnp.ones(1))
  credit = initial_credit(rollouts, scores)
  return credit.replace(rewards=jnp.where(rollouts.valid, rewards, 0))


@pytest.mark.parametrize('bounds', [(0.875, 0.96), (0.5, 0.96), (0.9, 0.9)])
def test_tracker_equals_counts_of_one_task_at_a_time(bounds):
  rng = np.random.default_rng(0)
  stage = baselines.BetaTracker(0.06, *bounds)
  update, state = jax.jit(stage.update), stage.init(SPEC)
  reference = oracle.SingleStream(6, 0.06, *bounds)
  for seed in range(4):
    drift = (0.1 * rng.random(16)).astype(np.float32)
    rewards = rng.integers(0, 2, 16).astype(np.float32)
    task = rng.integers(0, 5, 16).astype(np.int32)
    rollouts = cases.rollouts(seed, drift=drift).replace(task=jnp.asarray(task))
    credit, state = update(_credit(rollouts, rewards), rollouts, state)
    valid = np.asarray(rollouts.valid)
    expected = reference.step(task, rewards, drift, valid)
    expected = np.where(rollouts.loss_mask, expected[:, None], 0)
    np.testing.assert_allclose(credit.advantages, expected, atol=1e-5)
    np.testing.assert_allclose(state['success'], reference.success, rtol=1e-5)
    np.testing.assert_allclose(state['failure'], reference.failure, rtol=1e-5)


def test_tracker_refuses_one_reward_for_all_rows():
  rollouts = cases.rollouts(drift=np.zeros(16, np.float32))
  stage = baselines.BetaTracker()
  credit = _credit(rollouts, np.ones(16, np.float32))
  with pytest.raises(AssertionError):
    stage.update(
      credit.replace(rewards=jnp.ones(1)), rollouts, stage.init(SPEC)
    )


def test_tracker_reads_its_value_before_it_moves():
  rollouts = cases.rollouts(drift=np.zeros(16, np.float32))
  stage = baselines.BetaTracker()
  credit = _credit(rollouts, np.ones(16, np.float32))
  credit, state = stage.update(credit, rollouts, stage.init(SPEC))
  values = np.asarray(credit.advantages)[np.asarray(rollouts.loss_mask)]
  np.testing.assert_allclose(values, 0.5, rtol=1e-6)
  assert float(state['success'][0]) > float(state['failure'][0])


def test_task_that_was_not_drawn_keeps_its_counts():
  rollouts = cases.rollouts(drift=np.ones(16, np.float32))
  stage = baselines.BetaTracker()
  before = stage.init(SPEC)
  _, after = stage.update(_credit(rollouts, np.ones(16)), rollouts, before)
  np.testing.assert_array_equal(after['success'][4:], before['success'][4:])


def test_constant_memory_tends_to_its_mass_and_needs_no_drift():
  stage = baselines.BetaTracker(keep_low=0.9, keep_high=0.9)
  assert not stage.reads
  rollouts = cases.rollouts()
  rows = np.arange(16) == 0
  rollouts = rollouts.replace(valid=jnp.asarray(rows))
  state = stage.init(SPEC)
  for _ in range(100):
    _, state = stage.update(_credit(rollouts, np.ones(16)), rollouts, state)
  mass = float(state['success'][0] + state['failure'][0])
  np.testing.assert_allclose(mass, 1 / (1 - 0.9), rtol=1e-4)


def test_bounds_out_of_order_are_refused_with_their_values():
  with pytest.raises(ValueError, match='keep_low = 0.99 and keep_high = 0.5'):
    baselines.BetaTracker(keep_low=0.99, keep_high=0.5)


def test_greedy_baseline_is_subtracted_from_every_return():
  greedy = np.linspace(0, 1, 16).astype(np.float32)
  rollouts = cases.rollouts(greedy_reward=greedy)
  returns = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
  ours = baselines.minus_greedy(returns, rollouts)
  np.testing.assert_allclose(ours, returns - greedy[:, None], rtol=1e-6)


def test_predicted_baseline_gives_zero_to_what_was_expected():
  rewards = np.linspace(0, 1, 16).astype(np.float32)
  rollouts = cases.rollouts(predicted_reward=rewards)
  ours = baselines.minus_predicted(rewards, rollouts)
  np.testing.assert_array_equal(ours, np.zeros((16, 6)))
