import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.advantages import critics, tokens
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Scores, Spec, initial_credit
from tests.objectives import cases
from tests.oracles import critics as oracle


def _given(unfinished, valid=None):
  values, _, _, mask = cases.inputs()
  rng = np.random.default_rng(4)
  rewards = rng.standard_normal(8).astype('f')
  old, ref = rng.standard_normal((2, *mask.shape)).astype('f')
  rollouts = policy.as_rollouts(np.zeros(mask.shape, np.int32), mask)
  rollouts = rollouts.replace(
    extras={
      'unfinished': jnp.asarray(unfinished),
      'old_values': jnp.float32(values),
      'old_logp': old,
      'ref_logp': ref,
    },
  )
  if valid is not None:
    rollouts = rollouts.replace(valid=jnp.asarray(valid))
  credit = initial_credit(rollouts, Scores(rewards[:, None], np.ones(1)))
  return rollouts, credit.replace(rewards=jnp.asarray(rewards)), values, mask


@pytest.mark.parametrize('trace', [0.0, 0.6, 1.0])
def test_extended_advantages_equal_the_loops(trace):
  unfinished = np.arange(8) % 3 == 1
  rollouts, credit, values, mask = _given(unfinished)
  stage = critics.ExtendedGAE(discount=0.9, trace=trace)
  after, _ = stage.update(credit, rollouts, stage.init(Spec(8, 1, 1, 6)))
  expected = oracle.extended(
    credit.rewards, values, mask, unfinished, discount=0.9, trace=trace
  )
  np.testing.assert_allclose(after.advantages, expected[0], atol=1e-5)
  np.testing.assert_allclose(after.targets, expected[1], atol=1e-5)


def test_finished_rows_get_ordinary_advantages():
  rollouts, credit, _, _ = _given(np.zeros(8, bool))
  ours, _ = critics.ExtendedGAE(1.0, 0.95).update(credit, rollouts, ())
  theirs, _ = tokens.GAE(1.0, 0.95).update(credit, rollouts, ())
  np.testing.assert_allclose(ours.advantages, theirs.advantages, atol=1e-6)


def test_being_cut_off_is_no_news():
  rollouts, credit, _, mask = _given(np.ones(8, bool))
  values = {'old_values': jnp.full(mask.shape, 3.0)}
  rollouts = rollouts.replace(extras=rollouts.extras | values)
  after, _ = critics.ExtendedGAE(1.0, 0.9).update(credit, rollouts, ())
  np.testing.assert_array_equal(after.advantages, 0)


def test_penalised_advantages_equal_the_loops():
  rollouts, credit, values, mask = _given(np.zeros(8, bool))
  stage = critics.PenalisedGAE(discount=0.9, trace=0.7, kl_weight=0.3)
  after, _ = stage.update(credit, rollouts, ())
  kl = rollouts.extras['old_logp'] - rollouts.extras['ref_logp']
  token_rewards = -0.3 * np.asarray(kl, np.float64)
  for i in range(8):
    chosen = np.flatnonzero(mask[i])
    if chosen.size:
      token_rewards[i, chosen[-1]] += credit.rewards[i]
  expected = oracle.accumulate(
    token_rewards, values, mask, np.zeros(8), discount=0.9, trace=0.7
  )
  np.testing.assert_allclose(after.advantages, expected, atol=1e-5)
  wanted = np.where(mask, expected + values, 0)
  np.testing.assert_allclose(after.targets, wanted, atol=1e-5)


def test_the_weight_of_the_penalty_steers_the_kl_to_its_target():
  rollouts, credit, _, mask = _given(np.zeros(8, bool))
  extras, weight = rollouts.extras, 0.3
  kl = np.asarray(extras['old_logp'] - extras['ref_logp'], np.float64)
  mean = kl[mask].mean()
  for target in (mean / 1.1, 10 * abs(mean)):
    stage = critics.SteeredGAE(0.9, 0.7, weight, target, gain=0.5)
    state = stage.init(Spec(8, 1, 1, 6))
    after, state = stage.update(credit, rollouts, state)
    plain, _ = critics.PenalisedGAE(0.9, 0.7, weight).update(
      credit, rollouts, ()
    )
    np.testing.assert_allclose(after.advantages, plain.advantages, atol=1e-6)
    weight *= 1 + 0.5 * np.clip(mean / target - 1, -0.2, 0.2)
    np.testing.assert_allclose(state, weight, rtol=1e-5)
  # The second target is far off: the correction is as large as it may be.
  np.testing.assert_allclose(weight, 0.3 * 1.05 * 0.9, rtol=1e-5)


@pytest.mark.parametrize(
  'kind', [critics.SteeredGAE, critics.KeywordGAE, critics.SpanGAE]
)
def test_the_weight_of_the_penalty_stays_where_no_row_counts(kind):
  rollouts, credit, _, mask = _given(np.zeros(8, bool), np.zeros(8, bool))
  rollouts = rollouts.with_extras(span_reward=jnp.full(mask.shape, jnp.nan))
  stage = kind(kl_weight=0.3)
  after, state = stage.update(credit, rollouts, stage.init(Spec(8, 1, 1, 6)))
  np.testing.assert_array_equal(after.advantages, 0)
  assert state == np.float32(0.3)


def test_scaled_rewards_use_all_rows_so_far():
  valid = np.arange(8) != 2
  rollouts, credit, _, _ = _given(np.zeros(8, bool), valid)
  stage = critics.ScaledReward(bound=1.0, epsilon=0.5)
  state, seen = stage.init(Spec(8, 1, 1, 6)), []
  for shift in (0.0, 100.0, 101.0):
    rewards = np.asarray(credit.rewards) + shift
    after, state = stage.update(
      credit.replace(rewards=jnp.asarray(rewards)), rollouts, state
    )
    seen.extend(rewards[valid].astype(np.float64))
    expected = (rewards - np.mean(seen)) / (np.std(seen) + 0.5)
    expected = np.where(valid, np.clip(expected, -1, 1), 0)
    np.testing.assert_allclose(after.rewards, expected, rtol=1e-4, atol=1e-5)


def test_equal_rewards_scale_to_nothing():
  """Their mean is exact, or its rounding would be a spread of its own."""
  rollouts, credit, _, _ = _given(np.zeros(8, bool), np.arange(8) < 7)
  stage = critics.ScaledReward()
  state = stage.init(Spec(8, 1, 1, 6))
  for _ in range(3):
    given = credit.replace(rewards=jnp.full(8, 1000.1))
    after, state = stage.update(given, rollouts, state)
    np.testing.assert_array_equal(after.rewards, 0)


def test_nothing_valid_scales_nothing():
  rollouts, credit, _, _ = _given(np.zeros(8, bool), np.zeros(8, bool))
  stage = critics.ScaledReward()
  state = stage.init(Spec(8, 1, 1, 6))
  after, new = stage.update(credit, rollouts, state)
  np.testing.assert_array_equal(after.rewards, 0)
  assert all(float(new[k]) == 0 for k in new)


@pytest.mark.parametrize('discount', [1.0, 0.9])
def test_post_decision_advantages_equal_the_loops(discount):
  rollouts, credit, values, mask = _given(np.zeros(8, bool))
  later = np.random.default_rng(5).standard_normal(mask.shape).astype('f')
  extras = {
    'old_values': jnp.float32(values),
    'old_after_values': jnp.asarray(later),
  }
  stage = critics.PostDecision(discount)
  after, _ = stage.update(credit, rollouts.replace(extras=extras), ())
  expected = oracle.post_decision(
    credit.rewards, values, later, mask, discount=discount
  )
  np.testing.assert_allclose(after.advantages, expected[0], atol=1e-5)
  np.testing.assert_allclose(after.targets, expected[1], atol=1e-5)


@pytest.mark.parametrize('valid', [True, False])
def test_equal_returns_are_worth_nothing_beside_the_critics(valid):
  rollouts, credit, values, mask = _given(np.zeros(8, bool), np.full(8, valid))
  extras = {
    'old_values': jnp.float32(values),
    'old_after_values': jnp.float32(values),
  }
  credit = credit.replace(rewards=jnp.full(8, 0.1))
  stage = critics.PostDecision()
  after, _ = stage.update(credit, rollouts.replace(extras=extras), ())
  np.testing.assert_array_equal(after.targets, 0)
  expected = np.where(mask & valid, -values, 0)
  np.testing.assert_allclose(after.advantages, expected, rtol=1e-6)


def test_steps_are_worth_their_chance_beside_their_group():
  rollouts, credit, logits, mask = _given(np.zeros(8, bool), np.arange(8) != 2)
  group, single = np.arange(8) // 4, np.arange(8) != 5
  rollouts = rollouts.replace(
    group=jnp.asarray(group),
    extras={'old_after_values': jnp.float32(logits), 'single': single},
  )
  after, _ = critics.StepValues().update(credit, rollouts, ())
  chance = np.zeros(8)
  for i in range(8):
    if mask[i].any():
      chance[i] = 1 / (1 + np.exp(-logits[i, np.flatnonzero(mask[i])[-1]]))
  counts = mask.any(1) & (np.arange(8) != 2)
  for i in range(8):
    peers = counts & (group == group[i])
    wanted = chance[i] - chance[peers].mean() if counts[i] else 0
    wanted = wanted if single[i] else 0
    expected = np.where(rollouts.loss_mask[i], wanted, 0)
    np.testing.assert_allclose(after.advantages[i], expected, atol=1e-6)
  wanted = np.clip(np.asarray(credit.rewards), 0, 1)[:, None]
  np.testing.assert_allclose(
    after.targets, np.where(rollouts.loss_mask, wanted, 0)
  )
