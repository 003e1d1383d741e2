import numpy as np
import pytest

from jaxrl_llm import grouping


def test_joint_is_equal_exactly_where_all_ids_are():
  rng = np.random.default_rng(0)
  a, b = rng.integers(0, 3, (2, 20)).astype(np.int32)
  key = np.asarray(grouping.joint(a, b))
  for i in range(20):
    for j in range(20):
      same = a[i] == a[j] and b[i] == b[j]
      assert (key[i] == key[j]) == same
  assert key.min() >= 0 and key.max() < 20


def test_representatives_are_one_per_group_that_counts():
  group = np.array([0, 0, 1, 1, 2, 2], np.int32)
  where = np.array([False, True, True, True, False, False])
  expected = [False, True, True, False, False, False]
  np.testing.assert_array_equal(
    grouping.representatives(group, where), expected
  )


def test_rank_counts_smaller_peers_and_shares_ties():
  x = np.array([3.0, 1.0, 1.0, 9.0, 5.0, 2.0])
  group = np.array([0, 0, 0, 0, 1, 1], np.int32)
  where = np.array([True, True, True, False, True, True])
  expected = [2.0, 0.5, 0.5, 0.0, 1.0, 0.0]
  np.testing.assert_array_equal(grouping.rank(x, group, where), expected)


@pytest.mark.parametrize('count', [1, 2, 7, 10])
def test_quantile_equals_numpy(count):
  x = np.random.default_rng(count).normal(size=10).astype(np.float32)
  where = np.arange(10) < count
  levels = (0.0, 0.2, 0.5, 0.8, 1.0)
  np.testing.assert_allclose(
    grouping.quantile(x, where, levels), np.quantile(x[where], levels),
    rtol=1e-5, atol=1e-6,
  )  # fmt: skip


def test_quantile_of_nothing_is_zero():
  x = np.ones(4, np.float32)
  ours = grouping.quantile(x, np.zeros(4, bool), (0.5,))
  np.testing.assert_array_equal(ours, [0.0])
