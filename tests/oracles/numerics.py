"""Reductions in float64, as loops over Python lists."""

import math

import numpy as np


def masked(x, mask):
  return [float(v) for v, m in zip(np.ravel(x), np.ravel(mask)) if m]


def mean(values):
  return sum(values) / len(values) if values else 0.0


def variance(values, ddof):
  if len(values) <= ddof:
    return 0.0
  centre = mean(values)
  return sum((v - centre) ** 2 for v in values) / (len(values) - ddof)


def by_group(fn, x, group, where):
  """fn(list of the group's counted values), given to each row."""
  return np.array(
    [
      fn([float(v) for v, h, w in zip(x, group, where) if w and h == g])
      for g in group
    ]
  )


def whiten(x, mask, epsilon, ddof):
  values = masked(x, mask)
  centre, spread = mean(values), variance(values, ddof)
  out = (np.asarray(x, np.float64) - centre) / math.sqrt(spread + epsilon)
  return np.where(mask, out, 0.0)


def discounted_sum(x, mask, decay):
  out = np.zeros(np.shape(x))
  for i, row in enumerate(x):
    following = 0.0
    for t in reversed(range(len(row))):
      if mask[i][t]:
        following = float(row[t]) + decay * following
        out[i, t] = following
  return out
