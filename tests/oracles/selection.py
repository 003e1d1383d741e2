"""Selection in NumPy float64, group by group from the papers."""

from __future__ import annotations

import numpy as np


def mixed_groups(rewards, group, valid):
  """A group trains when the spread of its rewards is positive."""
  out = np.zeros(len(rewards))
  for g in set(np.asarray(group).tolist()):
    rows = [i for i in range(len(group)) if group[i] == g and valid[i]]
    if rows and len({float(rewards[i]) for i in rows}) > 1:
      out[rows] = 1.0
  return out
