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


def unlikely(rewards, mean_logp, group, valid, penalty=0.25):
  """Ranks by counting the less likely rows of the group, without ties."""
  out = np.array(rewards, np.float64)
  for i in range(len(out)):
    if valid[i]:
      peers = [j for j in range(len(out)) if group[j] == group[i] and valid[j]]
      rank = sum(mean_logp[j] < mean_logp[i] for j in peers)
      out[i] *= 1 - penalty * rank / len(peers)
  return out


def tool_factor(calls, fewest, budget):
  if fewest == 0:
    return 1.0 if calls == 0 else np.cos(calls * np.pi / (2 * calls + budget))
  f = 0.0 if calls == 0 else 2 * calls * fewest / (calls + fewest)
  return np.sin(f * np.pi / (2 * fewest))
