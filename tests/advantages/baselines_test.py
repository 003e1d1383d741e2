import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import baselines, group
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


def test_tracker_starts_where_earlier_responses_left_it():
  """Eight of a task, of which none, four, or all were right."""
  stage, share = baselines.BetaTracker(count=8), np.array([0, 0.5, 1, 0.5])
  begun = (8 * share + 0.5) / 9
  reference = oracle.SingleStream(4, rate=begun)
  state, task = stage.init(SPEC), np.arange(16, dtype=np.int32) % 3
  for seed in range(2):
    rollouts = cases.rollouts(
      seed,
      drift=np.full(16, 0.01, np.float32),
      # That the second visit says otherwise changes nothing.
      first_rate=np.float32(share[task] * (1 - seed)),
    ).replace(task=jnp.asarray(task))
    valid = np.asarray(rollouts.valid)
    credit, state = stage.update(
      _credit(rollouts, np.ones(16)), rollouts, state
    )
    expected = reference.step(task, np.ones(16), np.full(16, 0.01), valid)
    expected = np.where(rollouts.loss_mask, expected[:, None], 0)
    np.testing.assert_allclose(credit.advantages, expected, atol=1e-6)
  assert float(state['success'][3] + state['failure'][3]) == 0  # not seen yet


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


def _energies(rows):
  """|e_a - pi|^2 of each token a, by its definition."""
  rows = np.asarray(rows, np.float64)
  response = np.asarray(cases.rollouts().content.response)
  out = np.zeros(response.shape)
  for it in np.ndindex(*response.shape):
    chosen = np.arange(rows.shape[-1]) == response[it]
    out[it] = np.sum((chosen - np.exp(rows[it])) ** 2)
  return out


def test_energy_baseline_equals_the_loops_of_each_position():
  rng = np.random.default_rng(0)
  rows = jax.nn.log_softmax(rng.normal(size=(16, 6, 5)).astype('f'))
  rollouts = cases.digested(cases.rollouts(), rows, baselines.centre_by_energy)
  rewards = rng.normal(size=16).astype('f')
  ours = baselines.centre_by_energy(rewards, rollouts)
  mask, ids = np.asarray(rollouts.loss_mask), np.asarray(rollouts.group)
  energy = _energies(rows)
  for i, t in np.argwhere(mask):
    peers = [j for j in range(16) if ids[j] == ids[i] and mask[j].any()]
    here = [j for j in peers if mask[j, t]]
    weights = [energy[j, : t + 1][mask[j, : t + 1]].sum() for j in here]
    baseline = np.average(rewards[here], weights=weights) if peers[1:] else 0.0
    np.testing.assert_allclose(ours[i, t], rewards[i] - baseline, atol=1e-5)
  assert not np.asarray(ours)[~mask].any()


def test_equal_energies_of_equal_lengths_are_the_mean_of_the_group():
  rollouts = cases.rollouts()
  ones = jnp.ones_like(rollouts.response_mask)
  rollouts = rollouts.replace(
    response_mask=ones, action_mask=ones, valid=ones[:, 0]
  )
  rows = np.full((16, 6, 5), -np.log(5), 'f')
  rollouts = cases.digested(rollouts, rows, baselines.centre_by_energy)
  rewards = np.random.default_rng(0).normal(size=16).astype('f')
  ours = baselines.centre_by_energy(rewards, rollouts)
  wanted = group.centre(rewards, rollouts.group, rollouts.valid)
  np.testing.assert_allclose(ours, wanted[:, None] * np.ones(6), atol=1e-5)


def test_the_running_score_is_the_mean_of_all_rows_so_far():
  rng, scores = np.random.default_rng(0), []
  stage = baselines.RunningScore()
  state = stage.init(None)
  for seed in (0, 1):
    old, ref = rng.normal(size=(2, 16, 6)).astype('f')
    rollouts = cases.rollouts(seed, old_logp=old, ref_logp=ref)
    mask = np.asarray(rollouts.loss_mask)
    sums = np.where(mask, old - ref, 0).sum(axis=1)
    scores += list(sums[mask.any(axis=1)])
    credit = _credit(rollouts, np.zeros(16))
    credit, state = stage.update(credit, rollouts, state)
    found = np.asarray(credit.advantages)
    np.testing.assert_allclose(found[mask], np.mean(scores), rtol=1e-5)
    assert not found[~mask].any()


def test_a_role_is_compared_with_what_it_earned_before():
  role = (np.arange(16) % 3).clip(max=1)
  rollouts = cases.rollouts(agent=role)
  valid, mask = np.asarray(rollouts.valid), np.asarray(rollouts.loss_mask)
  stage = baselines.RoleBaseline(decay=0.9, roles=3)
  state, level = stage.init(None), np.zeros(3)
  for seed in (0, 1):
    rewards = np.random.default_rng(seed).normal(size=16).astype('f')
    credit, state = stage.update(_credit(rollouts, rewards), rollouts, state)
    expected = np.where(mask, (rewards - level[role])[:, None], 0)
    np.testing.assert_allclose(credit.advantages, expected, rtol=1e-5)
    for k in (0, 1):
      own = rewards[valid & (role == k)]
      level[k] = 0.9 * level[k] + 0.1 * own.mean()
    np.testing.assert_allclose(state, level, rtol=1e-5)
  assert state[2] == 0
