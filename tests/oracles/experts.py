"""Mixtures of experts in NumPy float64: every token asks its experts alone."""

from __future__ import annotations

import numpy as np


def mixture(router, gate, up, down, x, *, experts_per_token, normal):
  """f64[n, D], token by token and expert by expert, with SiLU."""
  y = np.zeros(x.shape)
  for n, row in enumerate(np.asarray(x, np.float64)):
    for expert, weight in route(router, row, experts_per_token, normal):
      z = row @ np.asarray(gate[expert], np.float64)
      h = z / (1 + np.exp(-z)) * (row @ np.asarray(up[expert], np.float64))
      y[n] += weight * (h @ np.asarray(down[expert], np.float64))
  return y


def route(router, row, experts_per_token, normal):
  """Pairs of an expert and its weight, the heaviest first."""
  scores = np.asarray(row, np.float64) @ np.asarray(router, np.float64)
  odds = [np.exp(score - max(scores)) for score in scores]
  probs = [each / sum(odds) for each in odds]
  order = sorted(range(len(probs)), key=lambda e: (-probs[e], e))
  chosen = order[:experts_per_token]
  whole = sum(probs[e] for e in chosen) if normal else 1.0
  return [(e, probs[e] / whole) for e in chosen]
