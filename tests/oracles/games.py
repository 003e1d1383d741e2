"""Win rates and game losses, one row and one opponent at a time."""

import math

import numpy as np


def judged(rewards):
  size = len(rewards)
  out = np.full((size, size), 0.5)
  for i in range(size):
    for j in range(size):
      if rewards[i] != rewards[j]:
        out[i, j] = float(rewards[i] > rewards[j])
  return out


def rates(preference, live, weights):
  """sum_j weights[i][j] P[i, j] / sum_j weights[i][j], over live rows."""
  out = np.zeros(len(live))
  for i in np.flatnonzero(live):
    rivals = [j for j in np.flatnonzero(live) if weights[i][j] > 0]
    total = sum(weights[i][j] for j in rivals)
    won = sum(weights[i][j] * preference[i, j] for j in rivals)
    out[i] = won / total if total else 0.5
  return out


def win_rate_regression(scores, rewards, live, x, scale=1e3):
  rows = np.flatnonzero(live)
  total = 0.0
  for pick in (max, min):
    extreme = pick((rewards[j] for j in rows), default=0.0)
    tied = [j for j in rows if rewards[j] == extreme]
    for j in tied:
      error = scores[j] - scale * (rewards[j] - 0.5)
      total += error**2 / 2 / len(tied)
  return total


def hard_regression(c, r, gap, hc, hr, scale=1e3):
  return (c - scale / 2) ** 2 + (r + scale / 2) ** 2


def decisive(scores, rewards, live, x, best=5 / 6, gap=1 / 6, taught=2 / 6):
  size = len(rewards)
  out = np.zeros((size, size))
  for i in range(size):
    for j in range(size):
      least = taught if x['offline'][i] else gap
      far = rewards[i] - rewards[j] >= least - 1e-9
      out[i, j] = live[i] and live[j] and rewards[i] >= best - 1e-9 and far
  return out / out.sum() if out.sum() else out


def own_pairs(scores, rewards, live, x):
  own = live & ~x['opponent']
  out = np.outer(own, own) * 1.0
  np.fill_diagonal(out, 0)
  return out / out.sum() if out.sum() else out


def proximal_game(logp, fixed, old, mask, x, samples, weight=0.1, pull=0.2):
  live = x['valid'] & mask.any(1)

  def moved(z, other, i):
    return sum(z[i, t] - other[i, t] for t in np.flatnonzero(mask[i]))

  out = np.zeros(len(logp))
  for i in np.flatnonzero(live):
    start = i // samples * samples
    rivals = [j for j in range(start, start + samples) if live[j] and j != i]
    ratio = {j: math.exp(moved(fixed, old, j)) for j in [i, *rivals]}
    total = sum(ratio[j] for j in rivals)
    won = sum(ratio[j] * x['preference'][i, j - start] for j in rivals)
    chance = won / total if rivals else 0.5
    slope = weight * moved(fixed, x['ref_logp'], i)
    slope += weight / pull * moved(fixed, old, i) - (chance - 0.5)
    out[i] = ratio[i] * slope * moved(logp, old, i)
  return out
