import jax
import numpy as np
import pytest

from jaxrl_llm.selection import filters
from tests.advantages import cases
from tests.oracles import selection as oracle


@pytest.mark.parametrize('case', cases.NAMES)
def test_mixed_groups_equals_its_oracle(case):
  rows = cases.rows(case)
  ours = jax.jit(filters.mixed_groups)(*rows)
  np.testing.assert_array_equal(ours, oracle.mixed_groups(*rows))


def test_mixed_groups_ignores_rows_that_do_not_count():
  rewards = np.array([1, 1, 0], np.float32)
  group = np.zeros(3, np.int32)
  kept = filters.mixed_groups(rewards, group, np.array([True, True, False]))
  np.testing.assert_array_equal(kept, 0.0)


@pytest.mark.parametrize('bounds', [(0.25, 0.75), (0.0, 1.0), (0.5, 0.5)])
def test_rate_between_keeps_groups_of_medium_success(bounds):
  rewards, group, valid = cases.rows('holes')
  ours = filters.rate_between(
    rewards, group, valid, low=bounds[0], high=bounds[1]
  )
  for i in range(16):
    mates = valid & (group == group[i])
    mean = rewards[mates].mean() if mates.any() else 0.0
    assert ours[i] == (valid[i] and bounds[0] <= mean <= bounds[1])


def test_rows_above_a_floor_are_kept_whatever_their_group_is():
  rewards = np.array([0.5, 0.6, 0.9, 0.0], np.float32)
  valid = np.array([True, True, False, True])
  kept = filters.rows_above(rewards, np.zeros(4, np.int32), valid, floor=0.5)
  np.testing.assert_array_equal(kept, [0, 1, 0, 0])


def test_determination_is_the_square_of_the_weighted_correlation():
  rng = np.random.default_rng(0)
  rewards, noise, weights = rng.random((3, 20)).astype(np.float32)
  weights[:3] = 0
  ours = jax.jit(filters.determination)
  scores = rewards + noise
  expected = oracle.determination(rewards, scores, weights)
  np.testing.assert_allclose(
    ours(rewards, scores, weights), expected, rtol=1e-4
  )
  np.testing.assert_allclose(
    ours(rewards, 3 - 2 * rewards, weights), 1, rtol=1e-4
  )
  for nothing in (0 * weights, weights * (np.arange(20) == 5)):
    np.testing.assert_allclose(ours(rewards, scores, nothing), 0, atol=1e-6)
  assert ours(rewards, 0 * scores, weights) == 0


@pytest.mark.parametrize('value', [5.3, 0.1, 0.7])
@pytest.mark.parametrize('count', range(1, 9))
def test_determination_of_equal_rewards_and_scores_is_nothing(value, count):
  same = np.full(count + 1, value, np.float32)
  weights = np.ones(count + 1, np.float32)
  # A row that no filter draws influences nothing, whatever a judge left of it.
  same[0], weights[0] = np.nan, 0
  assert filters.determination(same, same, weights) == 0
