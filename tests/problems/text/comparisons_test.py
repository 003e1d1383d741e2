"""Posteriors of success rates, beside sums over a fine grid of rates."""

import itertools

import numpy as np
import pytest

from jaxrl_llm.problems.text import comparisons

GRID = (np.arange(200_000) + 0.5) / 200_000


def density(successes, trials):
  """Of every rate of the grid, by Bayes' rule from a flat prior."""
  likelihood = GRID**successes * (1 - GRID) ** (trials - successes)
  return likelihood / likelihood.sum()


COUNTS = [(0, 1), (1, 1), (3, 7), (9, 10), (25, 40)]


@pytest.mark.parametrize(('successes', 'trials'), COUNTS)
@pytest.mark.parametrize('confidence', [0.5, 0.95])
def test_interval_has_its_mass_in_the_middle(successes, trials, confidence):
  low, high = comparisons.posterior_interval(
    successes, trials, confidence=confidence
  )
  found = density(successes, trials)
  mass = np.cumsum(found) - found / 2
  ends = np.interp([low, high], GRID, mass)
  np.testing.assert_allclose(
    ends, [(1 - confidence) / 2, (1 + confidence) / 2], atol=1e-5
  )


@pytest.mark.parametrize(
  ('one', 'other'), [*itertools.product(COUNTS, repeat=2)]
)
def test_probability_is_that_of_the_higher_rate(one, other):
  first, second = density(*one), density(*other)
  below = np.cumsum(second) - second / 2
  found = comparisons.probability_of_more(*one, *other)
  assert found == pytest.approx(float(first @ below), abs=1e-5)
  back = comparisons.probability_of_more(*other, *one)
  assert found + back == pytest.approx(1.0)


def test_many_trials_do_not_overflow():
  assert comparisons.probability_of_more(
    60_000, 100_000, 50_000, 100_000
  ) == pytest.approx(1.0)
  alike = comparisons.probability_of_more(5_000, 10_000, 5_000, 10_000)
  assert alike == pytest.approx(0.5)


def test_counts_that_cannot_be_are_refused():
  with pytest.raises(ValueError, match='3 successes in 2 trials'):
    comparisons.posterior_interval(3, 2)
  with pytest.raises(ValueError, match='3 successes in 2 trials'):
    comparisons.probability_of_more(1, 2, 3, 2)
  with pytest.raises(ValueError, match='confidence is 1'):
    comparisons.posterior_interval(1, 2, confidence=1.0)
