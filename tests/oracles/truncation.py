"""Truncated distributions in NumPy float64, by sorting and plain loops."""

from __future__ import annotations

import numpy as np


def probabilities(
  logits,
  *,
  temperature=1.0,
  top_k=0,
  top_p=1.0,
  min_p=0.0,
  support=0,
  allowed=None,
):
  """f64[V] of one row and the log of the kept share of the mass.

  Args:
    allowed: bool[V], tokens that may be kept; None is all.
  """
  logits = np.asarray(logits, np.float64)
  if temperature == 0:
    one = np.zeros_like(logits)
    one[np.argmax(logits)] = 1.0
    return one, 0.0
  if np.all(logits == -np.inf):
    logits = np.zeros_like(logits)
  weights = np.exp((logits - logits.max()) / temperature)
  whole = weights.sum()
  if allowed is not None:
    weights, logits = (
      np.where(allowed, x, y) for x, y in ((weights, 0.0), (logits, -np.inf))
    )
  if support:
    order = sorted(range(len(logits)), key=lambda v: (-logits[v], v))
    weights[order[support:]] = 0.0
  if top_k:
    kth = np.sort(weights)[::-1][min(top_k, len(weights)) - 1]
    weights = np.where(weights >= kth, weights, 0.0)
  if top_p < 1:
    wanted, mass, last = top_p * weights.sum(), 0.0, weights.max()
    for value in np.sort(weights)[::-1]:
      if mass >= wanted:
        break
      mass, last = mass + value, value
    weights = np.where(weights >= last, weights, 0.0)
  weights = np.where(weights >= min_p * weights.max(), weights, 0.0)
  return weights / weights.sum(), float(np.log(weights.sum() / whole))


def nucleus(logits, share, least):
  """bool[V] of one row: the likeliest tokens up to a share of the mass."""
  logits = np.asarray(logits, np.float64)
  p = np.exp(logits - logits.max())
  p /= p.sum()
  kept, mass = np.zeros(len(p), bool), 0.0
  for number, v in enumerate(sorted(range(len(p)), key=lambda v: -p[v])):
    if mass >= share and number >= least:
      break
    kept[v], mass = True, mass + p[v]
  return kept
