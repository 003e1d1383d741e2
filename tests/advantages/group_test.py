import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis.extra import numpy as hnp

from jaxrl_llm.advantages import group
from tests.advantages import cases
from tests.oracles import advantages as oracle


def _above(estimator):
  """Of rewards that are not negative."""

  def above(rewards, ids, valid):
    return estimator(jnp.maximum(rewards, 0), ids, valid)

  return above


PAIRS = {
  'norm': (group.norm, oracle.grpo),
  'norm_ddof_0': (
    functools.partial(group.norm, ddof=0),
    functools.partial(oracle.grpo, ddof=0),
  ),
  'centre': (group.centre, oracle.dr_grpo),
  'leave_one_out': (group.leave_one_out, oracle.rloo),
  'balanced': (group.balanced, oracle.balanced),
  'leave_one_out_norm': (group.leave_one_out_norm, oracle.leave_one_out_norm),
  'norm_by_rms': (group.norm_by_rms, oracle.norm_by_rms),
  'over_mean': (_above(group.over_mean), _above(oracle.over_mean)),
  'norm_by_batch': (group.norm_by_batch, oracle.lite_ppo),
  'norm_by_deviation': (group.norm_by_deviation, oracle.dgae),
  'harder_first': (group.harder_first, oracle.dgpo),
  'centre_softly': (
    functools.partial(group.centre_softly, temperature=0.3),
    functools.partial(oracle.centre_softly, temperature=0.3),
  ),
}
ESTIMATORS = [pair[0] for pair in PAIRS.values()] + [group.norm_by_beta]


@pytest.mark.parametrize('case', cases.NAMES)
@pytest.mark.parametrize('name', PAIRS)
def test_estimator_equals_its_oracle(name, case):
  ours, theirs = PAIRS[name]
  rows = cases.rows(case)
  # Spreads are differences of float32 numbers near 3: about 1e-6 relative.
  np.testing.assert_allclose(ours(*rows), theirs(*rows), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize('case', [c for c in cases.NAMES if c != 'real'])
def test_beta_norm_equals_its_oracle(case):
  rows = cases.rows(case)
  np.testing.assert_allclose(
    group.norm_by_beta(*rows), oracle.bnpo(*rows), rtol=1e-4, atol=1e-6
  )


def test_beta_norm_equals_its_oracle_on_many_prompts():
  rng = np.random.default_rng(3)
  ids = np.repeat(np.arange(12), 8).astype(np.int32)
  rewards = rng.binomial(1, np.repeat(rng.beta(2, 3, 12), 8)).astype('f')
  valid = rng.random(96) < 0.9
  np.testing.assert_allclose(
    group.norm_by_beta(rewards, ids, valid),
    oracle.bnpo(rewards, ids, valid),
    rtol=1e-4, atol=1e-6,
  )  # fmt: skip


def test_beta_norm_maps_the_range_of_rewards_to_zero_and_one():
  rewards, ids, valid = cases.rows('binary')
  np.testing.assert_allclose(
    group.norm_by_beta(4 * rewards - 2, ids, valid, low=-2.0, high=2.0),
    group.norm_by_beta(rewards, ids, valid),
    rtol=1e-6,
  )


def test_beta_norm_takes_means_beyond_the_range_for_its_ends():
  rewards = np.array([1, 0, 0, 0, 1, 1, 1, 0, 2, 1, 1, 1], np.float32)
  ids = np.repeat([0, 1, 2], 4).astype(np.int32)
  valid = np.ones(12, bool)
  # As many more than 1 as are at 1 where the mean of the third group is 1.
  found = np.asarray(group.norm_by_beta(rewards, ids, valid))
  ends = np.array([1, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1], np.float32)
  np.testing.assert_allclose(
    found[:8], group.norm_by_beta(ends, ids, valid)[:8], rtol=1e-5
  )
  assert np.all(np.isfinite(found)) and found[8] > 0 > found[9]


def test_beta_norm_is_grpo_when_means_are_spread_like_a_coin():
  # Means 0.25 and 0.75 with ddof 1: M = 1/2 and V = 1/8, so c = 1 and both
  # parameters are 1 + 1/6.
  rewards = np.array([1, 0, 0, 0, 1, 1, 1, 0], np.float32)
  ids = np.repeat([0, 1], 4).astype(np.int32)
  valid = np.ones(8, bool)
  scaled = group.norm_by_beta(rewards, ids, valid)
  plain = group.centre(rewards, ids, valid)
  ratio = np.asarray(scaled / plain)
  np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
  p, shape = 0.25, 7 / 6
  beta = np.exp(2 * jax.lax.lgamma(shape) - jax.lax.lgamma(2 * shape))
  np.testing.assert_allclose(
    ratio[0], beta / (p * (1 - p)) ** (1 / 6), rtol=1e-5
  )


@pytest.mark.parametrize('estimator', ESTIMATORS)
def test_uniform_group_gives_exactly_zero(estimator):
  rewards, ids, valid = cases.rows('uniform')
  np.testing.assert_array_equal(estimator(rewards, ids, valid), 0.0)


@pytest.mark.parametrize('estimator', ESTIMATORS)
def test_rows_that_do_not_count_are_inert(estimator):
  rewards, ids, valid = cases.rows('holes')
  spoiled = np.where(valid, rewards, np.nan).astype('f')
  clean = estimator(rewards, ids, valid)
  np.testing.assert_array_equal(estimator(spoiled, ids, valid), clean)
  np.testing.assert_array_equal(np.asarray(clean)[~valid], 0.0)


@pytest.mark.parametrize('estimator', ESTIMATORS)
def test_order_of_rows_is_inert(estimator):
  rewards, ids, valid = cases.rows('holes')
  order = np.random.default_rng(1).permutation(16)
  np.testing.assert_allclose(
    estimator(rewards[order], ids[order], valid[order]),
    np.asarray(estimator(rewards, ids, valid))[order],
    rtol=1e-6, atol=1e-7,
  )  # fmt: skip


@pytest.mark.parametrize('estimator', ESTIMATORS)
def test_jit_equals_eager(estimator):
  rows = cases.rows('binary')
  np.testing.assert_allclose(
    jax.jit(estimator)(*rows), estimator(*rows), rtol=1e-6, atol=1e-7
  )


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(
  hnp.arrays(np.float32, 8, elements=st.floats(-4, 4, width=16)),
  st.floats(0.5, 8.0, width=16),
  st.floats(-5, 5, width=16),
)
def test_norm_is_invariant_to_scale_and_shift(rewards, scale, shift):
  hypothesis.assume(np.ptp(rewards[:4]) > 0.1 and np.ptp(rewards[4:]) > 0.1)
  ids, valid = np.repeat([0, 1], 4).astype(np.int32), np.ones(8, bool)
  moved = group.norm(scale * rewards + shift, ids, valid, epsilon=0.0)
  plain = group.norm(rewards, ids, valid, epsilon=0.0)
  np.testing.assert_allclose(moved, plain, rtol=1e-2, atol=1e-3)


def test_leave_one_out_is_dr_grpo_times_n_over_n_minus_one():
  rows = cases.rows('real')
  np.testing.assert_allclose(
    group.leave_one_out(*rows), 4 / 3 * group.centre(*rows), rtol=1e-5
  )


def test_a_lone_success_among_equals_keeps_its_distance():
  rewards = np.array([0.7, 0.1, 0.1, 0.1, 0.1], np.float32)
  ids, valid = np.zeros(5, np.int32), np.ones(5, bool)
  found = group.leave_one_out_norm(rewards, ids, valid)
  np.testing.assert_allclose(found[0], 0.6, rtol=1e-6)
  np.testing.assert_allclose(found[1:], -0.5, rtol=1e-5)


def test_norm_by_batch_is_norm_for_one_prompt():
  rewards, _, valid = cases.rows('real')
  ids = np.zeros(16, np.int32)
  np.testing.assert_allclose(
    group.norm_by_batch(rewards, ids, valid), group.norm(rewards, ids, valid)
  )


def test_norm_by_deviation_gives_every_live_group_the_same_mass():
  rewards = np.array([1, 0, 0, 0, 1, 1, 0, 0], np.float32)
  ids, valid = np.repeat([0, 1], 4).astype(np.int32), np.ones(8, bool)
  mass = np.abs(group.norm_by_deviation(rewards, ids, valid, epsilon=0.0))
  np.testing.assert_allclose(mass.reshape(2, 4).sum(axis=1), 4.0, rtol=1e-6)


def test_norm_by_deviation_of_coins_is_grpo_over_twice_its_spread():
  rewards = np.array([1, 0, 0, 0], np.float32)
  ids, valid = np.zeros(4, np.int32), np.ones(4, bool)
  ours = group.norm_by_deviation(rewards, ids, valid, epsilon=0.0)
  grpo = group.norm(rewards, ids, valid, epsilon=0.0, ddof=0)
  expected = grpo / (2 * np.sqrt(0.25 * 0.75))
  np.testing.assert_allclose(ours, expected, rtol=1e-6)


@pytest.mark.parametrize('right, wrong', [(1.0, 0.0), (0.0, -1.0), (0.1, -1.0)])
def test_outcomes_are_two_numbers(right, wrong):
  rows = cases.rows('holes')
  np.testing.assert_array_equal(
    group.outcomes(*rows, right=right, wrong=wrong),
    oracle.outcomes(*rows, right=right, wrong=wrong).astype('f'),
  )


def test_over_mean_is_grpo_times_its_spread_over_its_mean():
  rewards = np.array([1, 0, 0, 1, 0], np.float32)
  ids, valid = np.zeros(5, np.int32), np.ones(5, bool)
  scale = np.std(rewards) / np.mean(rewards)
  plain = group.norm(rewards, ids, valid, epsilon=0.0, ddof=0)
  ours = group.over_mean(rewards, ids, valid)
  np.testing.assert_allclose(ours, scale * plain, rtol=1e-5)


def test_over_mean_climbs_to_the_likelihood_of_a_success():
  """Its expectation over all groups of n is the slope of the first terms."""
  p, n = 0.3, 4
  found = 0.0
  for outcome in np.ndindex(*(2,) * n):
    rewards = np.array(outcome, np.float32)
    chance = np.prod(np.where(rewards > 0, p, 1 - p))
    a = group.over_mean(rewards, np.zeros(n, np.int32), np.ones(n, bool))
    score = np.where(rewards > 0, 1 / p, -1 / (1 - p))
    found += chance * np.mean(a * score)
  # d/dp of -sum_{k < n} (1 - p)^k / k.
  expected = sum((1 - p) ** (k - 1) for k in range(1, n))
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_harder_first_weighs_all_alike_at_infinite_temperature():
  rows = cases.rows('binary')
  np.testing.assert_allclose(
    group.harder_first(*rows, temperature=float('inf')),
    group.norm_by_deviation(*rows),
    rtol=1e-6,
  )


def test_harder_first_at_no_temperature_leaves_the_group_solved_least():
  rewards = jnp.array([1.0, 0, 0, 1, 1, 0, 1, 1])
  ids, valid = jnp.repeat(jnp.arange(2), 4), jnp.ones(8, bool)
  found = group.harder_first(rewards, ids, valid, temperature=1e-3)
  plain = group.norm_by_deviation(rewards, ids, valid)
  expected = plain * jnp.where(ids == 0, 2, 0)
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_reward_has_no_baseline():
  rewards, ids, valid = cases.rows('holes')
  expected = np.where(valid, rewards, 0)
  np.testing.assert_array_equal(group.reward(rewards, ids, valid), expected)


def test_shapes_that_differ_are_refused():
  with pytest.raises(AssertionError):
    group.centre(jnp.zeros(3), jnp.zeros(4, jnp.int32), jnp.ones(4, bool))


def test_the_soft_value_lies_between_the_mean_and_the_best():
  rewards, ids, valid = cases.rows('real')
  hot = group.centre_softly(rewards, ids, valid, temperature=1e3)
  mean = group.centre(rewards, ids, valid)
  np.testing.assert_allclose(hot, mean, atol=5e-3)
  cold = np.asarray(group.centre_softly(rewards, ids, valid, temperature=1e-3))
  best = [rewards[(ids == g) & valid].max() for g in ids]
  np.testing.assert_allclose(cold[valid], (rewards - best)[valid], atol=5e-3)
