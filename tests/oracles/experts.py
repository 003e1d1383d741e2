"""Mixtures of experts in NumPy float64: every token asks its experts alone."""

from __future__ import annotations

import numpy as np


def mixture(params, x, *, experts_per_token, normal):
  """f64[n, D], token by token and expert by expert, with SiLU."""
  maps, y = params['experts'], np.zeros(x.shape)

  def mapped(row, name, expert):
    bias = maps[f'{name}_bias'][expert] if f'{name}_bias' in maps else 0.0
    return row @ np.asarray(maps[name][expert], np.float64) + bias

  for n, row in enumerate(np.asarray(x, np.float64)):
    for expert, weight in route(
      params['router'], row, experts_per_token, normal
    ):
      z = mapped(row, 'gate', expert)
      h = z / (1 + np.exp(-z)) * mapped(row, 'up', expert)
      y[n] += weight * mapped(h, 'down', expert)
  return y


def route(router, row, experts_per_token, normal):
  """Pairs of an expert and its weight, the heaviest first."""
  kernel = np.asarray(router['kernel'], np.float64)
  scores = np.asarray(row, np.float64) @ kernel + router.get('bias', 0.0)
  odds = [np.exp(score - max(scores)) for score in scores]
  probs = [each / sum(odds) for each in odds]
  order = sorted(range(len(probs)), key=lambda e: (-probs[e], e))
  chosen = order[:experts_per_token]
  whole = sum(probs[e] for e in chosen) if normal else 1.0
  return [(e, probs[e] / whole) for e in chosen]
