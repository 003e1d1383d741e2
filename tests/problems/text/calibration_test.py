"""Statistics of reward models against loops and subsets."""

import math

import numpy as np
import pytest

from jaxrl_llm.problems.text import calibration
from tests.oracles import rating as oracle


def test_the_best_of_n_is_what_choosing_by_the_ratings_earns():
  ratings = np.array([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 9.0]])
  rewards = np.array([[1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.5]])
  live = np.array([[True] * 4, [True, True, True, False]])
  found = calibration.best_of(ratings, rewards, live)
  # One, and of two: 4 choices of the first have 6 pairs, 3 of the second 3.
  assert found == {
    'rating/best_of_1': pytest.approx((1.5 / 4 + 1 / 3) / 2),
    'rating/best_of_2': pytest.approx(((3 * 1 + 2 * 0.5) / 6 + 2 / 3) / 2),
  }
  assert calibration.best_of(ratings[:, :2], rewards[:, :2], live[:, :2]) == {}


def test_statistics_equal_loops_over_margins():
  margins = np.random.default_rng(0).normal(0.5, 2, 200)
  margins[:5] = 0
  found = calibration.summarize(margins, bins=7)
  names = ('accuracy', 'nll', 'brier', 'ece')
  for name, value in zip(names, oracle.statistics(margins, 7)):
    np.testing.assert_allclose(found[f'rating/{name}'], value, rtol=1e-5)


def test_huge_margins_overflow_nothing():
  found = calibration.summarize(np.array([1e4, -1e4]))
  assert found['rating/accuracy'] == 0.5 and found['rating/nll'] == 5e3
  assert found['rating/brier'] == 0.5 and found['rating/ece'] == 0.5


def test_probabilities_that_are_true_are_calibrated():
  rng = np.random.default_rng(0)
  size = rng.exponential(1.5, 200_000)
  right = rng.random(size.shape) < 1 / (1 + np.exp(-size))
  honest = np.where(right, size, -size)
  assert calibration.summarize(honest)['rating/ece'] < 0.01
  assert calibration.summarize(3 * honest)['rating/ece'] > 0.1


def test_no_pair_gives_no_number():
  assert all(map(math.isnan, calibration.summarize(np.zeros(0)).values()))


def test_margins_are_of_live_pairs_that_differ():
  ratings = np.array([[1.0, 4.0, 9.0, 16.0]])
  rewards = np.array([[0, 0, 1, 2]])
  live = np.array([[True, False, True, True]])
  found = calibration.margins(ratings, rewards, live)
  assert sorted(found) == [7, 8, 15]
