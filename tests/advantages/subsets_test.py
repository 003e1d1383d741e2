"""Closed forms against every subset of a group."""

import functools

import jax
import numpy as np
import pytest

from jaxrl_llm.advantages import group, subsets
from tests.advantages import cases
from tests.oracles import advantages as oracle

_CASES = [
  (subsets.max_at_k, {}),
  (subsets.max_at_k, {'k': 3}),
  (subsets.max_at_k, {'k': 4}),
  (subsets.max_at_k_left_out, {'k': 1}),
  (subsets.max_at_k_left_out, {}),
  (subsets.max_at_k_left_out, {'k': 3}),
  (subsets.pass_at_k, {'k': 1}),
  (subsets.pass_at_k, {'k': 2}),
  (subsets.pass_at_k, {'k': 3}),
  (subsets.pass_at_k, {}),
  (subsets.best_minus_second, {}),
]


def _groups(case):
  """Those of one size, and one of eight rows in no order."""
  if case != 'large':
    return cases.rows(case)
  rng = np.random.default_rng(4)
  ids = rng.permutation(np.repeat([3, 9, 11], [8, 5, 3])).astype(np.int32)
  rewards = rng.integers(0, 5, 16).astype(np.float32) / 4
  return rewards, ids, rng.random(16) < 0.9


@pytest.mark.parametrize('case', [*cases.NAMES, 'large'])
@pytest.mark.parametrize(('fn', 'hyper'), _CASES)
def test_the_closed_form_is_the_mean_over_all_subsets(fn, hyper, case):
  rows = _groups(case)
  ours = jax.jit(functools.partial(fn, **hyper))(*rows)
  theirs = getattr(oracle, fn.__name__)(*rows, **hyper)
  np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(('fn', 'hyper'), _CASES)
def test_equal_rewards_and_rows_that_do_not_count_teach_nothing(fn, hyper):
  np.testing.assert_array_equal(fn(*cases.rows('uniform'), **hyper), 0.0)
  rewards, ids, valid = cases.rows('holes')
  spoiled = np.where(valid, rewards, np.nan).astype('f')
  clean = fn(rewards, ids, valid, **hyper)
  np.testing.assert_array_equal(fn(spoiled, ids, valid, **hyper), clean)


def test_the_best_of_one_is_leave_one_out():
  rows = cases.rows('real')
  ours = subsets.max_at_k_left_out(*rows, k=1)
  theirs = group.leave_one_out(*rows)
  np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_pass_of_one_is_grpo_with_the_spread_of_n():
  rows = cases.rows('binary')
  ours = subsets.pass_at_k(*rows, k=1)
  theirs = group.norm(*rows, ddof=0)
  np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('fn', [subsets.max_at_k, subsets.max_at_k_left_out])
def test_the_expectation_is_the_gradient_of_the_best_of_two(fn):
  """Over all groups of three draws from three arms."""
  chance, value = np.array([0.2, 0.5, 0.3]), np.array([2.0, 1.0, 0.0], 'f')
  found = np.zeros(3)
  for arms in np.ndindex(3, 3, 3):
    arms = list(arms)
    a = fn(value[arms], np.zeros(3, np.int32), np.ones(3, bool))
    for arm, advantage in zip(arms, np.asarray(a)):
      score = (np.arange(3) == arm) - chance
      found += np.prod(chance[arms]) * advantage * score / 3

  def best(logits):
    p = jax.nn.softmax(logits)
    return sum(
      p[i] * p[j] * max(value[i], value[j]) for i in range(3) for j in range(3)
    )

  expected = jax.grad(best)(np.log(chance))
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_impossible_sizes_are_refused():
  rows = cases.rows('binary')
  with pytest.raises(ValueError, match='k is 1; use 2 or more'):
    subsets.max_at_k(*rows, k=1)
  with pytest.raises(ValueError, match='k is 0; use 1 or more'):
    subsets.max_at_k_left_out(*rows, k=0)
