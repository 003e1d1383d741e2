"""Costs token by token in NumPy float64: (value, slope in logp)."""

from __future__ import annotations

import math

import numpy as np


def _each(rule):
  def lifted(logp, other, mask):
    value, slope = np.zeros(logp.shape), np.zeros(logp.shape)
    for i, t in np.argwhere(mask):
      value[i, t], slope[i, t] = rule(logp[i, t] - other[i, t])
    return value, slope

  return lifted


@_each
def k2(x):
  return 0.5 * x * x, x


@_each
def k3(x):
  return math.exp(-x) - 1 + x, 1 - math.exp(-x)


@_each
def straight_k3(x):
  return math.exp(-x) - 1 + x, x


@_each
def straight_k1(x):
  return x, x


@_each
def absolute(x):
  return abs(x), float(np.sign(x))


@_each
def score_k3(x):
  k = math.exp(-x) - 1 + x
  return k, k + 1 - math.exp(-x)


@_each
def capped_k3(x):
  k = math.exp(-x) - 1 + x
  return (k, 1 - math.exp(-x)) if k < 10 else (10.0, 0.0)


@_each
def proximal_kl(d):
  r = math.exp(d)
  return r * d - r + 1, r * d


@_each
def trust_kl(d):
  return math.exp(d) - 1 - d, math.exp(d) - 1


@_each
def ratio_variance(d):
  r = math.exp(d)
  return (r - 1) ** 2, 2 * (r - 1) * r


@_each
def square_move(d):
  return d * d, 2 * d


def weighted_k3(logp, ref, old, mask):
  value, slope = np.zeros(logp.shape), np.zeros(logp.shape)
  for i, t in np.argwhere(mask):
    x, r = logp[i, t] - ref[i, t], math.exp(logp[i, t] - old[i, t])
    k = math.exp(-x) - 1 + x
    value[i, t], slope[i, t] = r * k, r * k + r * (1 - math.exp(-x))
  return value, slope


def difficulty_k3(logp, ref, advantages, mask, *, rewards, group, valid):
  value, slope = k3(logp, ref, mask)
  for i, t in np.argwhere(mask):
    peers = [j for j in range(len(group)) if group[j] == group[i] and valid[j]]
    accuracy = sum(rewards[j] > 0.5 for j in peers) / len(peers)
    if advantages[i, t] > 0 and 0 < accuracy < 1:
      difficulty = 1 - accuracy
      k = 1 - math.exp(-math.e * (1 - difficulty))
      value[i, t] *= k
      slope[i, t] *= k
  return value, slope


def action_fall(logp, old, advantages, mask, turn):
  value, slope = np.zeros(logp.shape), np.zeros(logp.shape)
  for i in range(len(logp)):
    chosen = np.flatnonzero(mask[i])
    if any(advantages[i, t] < 0 for t in chosen):
      continue
    for t in chosen:
      action = [u for u in chosen if turn[i, u] == turn[i, t]]
      d = old[i, t] - logp[i, t]
      if sum(old[i, u] - logp[i, u] for u in action) > 0:
        value[i, t], slope[i, t] = max(0.0, d), -1.0 * (d > 0)
  return value, slope


def likelihood_fall(logp, old, advantages, mask):
  return action_fall(logp, old, advantages, mask, np.zeros(mask.shape))


def squared_value_error(values, old, targets, mask, clip=0.2):
  error = np.zeros(values.shape)
  for i, t in np.argwhere(mask):
    v, o, y = values[i, t], old[i, t], targets[i, t]
    near = o + min(max(v - o, -clip), clip)
    error[i, t] = 0.5 * max((v - y) ** 2, (near - y) ** 2)
  return error


def classified_value_error(answers, targets, mask, *, low, high, bins, width):
  """Cross-entropy with a Gaussian around each target, bin by bin."""
  error = np.zeros(targets.shape)
  size = (high - low) / bins

  def below(border, y):
    return 0.5 * (1 + math.erf((border - y) / (width * size) / math.sqrt(2)))

  for i, t in np.argwhere(mask):
    y = min(max(targets[i, t], low), high)
    total = math.log(sum(math.exp(z) for z in answers[i, t]))
    whole = below(high, y) - below(low, y)
    for k in range(bins):
      start = low + k * size
      p = (below(start + size, y) - below(start, y)) / whole
      error[i, t] -= p * (answers[i, t, k] - total)
  return error


def outcome_cross_entropy(logits, rewards, mask):
  """Value and slope in each logit of the mean logit's cross-entropy."""
  value, slope = np.zeros(mask.shape), np.zeros(mask.shape)
  for i in range(len(mask)):
    chosen = np.flatnonzero(mask[i])
    if not chosen.size:
      continue
    p = 1 / (1 + math.exp(-np.mean(logits[i, chosen])))
    p = p if rewards[i] > 0.5 else 1 - p
    value[i, chosen] = -math.log(p)
    # Every token carries the row's loss, so the n slopes of 1 / n add up.
    slope[i, chosen] = -(1 - p) * (1 if rewards[i] > 0.5 else -1)
  return value, slope
