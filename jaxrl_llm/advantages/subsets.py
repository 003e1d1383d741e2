"""Advantages for the best of k responses: means over all subsets of a group.

    f(rewards f32[N], group i32[N], valid bool[N]) -> f32[N]

Write n for the rows of a group that count. A mean over its C(n, k) subsets has
a closed form in the order of the rewards, so that no subset is ever made.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics


def _chosen(a, n, k):
  """C(a, k - 1) / C(n, k), by its factors; 0 where n < k."""
  share = numerics.safe_divide(float(k), n)
  for i in range(k - 1):
    rest = numerics.safe_divide(
      jnp.maximum(a - i, 0), jnp.maximum(n - 1 - i, 0)
    )
    # The last of these is 0 where n < k.
    share = share * rest
  return share


def _places(rewards, group, valid):
  """i32[N]: how many rows of the group come before each, the least first.

  And the order of all rows, group by group, in which they do.
  """
  _, ids = jnp.unique(group, return_inverse=True, size=len(group))
  ids = jnp.where(valid, ids, len(group))
  order = jnp.lexsort((rewards, ids))
  first = jnp.searchsorted(ids[order], ids[order])
  place = jnp.arange(len(group)) - first
  return jnp.zeros_like(place).at[order].set(place), order


def _sum_before(x, order, place):
  """f32[N]: the sum of x over the rows of the group that come before."""

  def join(left, right):
    total, starts = right
    return total + jnp.where(starts, 0.0, left[0]), left[1] | starts

  inclusive, _ = jax.lax.associative_scan(join, (x[order], place[order] == 0))
  return jnp.zeros_like(x).at[order].set(inclusive) - x


def _above_least(rewards, group, valid):
  """Rewards over the least of their group: equal ones are exactly 0."""
  low = numerics.group_min(rewards, group, valid)
  return jnp.where(valid, rewards - jnp.where(valid, low, 0.0), 0.0)


def max_at_k(rewards, group, valid, *, k=2):
  """What a response adds to the best of k, on average over its companies.

      A_i = n / C(n, k) sum_{I with i, |I| = k} (max_I r - max_{I less i} r)

  An unbiased estimate of the gradient of E[max of k] under a mean over rows,
  never negative: only what is better than its company is pushed up. In a group
  of n = k rows it is n times the distance of the best from the second.

  Args:
    rewards: f32[N], any unit. group: i32[N]. valid: bool[N].
    k: at least 2, at most n.

  Returns:
    f32[N], reward units. 0 for a group of equal rewards, or of fewer than k.

  Raises:
    ValueError: k < 2.

  Source: PKPO, arXiv 2505.15201, its recommended leave-one-out with subsets of
    k - 1, whose listing sums over the rows of a prompt: hence n.

  Example:
    >>> rewards = jnp.array([3.0, 1.0, 0.0])
    >>> print(max_at_k(rewards, jnp.zeros(3, int), jnp.ones(3, bool)))
    [5. 1. 0.]
  """
  if k < 2:
    raise ValueError(f'max_at_k: k is {k}; use 2 or more, or leave_one_out')
  above = _above_least(rewards, group, valid)
  place, order = _places(rewards, group, valid)
  n = numerics.group_count(group, valid)
  own = _chosen(place, n, k) * above
  # C(j, k - 2) / C(n, k) of each row that may be the second best.
  pairs = numerics.safe_divide(k * (k - 1.0), n * jnp.maximum(n - 1, 0))
  for i in range(k - 2):
    rest = numerics.safe_divide(
      jnp.maximum(place - i, 0), jnp.maximum(n - 2 - i, 0)
    )
    pairs = pairs * rest
  second = jnp.where(n >= k, pairs, 0.0) * above
  gain = own - _sum_before(jnp.where(valid, second, 0.0), order, place)
  equal = numerics.group_max(above, group, valid) <= 0
  return jnp.where(valid & ~equal, n * gain, 0.0)


def max_at_k_left_out(rewards, group, valid, *, k=2):
  """The best of k with a response, less the best of k others.

      s_i = 1 / C(n, k) sum_{I with i, |I| = k} max_I r
      A_i = n s_i - k mean_{I without i, |I| = k} max_I r

  An unbiased estimate of the gradient of E[max of k] under a mean over rows;
  `leave_one_out` at k = 1.

  Args:
    rewards: f32[N], any unit. group: i32[N]. valid: bool[N].
    k: at least 1, less than n.

  Returns:
    f32[N], reward units. 0 for a group of equal rewards, or of k or fewer.

  Raises:
    ValueError: k < 1.

  Source: PKPO, arXiv 2505.15201, its leave-one-out; the listing divides the
    baseline by n - 1 in place of n, which leaves part of it at k = 1.
  """
  if k < 1:
    raise ValueError(f'max_at_k_left_out: k is {k}; use 1 or more')
  above = _above_least(rewards, group, valid)
  place, order = _places(-rewards, group, valid)
  n = numerics.group_count(group, valid)
  # Rows before are the better ones here: a row has n - 1 - place below it.
  own = _chosen(n - 1 - place, n, k) * above
  best = numerics.group_sum(jnp.where(valid, own, 0.0), group, valid)
  if k == 1:
    with_row = own
  else:
    # C(b - 1, k - 2) / C(n, k) of each better row, b of them below it.
    pairs = numerics.safe_divide(k * (k - 1.0), n * jnp.maximum(n - 1, 0))
    for i in range(k - 2):
      below = jnp.maximum(n - 2 - place - i, 0)
      pairs = pairs * numerics.safe_divide(below, jnp.maximum(n - 2 - i, 0))
    with_row = own + _sum_before(pairs * above, order, place)
  left = numerics.safe_divide(k * (best - with_row), jnp.maximum(n - k, 0))
  teaches = valid & (n > k) & (numerics.group_max(above, group, valid) > 0)
  return jnp.where(teaches, n * (with_row - left), 0.0)


def pass_at_k(rewards, group, valid, *, k=4, correct=0.5, epsilon=1e-6):
  """GRPO on whole subsets of k rows, of which one success is enough.

      rho   = 1 - C(wrong, k) / C(n, k)      sigma = sqrt(rho (1 - rho))
      right rows:  (1 - rho) / (sigma + epsilon)
      wrong rows:  (1 - rho - C(wrong - 1, k - 1) / C(n - 1, k - 1))
                   / (sigma + epsilon)

  the mean, over all subsets that hold a row, of the normalised outcome of the
  subset. k = 1 is `norm` with ddof 0. Where fewer than k rows are wrong every
  subset succeeds, and the group is silent.

  Args:
    rewards: f32[N]. k: at most n. correct: a reward above it is a success.
    epsilon: added to the spread.

  Returns:
    f32[N], without unit; a group's add up to 0.

  Source: Pass@k Training, arXiv 2508.10751, and its code.
  """
  right = valid & (rewards > correct)
  n = numerics.group_count(group, valid)
  wrong = n - numerics.group_count(group, right)

  def ratio(a, b, size):
    """C(a, size) / C(b, size)."""
    share = jnp.ones_like(n)
    for i in range(size):
      below = jnp.maximum(b - i, 0)
      share = share * numerics.safe_divide(jnp.maximum(a - i, 0), below)
    return share

  fails = ratio(wrong, n, k)
  sigma = jnp.sqrt(fails * (1 - fails))
  lost = fails - ratio(wrong - 1, n - 1, k - 1)
  found = jnp.where(right, fails, lost) / (sigma + epsilon)
  mixed = (fails > 0) & (fails < 1) & (n >= k)
  return jnp.where(valid & mixed, found, 0.0)


def best_minus_second(rewards, group, valid, *, epsilon=1e-6):
  """The best row's distance from the second, in units of the group's spread.

      A_i = (r_i - second) / (std_g + epsilon)   for the best row, else 0

  Args:
    rewards: f32[N]. epsilon: in reward units.

  Returns:
    f32[N], without unit; 0 where two rows tie for the best, or for one alone.

  Source: arXiv 2503.19595, as verl's `grpo_passk`, which divides by the spread
    (n - 1) by default. `max_at_k` at k = n is n times the distance itself.
  """
  high = numerics.group_max(rewards, group, valid)
  best = valid & (rewards == high)
  rest = numerics.group_max(rewards, group, valid & ~best)
  alone = (numerics.group_count(group, best) == 1) & jnp.isfinite(rest)
  gap = jnp.where(best & alone, rewards - rest, 0.0)
  std = numerics.group_std(rewards, group, valid, ddof=1)
  return gap / (std + epsilon)
