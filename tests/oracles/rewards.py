"""Reward shaping in NumPy float64, row by row from the papers."""

from __future__ import annotations

import numpy as np


def overlong(rewards, lengths, budget, buffer, factor=1.0):
  """DAPO equation 13, with the penalty scaled by `factor`."""
  out = []
  for reward, length in zip(rewards, lengths):
    if length <= budget - buffer:
      penalty = 0.0
    elif length <= budget:
      penalty = ((budget - buffer) - length) / buffer
    else:
      penalty = -1.0
    out.append(reward + factor * penalty)
  return np.array(out)
