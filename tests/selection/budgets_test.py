import itertools

import numpy as np
import pytest

from jaxrl_llm.selection import budgets
from tests.oracles import selection as oracle


@pytest.mark.parametrize('p', [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize('n', [1, 2, 5])
def test_values_equal_the_enumeration_of_outcomes(n, p):
  mixed = contrast = 0.0
  for outcome in itertools.product([0, 1], repeat=n):
    k = sum(outcome)
    chance = p**k * (1 - p) ** (n - k)
    mixed += chance * (0 < k < n)
    contrast += chance * (n - k) * (k >= 1)
  expected = mixed * p * (1 - p) ** 2
  np.testing.assert_allclose(budgets.information(n, p), expected, atol=1e-12)
  np.testing.assert_allclose(budgets.contrast(n, p), contrast, atol=1e-12)


@pytest.mark.parametrize('seed', range(4))
def test_exact_equals_all_splits(seed):
  rates = np.random.default_rng(seed).random(3)
  table = budgets.information(np.arange(9), rates[:, None])
  ours = budgets.exact(table, 12, least=1, most=8)
  values = [lambda n, p=p: oracle.knapsack_value(n, p) for p in rates]
  best, _ = oracle.best_budget(values, 12, 1, 8)
  assert ours.sum() == 12 and ours.min() >= 1 and ours.max() <= 8
  worth = sum(f(n) for f, n in zip(values, ours))
  np.testing.assert_allclose(worth, best, atol=1e-7)


def test_greedy_is_exact_where_worth_is_concave():
  rates = np.array([0.5, 0.6, 0.8, 0.95])  # all at least 2 / (2 + 2)
  table = budgets.contrast(np.arange(17), rates[:, None])
  first = budgets.greedy(table, 24, least=2, most=16)
  second = budgets.exact(table, 24, least=2, most=16)
  rows = np.arange(4)
  np.testing.assert_allclose(
    table[rows, first].sum(), table[rows, second].sum(), rtol=1e-8
  )


@pytest.mark.parametrize('allocate', [budgets.exact, budgets.greedy])
def test_prompts_alike_share_alike(allocate):
  for p in (0.5, 0.0, 1.0):
    table = budgets.information(np.arange(33), np.full((4, 1), p))
    split = allocate(table, 32, least=2, most=32)
    np.testing.assert_array_equal(split, 8)


def test_precision_splits_by_the_square_root_of_the_variance():
  rates = np.array([0.5, 0.1, 0.02])
  table = budgets.precision(np.arange(401), rates[:, None])
  split = budgets.greedy(table, 400, least=2, most=400)
  root = np.sqrt(rates * (1 - rates))
  np.testing.assert_allclose(split, 400 * root / root.sum(), atol=1.0)


def test_settled_prompts_get_the_least():
  table = budgets.information(np.arange(33), np.array([[0.0], [0.3], [1.0]]))
  split = budgets.exact(table, 24, least=2, most=32)
  np.testing.assert_array_equal(split, [2, 20, 2])


@pytest.mark.parametrize('allocate', [budgets.exact, budgets.greedy])
@pytest.mark.parametrize('total', [5, 100])
def test_totals_out_of_reach_are_refused_with_the_numbers(allocate, total):
  with pytest.raises(ValueError, match=f'{total} responses .* 6 to 24'):
    allocate(np.zeros((3, 9)), total, least=2, most=8)


@pytest.mark.parametrize('total', [5, 9, 14, 40])
def test_the_nearest_choice_of_arms_is_the_best_of_all(total):
  rng = np.random.default_rng(total)
  values, count = rng.normal(size=(3, 4)), np.array([1, 3, 1])
  rows = np.arange(1, 5) * count[:, None]
  found = budgets.nearest(values, rows, total)

  def used(arms):
    return sum(rows[kind, arm] for kind, arm in enumerate(arms))

  fitting = [
    arms
    for arms in itertools.product(range(4), repeat=3)
    if used(arms) <= total
  ]
  most = max(map(used, fitting))
  best = max(
    (arms for arms in fitting if used(arms) == most),
    key=lambda arms: sum(values[kind, arm] for kind, arm in enumerate(arms)),
  )
  assert tuple(found) == best
