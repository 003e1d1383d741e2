import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis.extra import numpy as hnp

from jaxrl_llm import numerics
from tests.oracles import numerics as oracle

# XLA flushes subnormal numbers to 0.
NUMBERS = st.floats(-10, 10, width=32, allow_subnormal=False)
# One shape for all examples, so that every program compiles once.
ROWS, COLUMNS = 6, 4
quick = hypothesis.settings(max_examples=20, deadline=None)
table = hnp.arrays(np.float32, (ROWS, COLUMNS), elements=NUMBERS)
mask_of_table = hnp.arrays(bool, (ROWS, COLUMNS))
column = hnp.arrays(np.float32, ROWS, elements=NUMBERS)
where_of_column = hnp.arrays(bool, ROWS)
ids = hnp.arrays(np.int32, ROWS, elements=st.integers(0, ROWS - 1))


def close(found, wanted):
  np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


@quick
@hypothesis.given(table, mask_of_table)
def test_masked_reductions_equal_loops(x, mask):
  values = oracle.masked(x, mask)
  close(numerics.masked_sum(x, mask), sum(values))
  close(numerics.masked_mean(x, mask), oracle.mean(values))
  for ddof in (0, 1):
    close(
      numerics.masked_variance(x, mask, ddof=ddof),
      oracle.variance(values, ddof),
    )


@quick
@hypothesis.given(table, mask_of_table)
def test_masked_reductions_of_rows_equal_loops(x, mask):
  values = [oracle.masked(row, m) for row, m in zip(x, mask)]
  close(numerics.masked_mean(x, mask, -1), [*map(oracle.mean, values)])
  close(
    numerics.masked_variance(x, mask, -1, ddof=1),
    [oracle.variance(v, 1) for v in values],
  )


@quick
@hypothesis.given(table, mask_of_table)
def test_whiten_equals_the_loop(x, mask):
  # A spread of rounding errors alone would be blown up by its own inverse.
  values = oracle.masked(x, mask)
  spread = oracle.variance(values, 1)
  hypothesis.assume(spread > 1e-2 or len(set(values)) <= 1)
  wanted = oracle.whiten(x, mask, 1e-2, 1)
  close(numerics.whiten(x, mask, epsilon=1e-2), wanted)


@pytest.mark.parametrize('value', [0.1, 1000.1, -3e4 / 7, 1e30])
@pytest.mark.parametrize('entries', [1, 3, 1013])
def test_equal_entries_have_exactly_their_mean_and_no_spread(value, entries):
  """A plain float32 sum of them is off by more than epsilon spreads."""
  x = jnp.full((2, entries), value, jnp.float32)
  mask = jnp.ones(x.shape, bool).at[0, 0].set(entries < 3)
  np.testing.assert_array_equal(numerics.masked_mean(x, mask), x[0, 0])
  np.testing.assert_array_equal(numerics.masked_mean(x, mask, -1), x[:, 0])
  assert numerics.masked_variance(x, mask) == 0
  np.testing.assert_array_equal(numerics.whiten(x, mask), jnp.zeros_like(x))
  slope = jax.grad(lambda x: numerics.masked_mean(x, mask))(x)
  close(slope, mask / jnp.sum(mask))


@pytest.mark.parametrize('value', [jnp.inf, -jnp.inf, jnp.nan])
def test_mean_of_what_is_not_finite_is_what_it_is(value):
  x = jnp.array([1.0, value, 2.0])
  everywhere = jnp.ones(3, bool)
  np.testing.assert_array_equal(numerics.masked_mean(x, everywhere), value)
  here = jnp.array([True, False, True])
  assert numerics.masked_mean(x, here) == 1.5


@quick
@hypothesis.given(column, ids, where_of_column)
def test_group_reductions_equal_loops(x, group, where):
  def oracle_of(fn):
    return oracle.by_group(fn, x, group, where)

  close(numerics.group_sum(x, group, where), oracle_of(sum))
  close(numerics.group_count(group, where), oracle_of(len))
  close(numerics.group_mean(x, group, where), oracle_of(oracle.mean))
  low = oracle_of(lambda v: min(v, default=np.inf))
  close(numerics.group_min(x, group, where), low)
  high = oracle_of(lambda v: max(v, default=-np.inf))
  close(numerics.group_max(x, group, where), high)
  for ddof in (0, 1):
    std = oracle_of(lambda v, d=ddof: oracle.variance(v, d) ** 0.5)
    close(numerics.group_std(x, group, where, ddof=ddof), std)


@quick
@hypothesis.given(table, mask_of_table, st.sampled_from([0.0, 0.5, 1.0]))
def test_discounted_sum_equals_the_loop(x, mask, decay):
  wanted = oracle.discounted_sum(x, mask, decay)
  close(numerics.discounted_sum(x, mask, decay=decay), wanted)


@quick
@hypothesis.given(column, mask_of_table)
def test_at_last_puts_the_value_on_the_last_true_column(values, mask):
  wanted = np.zeros(mask.shape)
  for i, row in enumerate(mask):
    if row.any():
      wanted[i, np.flatnonzero(row)[-1]] = values[i]
  close(numerics.at_last(values, mask), wanted)


@quick
@hypothesis.given(NUMBERS, ids, where_of_column)
def test_mean_of_equal_values_is_that_value_exactly(value, group, where):
  x = np.full(ROWS, value, np.float32)
  mean = np.asarray(numerics.group_mean(x, group, where))
  counted = np.asarray(numerics.group_count(group, where)) > 0
  np.testing.assert_array_equal(mean[counted], x[counted])
  np.testing.assert_array_equal(mean[~counted], 0)
  assert not np.any(numerics.group_std(x, group, where))


def test_group_reductions_keep_trailing_axes():
  x = jnp.arange(12.0).reshape(4, 3)
  group, where = jnp.array([0, 0, 2, 2]), jnp.array([True, True, True, False])
  mean = numerics.group_mean(x, group, where)
  close(mean[0], x[:2].mean(0))
  close(mean[3], x[2])


def test_masked_entries_may_hold_anything():
  x = jnp.array([1.0, jnp.nan, jnp.inf, 3.0])
  mask = jnp.array([True, False, False, True])
  group = jnp.zeros(4, jnp.int32)
  assert numerics.masked_mean(x, mask) == 2
  close(numerics.group_mean(x, group, mask), jnp.full(4, 2.0))
  slope = jax.grad(lambda x: numerics.masked_variance(x, mask))(x)
  close(slope, [-1.0, 0.0, 0.0, 1.0])
  spread = jax.grad(lambda x: numerics.group_std(x, group, mask)[0])
  close(spread(x), [-(2**-0.5), 0.0, 0.0, 2**-0.5])


@pytest.mark.parametrize('x', [-1e9, -20.0, 0.0, 20.0, 1e9, jnp.inf])
def test_bounded_exp_and_its_square_are_finite(x):
  value = numerics.bounded_exp(jnp.float32(x))
  assert jnp.isfinite(value**2)
  slope = jax.grad(numerics.bounded_exp)(jnp.float32(x))
  assert jnp.isfinite(slope)
  assert (slope == 0) == (abs(x) > numerics.LOG_RATIO_LIMIT)


def test_division_by_zero_gives_the_default_without_gradient():
  def of(x):
    return numerics.safe_divide(1.0, x, default=5.0)

  assert of(jnp.float32(0)) == 5
  assert jax.grad(of)(jnp.float32(0)) == 0
  assert jax.grad(of)(jnp.float32(2)) == -0.25


def test_spread_of_a_uniform_group_has_a_finite_gradient():
  group, where = jnp.zeros(3, jnp.int32), jnp.ones(3, bool)
  slope = jax.grad(lambda x: numerics.group_std(x, group, where).sum())
  assert jnp.all(jnp.isfinite(slope(jnp.ones(3))))


def test_last_index_of_an_empty_row_is_minus_one():
  mask = jnp.array([[False, False], [True, False], [True, True]])
  np.testing.assert_array_equal(numerics.last_index(mask), [-1, 0, 1])
