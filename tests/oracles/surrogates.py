"""Surrogates token by token in NumPy float64, with slopes worked by hand.

Each returns (loss, slope), f64[N, T]: the loss of each token and its
derivative in that token's own log-prob, everything the papers hold constant
held constant. Off the mask both are 0.
"""

from __future__ import annotations

import math

import numpy as np


def _tokens(mask):
  return [tuple(index) for index in np.argwhere(mask)]


def _each(rule):
  """Lifts rule(logp, old, A, **hyper) -> (loss, slope) to arrays."""

  def lifted(logp, old, advantages, mask, **hyper):
    loss, slope = np.zeros(logp.shape), np.zeros(logp.shape)
    for i, t in _tokens(mask):
      own = {
        k: v[i, t] if isinstance(v, np.ndarray) else v for k, v in hyper.items()
      }
      loss[i, t], slope[i, t] = rule(
        logp[i, t], old[i, t], advantages[i, t], **own
      )
    return loss, slope

  return lifted


@_each
def score_function(logp, old, a):
  return -a * logp, -a


@_each
def importance(logp, old, a):
  r = math.exp(logp - old)
  return -r * a, -r * a


@_each
def importance_weight(logp, old, a):
  r = math.exp(logp - old)
  return -r * a * logp, -r * a


def _clip(r, a, low, high):
  free, bounded = -r * a, -min(max(r, 1 - low), 1 + high) * a
  return (free, -r * a) if free >= bounded else (bounded, 0.0)


@_each
def clip(logp, old, a, low=0.2, high=0.2):
  return _clip(math.exp(logp - old), a, low, high)


@_each
def dual_clip(logp, old, a, low=0.2, high=0.2, bound=3.0):
  loss, slope = _clip(math.exp(logp - old), a, low, high)
  if a < 0 and loss > -bound * a:
    return -bound * a, 0.0
  return loss, slope


def undersampled(logp, old, advantages, mask, *, width=0.3):
  down = -np.ones(logp.shape)
  return clip(logp, old, down, mask, low=width, high=width)


@_each
def clip_weight(logp, old, a, low=1.0, high=4.0):
  weight = min(max(math.exp(logp - old), 1 - low), 1 + high)
  return -weight * a * logp, -weight * a


@_each
def soft_clip(logp, old, a, up=1.0, down=1.05):
  r = math.exp(logp - old)
  tau = up if a > 0 else down
  p = 1 / (1 + math.exp(-tau * (r - 1)))
  return -a * 4 / tau * p, -a * 4 * p * (1 - p) * r


@_each
def carried_clip(
  logp, old, a, low=0.2, high=0.2, down=0.75, up=1.0, bound=10.0
):
  r = math.exp(logp - old)
  if a < 0 and r < 1 - low:
    return -down * (1 - low) * a, -down * (1 - low) * a
  if a > 0 and r > 1 + high:
    return -up * (1 + high) * a, -up * (1 + high) * a
  if a < 0 and r > bound:
    return -bound * a, 0.0
  return -r * a, -r * a


@_each
def flipped_clip(logp, old, a, low=0.2, high=0.2, bound=3.0):
  r = math.exp(logp - old)
  if (a < 0 and r > bound) or (a >= 0 and 1 / r > bound):
    return -bound * a * logp, -bound * a
  if a < 0:
    return -a * max(r, 1 - low), -a * r if r > 1 - low else 0.0
  weight = 1 / min(r, 1 + high)
  return -a * weight, -a * weight if r < 1 + high else 0.0


@_each
def quadratic(logp, old, a, width=0.2):
  r = math.exp(logp - old)
  loss = -r * a + abs(a) / (2 * width) * (r - 1) ** 2
  return loss, -a * r + abs(a) / width * (r - 1) * r


@_each
def pulled(logp, old, a, weight=0.1):
  d = logp - old
  return -(a * logp - weight / 2 * d * d), -a + weight * d


def shaped_offline(logp, old, advantages, mask, gamma=0.1, offline=None):
  loss, slope = importance(logp, old, advantages, mask)
  for i, t in _tokens(mask):
    if offline[i]:
      p, a = math.exp(logp[i, t]), advantages[i, t]
      loss[i, t] = -a * p / (p + gamma)
      slope[i, t] = -a * gamma * p / (p + gamma) ** 2
  return loss, slope


def _length(mask, i):
  return sum(1 for m in mask[i] if m)


def sequence_clip(logp, old, advantages, mask, low=3e-4, high=4e-4):
  loss, slope = np.zeros(logp.shape), np.zeros(logp.shape)
  for i, t in _tokens(mask):
    total = sum(logp[i, u] - old[i, u] for u in np.flatnonzero(mask[i]))
    s = math.exp(total / _length(mask, i))
    loss[i, t], slope[i, t] = _clip(s, advantages[i, t], low, high)
  return loss, slope


def product_clip(logp, old, advantages, mask, low=0.2, high=0.2):
  loss, slope = np.zeros(logp.shape), np.zeros(logp.shape)
  for i, t in _tokens(mask):
    s = math.exp(sum(logp[i, u] - old[i, u] for u in np.flatnonzero(mask[i])))
    row, slope[i, t] = _clip(s, advantages[i, t], low, high)
    loss[i, t] = row / _length(mask, i)
  return loss, slope


def geometric_clip(logp, old, advantages, mask, low=0.4, high=0.4):
  loss, slope = np.zeros(logp.shape), np.zeros(logp.shape)
  for i in range(len(logp)):
    chosen = np.flatnonzero(mask[i])
    moves = {}
    for t in chosen:
      sign = np.sign(advantages[i, t])
      d = logp[i, t] - old[i, t]
      bounded = min(max(d, -low), high)
      moves[t] = sign * min(sign * d, sign * bounded)
    for t in chosen:
      a, d = advantages[i, t], logp[i, t] - old[i, t]
      mean = math.exp(sum(moves.values()) / len(chosen))
      loss[i, t] = -a * mean
      slope[i, t] = -a * mean * (moves[t] == d)
  return loss, slope


def hybrid_clip(
  logp, old, advantages, mask, weight=0.5, sequence_low=3e-4, sequence_high=4e-4
):
  token = clip(logp, old, advantages, mask)
  row = sequence_clip(
    logp, old, advantages, mask, low=sequence_low, high=sequence_high
  )
  return tuple(weight * a + (1 - weight) * b for a, b in zip(token, row))


def entropy_hybrid_clip(
  logp, old, advantages, mask, *, entropy, share, **hyper
):
  seen = [entropy[i, t] for i, t in _tokens(share > 0)]
  weight = np.zeros(logp.shape)
  for i, t in _tokens(share > 0):
    if max(seen) > min(seen):
      weight[i, t] = (entropy[i, t] - min(seen)) / (max(seen) - min(seen))
  return hybrid_clip(logp, old, advantages, mask, weight=weight, **hyper)


def elastic_clip(
  logp,
  old,
  advantages,
  mask,
  *,
  rewards,
  group,
  valid,
  low=0.2,
  high=0.2,
  micro=0.5,
  macro=0.5,
):
  scale = np.zeros(logp.shape)
  for i, t in _tokens(mask):
    peers = [j for j in range(len(group)) if group[j] == group[i] and valid[j]]
    p = sum(rewards[j] > 0.5 for j in peers) / len(peers)
    scale[i, t] = 1 + micro * math.tanh(abs(advantages[i, t]))
    scale[i, t] *= 1 + macro * 4 * p * (1 - p)
  return clip(logp, old, advantages, mask, low=scale * low, high=scale * high)


def heterogeneous_clip(
  logp, old, advantages, mask, *, entropy, share, low=0.2, high=0.2, bound=10.0
):
  """alpha = beta = 1, the 0.8 quantile, as in the paper."""
  tokens = _tokens(share > 0)
  e = {it: math.log(max(entropy[it], 1e-8)) for it in tokens}
  ordered = sorted(e.values())
  pivot = ordered[round(0.8 * (len(ordered) - 1))]
  z = {it: value - pivot for it, value in e.items()}
  rms = math.sqrt(sum(v**2 for v in z.values()) / len(z))
  z = {it: v / rms if rms else 0.0 for it, v in z.items()}
  top, bottom = max(z.values()), min(z.values())
  a = advantages.copy()
  lows, highs = np.zeros(logp.shape), np.zeros(logp.shape)
  for it in tokens:
    h = z[it] / top if z[it] > 0 else (z[it] / abs(bottom) if bottom else 0.0)
    lows[it] = low if h > 0 else low * (1 - h)
    highs[it] = high * (1 + h) if h > 0 else high
    r = math.exp(logp[it] - old[it])
    inside = 1 - lows[it] / 2 < r < 1 + highs[it] / 2
    if (h > 0 and not inside) or (h <= 0 and inside):
      a[it] *= 1 + h
  return dual_clip(logp, old, a, mask, low=lows, high=highs, bound=bound)


def balanced_clip(
  logp,
  old,
  advantages,
  mask,
  *,
  share,
  low=0.6,
  low_most=0.8,
  high=1.2,
  high_most=2.0,
  step=0.05,
  target=0.5,
):
  """The two while loops of the published search."""
  tokens = _tokens(share > 0)

  def rho(lower, upper):
    positive = negative = 0.0
    for it in tokens:
      r, a = math.exp(logp[it] - old[it]), advantages[it]
      if a > 0:
        positive += min(r, upper) * a
      else:
        negative += max(r, lower) * -a
    return positive / (positive + negative) if positive + negative else 1.0

  while rho(low, high) < target and low < low_most - 1e-9:
    low = min(low + step, low_most)
  while rho(low, high) < target and high < high_most - 1e-9:
    high = min(high + step, high_most)
  return clip(logp, old, advantages, mask, low=1 - low, high=high - 1)


def covariances(logp, advantages, share):
  tokens = _tokens(share > 0)
  a = sum(advantages[it] for it in tokens) / len(tokens)
  x = sum(logp[it] for it in tokens) / len(tokens)
  return {it: (advantages[it] - a) * (logp[it] - x) for it in tokens}


def covariance_penalty(
  logp, old, advantages, mask, *, share, fraction=2e-4, weight=1.0
):
  loss, slope = importance(logp, old, advantages, mask)
  cov = covariances(logp, advantages, share)
  number = max(int(fraction * len(cov)), 1)
  for it in sorted(cov, key=cov.get, reverse=True)[:number]:
    d = logp[it] - old[it]
    loss[it] += weight * abs(d)
    slope[it] += weight * np.sign(d)
  return loss, slope
