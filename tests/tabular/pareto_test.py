import itertools

import numpy as np
import pytest

from jaxrl_llm.objectives import gflownet
from jaxrl_llm.tabular import pareto

POINTS = np.array([[1.0, 5], [2, 4], [4, 3], [5, 1], [2, 2], [4, 3]])


def test_front_equals_the_loop_and_that_of_the_losses():
  found = pareto.undominated(POINTS)
  for i, p in enumerate(POINTS):
    beaten = any((q >= p).all() and (q > p).any() for q in POINTS)
    assert found[i] == (not beaten)
  theirs = gflownet.undominated(POINTS[None], np.ones((1, 6), bool))
  np.testing.assert_array_equal(theirs[0], found)


def test_crowding_is_the_gap_between_neighbours():
  distance = pareto.crowding_distance(POINTS[:4])
  expected = [np.inf, (4 - 1) / 4 + (5 - 3) / 4, (5 - 2) / 4 + (4 - 1) / 4]
  np.testing.assert_allclose(distance, [*expected, np.inf])
  assert not np.any(pareto.crowding_distance(np.ones((3, 2))))


def test_the_loneliest_of_the_front_are_chosen_once_each():
  chosen = pareto.least_crowded(POINTS, 4)
  assert sorted(chosen.tolist()) == [0, 1, 2, 3]
  assert set(chosen[:2].tolist()) == {0, 3}
  assert len(pareto.least_crowded(POINTS, 9)) == 4


@pytest.mark.parametrize('objectives', [1, 2, 3])
def test_hypervolume_counts_the_cells_below_the_points(objectives):
  rng = np.random.default_rng(objectives)
  points = rng.integers(0, 5, (6, objectives))
  cells = itertools.product(range(5), repeat=objectives)
  below = sum(
    any(all(c < x for c, x in zip(cell, p)) for p in points) for cell in cells
  )
  assert pareto.hypervolume(points, np.zeros(objectives)) == below
  assert pareto.hypervolume(points, np.full(objectives, 9)) == 0


def test_expected_utility_of_the_corners_is_three_quarters():
  """max(w, 1 - w) on average, on a grid of hundredths."""
  utility = pareto.expected_utility(np.eye(2))
  np.testing.assert_allclose(utility, 0.75, atol=0.005)
  weights = pareto.simplex_grid(3, 5)
  assert len(weights) == 21
  np.testing.assert_allclose(weights.sum(1), 1)


def test_sparsity_sums_squared_gaps():
  np.testing.assert_allclose(
    pareto.sparsity(POINTS[:4]), (1 + 4 + 1 + 4 + 1 + 1) / 3
  )
  assert pareto.sparsity(POINTS[:1]) == 0
