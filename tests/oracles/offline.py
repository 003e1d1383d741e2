"""Losses of whole responses in NumPy float64, by loops over pairs.

Each takes `logp` and, for what the papers hold constant, `fixed`, the same
values: a test differentiates numerically in `logp` alone.
"""

from __future__ import annotations

import math

import numpy as np


def slope(loss, logp, step=1e-5):
  """d sum_i loss_i / d logp by central differences, f64[N, T]."""
  out = np.zeros(logp.shape)
  for index in np.ndindex(*logp.shape):
    move = np.zeros(logp.shape)
    move[index] = step
    difference = np.sum(loss(logp + move)) - np.sum(loss(logp - move))
    out[index] = difference / (2 * step)
  return out


def _log_ratio(logp, other, mask, i):
  return sum(logp[i, t] - other[i, t] for t in np.flatnonzero(mask[i]))


def _mean(x, mask, i):
  chosen = np.flatnonzero(mask[i])
  return sum(x[i, t] for t in chosen) / len(chosen) if len(chosen) else 0.0


def contrastive(
  logp, fixed, old, a, mask, *, ref_logp, rewards, group, valid, weight=0.1
):
  """Pairs i < j of -[sg(R_i - R_j) l_i + sg(R_j - R_i) l_j] / (n - 1)."""
  rows = len(logp)
  l = [_log_ratio(logp, ref_logp, mask, i) for i in range(rows)]
  held = [_log_ratio(fixed, ref_logp, mask, i) for i in range(rows)]
  out = np.zeros(rows)
  for i in range(rows):
    peers = [j for j in range(rows) if group[j] == group[i] and valid[j]]
    for j in peers:
      if j == i or not valid[i]:
        continue
      gap = rewards[i] - rewards[j] - weight * (held[i] - held[j])
      out[i] -= gap * l[i] / (len(peers) - 1)
  return out


def advantage_regression(logp, fixed, old, a, mask, *, ref_logp, weight=0.1):
  return np.array(
    [
      0.5
      * (_mean(a, mask, i) / weight - _log_ratio(logp, ref_logp, mask, i)) ** 2
      for i in range(len(logp))
    ]
  )


def proximal_regression(logp, fixed, old, a, mask, *, weight=0.1):
  return np.array(
    [
      (_mean(a, mask, i) - weight * _log_ratio(logp, old, mask, i)) ** 2
      for i in range(len(logp))
    ]
  )


def centred_regression(logp, fixed, old, a, mask, *, group, valid, weight=0.1):
  """Each row's half square times n, over n - 1."""
  rows = range(len(logp))
  live = [i for i in rows if valid[i] and mask[i].any()]
  l = [_log_ratio(logp, old, mask, i) for i in rows]
  out = np.zeros(len(logp))
  for i in live:
    peers = [l[j] for j in live if group[j] == group[i]]
    n = len(peers)
    error = _mean(a, mask, i) - weight * (l[i] - sum(peers) / n)
    out[i] = n * error**2 / (2 * (n - 1)) if n > 1 else 0.0
  return out


def _penalty(logp, fixed, old, share, hinge, limit):
  tokens = np.argwhere(share > 0)
  kl = sum(old[i, t] - logp[i, t] for i, t in tokens) / len(tokens)
  held = sum(old[i, t] - fixed[i, t] for i, t in tokens) / len(tokens)
  return hinge * max(held - limit, 0.0) * kl


def _discriminative(rule):
  def lifted(
    logp,
    fixed,
    old,
    a,
    mask,
    *,
    rewards,
    group,
    valid,
    share,
    hinge=1e3,
    limit=1e-4,
    **hyper,
  ):
    penalty = _penalty(logp, fixed, old, share, hinge, limit)
    out = np.zeros(len(logp))
    for i in range(len(logp)):
      if not valid[i]:
        continue
      peers = [
        j
        for j in range(len(logp))
        if group[j] == group[i] and valid[j] and mask[j].any()
      ]
      good = [_mean(logp, mask, j) for j in peers if rewards[j] > 0.5]
      bad = [_mean(logp, mask, j) for j in peers if rewards[j] <= 0.5]
      out[i] = penalty
      if good and bad and mask[i].any():
        out[i] -= sum(good) / len(good) - rule(bad, **hyper)
    return out

  return lifted


@_discriminative
def discriminative(bad, temperature=10.0):
  mean = sum(math.exp(s / temperature) for s in bad) / len(bad)
  return temperature * math.log(mean)


@_discriminative
def mean_discriminative(bad):
  return sum(bad) / len(bad)


def pairwise_preference(
  logp,
  fixed,
  old,
  a,
  mask,
  *,
  ref_logp,
  rewards,
  group,
  valid,
  share,
  weight=0.1,
  best_scale=2.5,
  best=1.0,
):
  losses = []
  for w in range(len(logp)):
    for l in range(len(logp)):
      same = group[w] == group[l] and valid[w] and valid[l]
      if not (same and mask[w].any() and mask[l].any()):
        continue
      if rewards[w] <= rewards[l]:
        continue
      c = best_scale if rewards[w] >= best else 1.0
      rho_w = _mean(logp - ref_logp, mask, w)
      rho_l = _mean(logp - ref_logp, mask, l)
      losses.append(math.log1p(math.exp(-c * weight * (rho_w - rho_l))))
  out = np.zeros(len(logp))
  for i in range(len(logp)):
    if not (valid[i] and mask[i].any()):
      continue
    rho = _mean(logp - ref_logp, mask, i)
    sign = 1 if rewards[i] >= best else -1
    alone = math.log1p(math.exp(-sign * rho))
    out[i] = sum(losses) / len(losses) if losses else alone
  return out
