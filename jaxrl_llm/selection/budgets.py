"""How many responses each prompt gets out of a fixed total.

A table values f64[B, most + 1] says what n responses to each prompt are
worth; an allocator splits the total to the largest sum. Both run on the host,
in NumPy: they decide shapes' contents between two compiled programs.
"""

from __future__ import annotations

import heapq

import numpy as np

_EVEN = 1e-9  # what separates splits of equal worth: the more even one


def information(n, p):
  """The chance of a mixed group, times what a success then teaches.

      (1 - p^n - (1 - p)^n) p (1 - p)^2

  Args:
    n: responses. p: success rate. Arrays broadcast.

  Source: Knapsack RL, arXiv 2509.25849, section 4, read at second hand.
  """
  return (1 - p**n - (1 - p) ** n) * p * (1 - p) ** 2


def contrast(n, p):
  """The expected number of failures in groups that hold a success.

      n (1 - p) (1 - (1 - p)^(n - 1)) = E[(n - k) [k >= 1]]    k ~ Bin(n, p)

  Concave in n for p >= 2 / (n + 2), where `greedy` is exact.

  Source: V_0, arXiv 2602.03584, section 4, read at second hand.
  """
  return n * (1 - p) * (1 - (1 - p) ** np.maximum(n - 1, 0))


def precision(n, p):
  """Minus the variance of a mean of n rewards: -p (1 - p) / n.

  Its best split over prompts has n in proportion to sqrt(p (1 - p)).

  Source: Rollout-GDRO, arXiv 2601.19280, section 5: the variance that its
    square-root law minimises.
  """
  return -p * (1 - p) / np.maximum(n, 1)


def _refuse(rows, total, least, most):
  if not rows * least <= total <= rows * most:
    raise ValueError(
      f'{total} responses do not split over {rows} prompts with {least} to '
      f'{most} each; choose a total from {rows * least} to {rows * most}'
    )


def exact(values, total, *, least, most):
  """i64[B]: the split of largest worth, by dynamic programming.

  Args:
    values: f64[B, most + 1], worth of 0 .. most responses to each prompt.
    total: responses in all. least, most: of each prompt.

  Returns:
    Numbers that sum to `total`; of equally good splits an even one.

  Raises:
    ValueError: the total cannot be reached within the bounds.

  Source: Knapsack RL, arXiv 2509.25849, section 4.2.
  """
  values = np.asarray(values, np.float64)
  rows = values.shape[0]
  _refuse(rows, total, least, most)
  even = _EVEN * (np.arange(most + 1) - total / rows) ** 2
  best = np.full(total + 1, -np.inf)
  best[0] = 0.0
  choices = np.zeros((rows, total + 1), np.int64)
  for row in range(rows):
    following = np.full(total + 1, -np.inf)
    for n in range(least, min(most, total) + 1):
      reached = best[: total + 1 - n] + values[row, n] - even[n]
      better = reached > following[n:]
      following[n:][better] = reached[better]
      choices[row, n:][better] = n
    best = following
  split = np.zeros(rows, np.int64)
  for row in range(rows - 1, -1, -1):
    split[row] = choices[row, total]
    total -= split[row]
  return split


def greedy(values, total, *, least, most):
  """i64[B]: responses handed out one by one where the next is worth most.

  Exact where every row of `values` is concave. Arguments, result and errors
  are those of `exact`.

  Source: V_0, arXiv 2602.03584, section 4.
  """
  values = np.asarray(values, np.float64)
  rows = values.shape[0]
  _refuse(rows, total, least, most)
  split = np.full(rows, least, np.int64)

  def entry(row):
    n = split[row]
    return (values[row, n] - values[row, n + 1] + _EVEN * n, row)

  waiting = [entry(row) for row in range(rows) if least < most]
  heapq.heapify(waiting)
  for _ in range(total - rows * least):
    _, row = heapq.heappop(waiting)
    split[row] += 1
    if split[row] < most:
      heapq.heappush(waiting, entry(row))
  return split


def nearest(values, rows, total):
  """i64[K]: an arm of each kind, of the largest sum of values.

  Of all choices whose rows are at most the total, those count that come
  nearest to it.

  Args:
    values: f64[K, A], worth of each arm. rows: i64[K, A], what it takes.
    total: rows in all, no fewer than the fewest of all kinds.
  """
  best, choices = np.full(total + 1, -np.inf), []
  best[0] = 0.0
  for worth, taken in zip(values, rows, strict=True):
    tried = np.full((len(worth), total + 1), -np.inf)
    for arm, used in enumerate(taken):
      if used <= total:
        tried[arm, used:] = best[: total + 1 - used] + worth[arm]
    choices.append(np.argmax(tried, axis=0))
    best = np.max(tried, axis=0)
  left = int(np.flatnonzero(np.isfinite(best))[-1])
  arms = np.zeros(len(rows), np.int64)
  for kind in range(len(rows) - 1, -1, -1):
    arms[kind] = choices[kind][left]
    left -= rows[kind][arms[kind]]
  return arms
