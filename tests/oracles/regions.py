"""Regions token by token in NumPy float64."""

from __future__ import annotations

import math

import numpy as np


def _each(rule):
  """Lifts rule(i, t, **arrays) to arrays, 0 off the mask."""

  def lifted(logp, old, advantages, mask, **given):
    out = np.zeros(logp.shape)
    for i, t in np.argwhere(mask):
      row = [int(u) for u in np.flatnonzero(mask[i])]
      out[i, t] = rule(i, t, row, logp, old, advantages, **given)
    return out

  return lifted


@_each
def ratio_band(
  i, t, row, logp, old, a, *, sampler_logp, low=0.999, high=1.001, level='mean'
):
  gaps = [old[i, u] - sampler_logp[i, u] for u in row]
  gap = {
    'token': old[i, t] - sampler_logp[i, t],
    'sum': sum(gaps),
    'mean': sum(gaps) / len(gaps),
  }[level]
  return low <= math.exp(gap) <= high


@_each
def divergence_band(
  i, t, row, logp, old, a, *, sampler_logp, high=0.01, form='k3', level='mean'
):
  def k(u):
    gap = old[i, u] - sampler_logp[i, u]
    return gap * gap / 2 if form == 'k2' else math.exp(gap) - 1 - gap

  each = [k(u) for u in row]
  value = {
    'token': k(t),
    'sum': sum(each),
    'mean': sum(each) / len(each),
    'max': max(each),
  }[level]
  return value <= high


@_each
def outlier_rows(
  i, t, row, logp, old, a, *, sampler_logp, low=1e-4, high=100.0
):
  ratios = [math.exp(old[i, u] - sampler_logp[i, u]) for u in row]
  return all(low <= ratio <= high for ratio in ratios)


@_each
def mismatched_rows(i, t, row, logp, old, a, *, sampler_logp, high=math.inf):
  factors = [math.exp(abs(old[i, u] - sampler_logp[i, u])) for u in row]
  return sum(factors) / len(factors) <= high


@_each
def fallen_negatives(i, t, row, logp, old, a, *, sampler_logp, fall=0.5):
  fallen = sum(sampler_logp[i, u] - logp[i, u] for u in row) / len(row)
  return a[i, t] >= 0 or fallen <= fall


@_each
def total_variation(i, t, row, logp, old, a, *, low=0.2, high=0.2):
  move = math.exp(min(logp[i, t], 0)) - math.exp(old[i, t])
  return move <= high if a[i, t] > 0 else move >= -low


@_each
def total_variation_ball(i, t, row, logp, old, a, *, width=0.1):
  return abs(math.exp(min(logp[i, t], 0)) - math.exp(old[i, t])) <= width


@_each
def coin_divergence(i, t, row, logp, old, a, *, low=0.05, high=0.05):
  p, q = math.exp(min(logp[i, t], 0)), math.exp(old[i, t])
  k = q * math.log(q / p) + (1 - q) * math.log((1 - q + 1e-8) / (1 - p + 1e-8))
  return k <= high or p <= q if a[i, t] > 0 else k <= low or p >= q


def second_moment(logp, old, advantages, mask, *, share, limit=0.04):
  """The largest set there is, found by dropping the furthest token."""
  d = logp - old
  along = [
    tuple(it)
    for it in np.argwhere(share > 0)
    if advantages[tuple(it)] * d[tuple(it)] > 0
  ]
  kept = sorted(along, key=lambda it: d[it] ** 2)
  while kept and sum(d[it] ** 2 for it in kept) / len(kept) > limit:
    kept.pop()
  out = np.where(mask, 1.0, 0.0)
  for it in along:
    out[it] = it in kept
  return out


def uncertain_tokens(logp, old, advantages, mask, *, entropy, share, part=0.2):
  level = np.quantile(entropy[share > 0], 1 - part)
  return np.where(mask & (share > 0) & (entropy >= level), 1.0, 0.0)


@_each
def steady_entropy(
  i, t, row, logp, old, a, *, entropy, old_entropy, low=0.8, high=1.2
):
  return low < (entropy[i, t] + 1e-8) / (old_entropy[i, t] + 1e-8) < high


@_each
def tapered_negatives(i, t, row, logp, old, a, *, rewards, correct=0.0):
  product = math.exp(sum(logp[i, u] - old[i, u] for u in row))
  return 1.0 if rewards[i] > correct else min(product, 1.0)


@_each
def gamma_weight(i, t, row, logp, old, a, *, up=(2.0, 3.0), down=(3.0, 2.0)):
  w = math.exp(sum(logp[i, u] - old[i, u] for u in row))
  k, lam = up if a[i, t] >= 0 else down
  return w**k * math.exp(lam * (1 - w))


def balanced_importance(
  logp, old, advantages, mask, *, sampler_logp, share, cap=2.0
):
  tokens = [tuple(it) for it in np.argwhere(share > 0)]
  w = {it: min(math.exp(old[it] - sampler_logp[it]), cap) for it in tokens}
  mean = sum(w.values()) / len(w)
  out = np.zeros(mask.shape)
  for it in tokens:
    out[it] = w[it] / mean
  return out
