"""Critic-based advantages in NumPy float64, row by row and backwards."""

from __future__ import annotations

import numpy as np


def accumulate(token_rewards, values, mask, last_value, *, discount, trace):
  out = np.zeros(values.shape)
  for i in range(len(values)):
    following, next_value = 0.0, last_value[i]
    for t in reversed(np.flatnonzero(mask[i])):
      delta = token_rewards[i, t] + discount * next_value - values[i, t]
      following = delta + discount * trace * following
      out[i, t], next_value = following, values[i, t]
  return out


def extended(rewards, values, mask, truncated, *, discount, trace):
  """Advantages and Monte-Carlo returns."""
  outcome, returns = np.zeros(values.shape), np.zeros(values.shape)
  last = np.zeros(len(values))
  for i in range(len(values)):
    chosen = np.flatnonzero(mask[i])
    if not chosen.size:
      continue
    if truncated[i]:
      last[i] = values[i, chosen[-1]]
      continue
    outcome[i, chosen[-1]] = rewards[i]
    for k, t in enumerate(chosen):
      returns[i, t] = discount ** (len(chosen) - 1 - k) * rewards[i]
  advantages = accumulate(
    outcome, values, mask, last, discount=discount, trace=trace
  )
  return advantages, returns


def post_decision(rewards, values, after, mask, *, discount):
  """Advantages and normalised returns of two critics' pessimistic baseline."""
  returns = {}
  for i in range(len(values)):
    chosen = np.flatnonzero(mask[i])
    for k, t in enumerate(chosen):
      returns[i, t] = discount ** (len(chosen) - 1 - k) * rewards[i]
  advantages, targets = np.zeros(values.shape), np.zeros(values.shape)
  seen = np.array(list(returns.values()))
  spread = np.std(seen, ddof=1) if len(seen) > 1 else 0.0
  for it, value in returns.items():
    targets[it] = (value - np.mean(seen)) / (spread + 1e-7)
    advantages[it] = targets[it] - min(values[it], after[it])
  return advantages, targets
