"""Reward models, one pair and one response at a time."""

import itertools
import math

import numpy as np


def reward_model_loss(values, mask, rewards, samples, *, margin, centring):
  """The mean over groups of the mean over their pairs that differ."""
  total, groups = 0.0, len(rewards) // samples
  for g in range(groups):
    rows = range(g * samples, (g + 1) * samples)
    r = {i: values[i][np.flatnonzero(mask[i])[-1]] for i in rows}
    pairs = [(i, j) for i in rows for j in rows if rewards[i] > rewards[j]]
    for i, j in pairs:
      m = r[i] - r[j] - margin * (rewards[i] - rewards[j])
      loss = math.log(1 + math.exp(-m)) + centring * (r[i] + r[j]) ** 2
      total += loss / len(pairs)
  return total / groups


def unary_reward_model_loss(values, mask, rewards, *, correct):
  """The mean over rows of the cross-entropy of their label."""
  total = 0.0
  for row, reward in enumerate(rewards):
    r = values[row][np.flatnonzero(mask[row])[-1]]
    liked = 1 / (1 + math.exp(-r))
    total -= math.log(liked if reward > correct else 1 - liked)
  return total / len(rewards)


def statistics(margins, bins):
  """accuracy, nll, brier, ece."""
  p = [1 / (1 + math.exp(-m)) for m in margins]
  right = [1.0 if m > 0 else 0.5 if m == 0 else 0.0 for m in margins]
  ece = 0.0
  for k in range(bins):
    low, high = 0.5 + k / (2 * bins), 0.5 + (k + 1) / (2 * bins)
    here = [
      (r, max(q, 1 - q))
      for r, q in zip(right, p)
      if low <= max(q, 1 - q) < high or (k == bins - 1 and max(q, 1 - q) == 1)
    ]
    if here:
      accuracy, confidence = np.mean(here, axis=0)
      ece += len(here) / len(margins) * abs(accuracy - confidence)
  return (
    np.mean(right),
    np.mean([-math.log(q) for q in p]),
    np.mean([(1 - q) ** 2 for q in p]),
    ece,
  )


def best_of_n(ratings, gold, n):
  """The mean over all subsets of n; of those that tie, the mean."""
  found = []
  for subset in itertools.combinations(range(len(ratings)), n):
    top = max(ratings[i] for i in subset)
    found.append(np.mean([gold[i] for i in subset if ratings[i] == top]))
  return np.mean(found)
