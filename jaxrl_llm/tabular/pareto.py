"""Fronts of several objectives: who to train next, and how good a front is.

Points are f[N, K], higher is better in every column. On the host.

Source: C-MORL, arXiv 2410.02236, and its code.
"""

from __future__ import annotations

import itertools

import numpy as np


def undominated(points) -> np.ndarray:
  """bool[N]: no other point is as good everywhere and better somewhere."""
  points = np.asarray(points, np.float64)
  no_worse = (points[:, None] >= points[None]).all(-1)
  better = (points[:, None] > points[None]).any(-1)
  return ~(no_worse & better).any(axis=0)


def crowding_distance(points) -> np.ndarray:
  """f64[N]: how far a point's neighbours are, summed over objectives.

      sum_k (next_k - previous_k) / (max_k - min_k)

  Infinite at the ends of an objective; 0 from an objective without spread.
  """
  points = np.asarray(points, np.float64)
  distance = np.zeros(len(points))
  for column in points.T:
    spread = np.ptp(column)
    if not spread:
      continue
    order = np.argsort(column, kind='stable')
    distance[order[[0, -1]]] = np.inf
    gaps = (column[order[2:]] - column[order[:-2]]) / spread
    distance[order[1:-1]] += gaps
  return distance


def least_crowded(points, count: int) -> np.ndarray:
  """i[count']: the loneliest points of the front, no objective vector twice."""
  points = np.asarray(points, np.float64)
  front = np.flatnonzero(undominated(points))
  _, first = np.unique(points[front], axis=0, return_index=True)
  front = front[np.sort(first)]
  order = np.argsort(-crowding_distance(points[front]), kind='stable')
  return front[order[:count]]


def hypervolume(points, origin) -> float:
  """The volume that the points dominate above `origin` f[K]."""
  points = np.asarray(points, np.float64) - np.asarray(origin, np.float64)
  return _volume(np.maximum(points, 0.0))


def _volume(points):
  if not len(points):
    return 0.0
  if points.shape[1] == 1:
    return float(points.max())
  # Slabs of the last objective, each as deep as the points above it reach.
  heights = np.unique(np.r_[0.0, points[:, -1]])
  return sum(
    (high - low) * _volume(points[points[:, -1] >= high, :-1])
    for low, high in itertools.pairwise(heights)
  )


def simplex_grid(objectives: int, parts: int) -> np.ndarray:
  """f64[W, K]: all weights that are multiples of 1 / parts and sum to 1."""
  weights = [
    w
    for w in itertools.product(range(parts + 1), repeat=objectives)
    if sum(w) == parts
  ]
  return np.array(weights) / parts


def expected_utility(points, *, parts: int = 100) -> float:
  """The best weighted sum, averaged over a grid of weights."""
  points = np.asarray(points, np.float64)
  weights = simplex_grid(points.shape[1], parts)
  return float((weights @ points.T).max(axis=1).mean())


def sparsity(points) -> float:
  """sum_k of squared gaps between neighbours / (N - 1); 0 for one point."""
  points = np.asarray(points, np.float64)
  if len(points) < 2:
    return 0.0
  gaps = np.diff(np.sort(points, axis=0), axis=0)
  return float((gaps**2).sum() / (len(points) - 1))
