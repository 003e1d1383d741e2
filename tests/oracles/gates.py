"""Gates token by token in NumPy float64."""

from __future__ import annotations

import math

import numpy as np


def _each(rule):
  def lifted(logp, old, advantages, mask, **hyper):
    out = np.zeros(logp.shape)
    for i, t in np.argwhere(mask):
      r = math.exp(logp[i, t] - old[i, t])
      out[i, t] = rule(r, advantages[i, t], **hyper)
    return out

  return lifted


@_each
def two_side(r, a, low=0.2, high=0.2):
  return float(1 - low <= r <= 1 + high)


def _one_side(r, a, low, high):
  return (a >= 0 and r <= 1 + high) or (a <= 0 and r >= 1 - low)


@_each
def one_side(r, a, low=0.2, high=0.2):
  return float(_one_side(r, a, low, high))


@_each
def ring(r, a, low=0.2, high=0.2, far_low=0.6, far_high=2.0):
  near = 1 - low <= r <= 1 + high
  back = (a >= 0 and r <= 1 - far_low) or (a <= 0 and r >= 1 + far_high)
  return float(near or back)


@_each
def exponential_advantage(r, a, temperature=1.0):
  return math.exp(a / temperature)


@_each
def gains(r, a):
  return float(a > 0)


def leftover_tokens(logp, old, advantages, mask, *, ref_logp, clip=0.9):
  out = np.zeros(logp.shape)
  for i, t in np.argwhere(mask & (advantages > 0)):
    ratio = math.exp(logp[i, t] - ref_logp[i, t])
    out[i, t] = min(max(ratio, 1 - clip), 1 + clip)
  return out


def chance(logp, old, advantages, mask):
  return np.where(mask, np.exp(np.minimum(logp, 0)), 0)


def doubt(logp, old, advantages, mask, most=1.0):
  p = chance(logp, old, advantages, mask)
  return np.where(p <= most, p * (1 - p), 0)


def shaped_chance(logp, old, advantages, mask, gamma=0.1):
  """The slope of p / (p + gamma) in log p, by differences."""

  def f(move):
    p = chance(logp + move, old, advantages, mask)
    return p / (p + gamma)

  slope = (f(1e-5) - f(-1e-5)) / 2e-5
  return np.where(logp < -1e-4, slope, gamma / (1 + gamma) ** 2) * mask


def _row_mean(d, mask, i):
  chosen = np.flatnonzero(mask[i])
  return sum(d[i, t] for t in chosen) / len(chosen)


def sequence_one_side(logp, old, advantages, mask, low=3e-4, high=4e-4):
  out = np.zeros(logp.shape)
  for i, t in np.argwhere(mask):
    s = math.exp(_row_mean(logp - old, mask, i))
    out[i, t] = _one_side(s, advantages[i, t], low, high)
  return out


def truncated_importance(logp, old, advantages, mask, *, sampler_logp, cap=2.0):
  out = np.zeros(logp.shape)
  for i, t in np.argwhere(mask):
    out[i, t] = min(math.exp(old[i, t] - sampler_logp[i, t]), cap)
  return out


def sequence_truncated_importance(
  logp, old, advantages, mask, *, sampler_logp, cap=2.0
):
  out = np.zeros(logp.shape)
  for i, t in np.argwhere(mask):
    d = old - sampler_logp
    total = sum(d[i, u] for u in np.flatnonzero(mask[i]))
    out[i, t] = min(math.exp(total), cap)
  return out


def masked_importance(
  logp, old, advantages, mask, *, sampler_logp, floor=0.5, cap=5.0
):
  out = np.zeros(logp.shape)
  for i, t in np.argwhere(mask):
    r = math.exp(old[i, t] - sampler_logp[i, t])
    out[i, t] = r if floor <= r <= cap else 0.0
  return out


def product_masked_importance(
  logp, old, advantages, mask, *, sampler_logp, floor=0.0, cap=3.0
):
  out = np.zeros(logp.shape)
  for i, t in np.argwhere(mask):
    d = old - sampler_logp
    product = math.exp(sum(d[i, u] for u in np.flatnonzero(mask[i])))
    out[i, t] = product if floor <= product <= cap else 0.0
  return out


def sequence_masked_importance(
  logp, old, advantages, mask, *, sampler_logp, floor=0.5, cap=5.0
):
  out = np.zeros(logp.shape)
  for i, t in np.argwhere(mask):
    mean = math.exp(_row_mean(old - sampler_logp, mask, i))
    inside = floor <= mean <= cap
    out[i, t] = math.exp(old[i, t] - sampler_logp[i, t]) if inside else 0.0
  return out
