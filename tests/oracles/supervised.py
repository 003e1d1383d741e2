"""NFT, OREAL and A-LoL token by token in NumPy float64."""

from __future__ import annotations

import math

import numpy as np


def implicit_negative(logp, old, a, mask, *, rewards, group, valid, spread=0.0):
  loss, slope = np.zeros(logp.shape), np.zeros(logp.shape)
  for i, t in np.argwhere(mask):
    peers = [j for j in range(len(group)) if group[j] == group[i] and valid[j]]
    q = sum(rewards[j] > 0.5 for j in peers) / len(peers)
    q = min(max(q, 0.02), 0.98)
    w = {0.0: 1 - q, 0.5: math.sqrt((1 - q) / q)}[spread]
    r = math.exp(logp[i, t] - old[i, t])
    if rewards[i] > 0.5:
      loss[i, t], slope[i, t] = -w * math.log(r), -w
    else:
      floored = max((1 - q * r) / (1 - q), 1.0)
      loss[i, t] = -w * math.log(floored)
      slope[i, t] = w * q / (1 - q) * r / floored
  return loss, slope


def balanced_signs(logp, old, a, mask, *, share, negative=0.5):
  tokens = np.argwhere(share > 0)
  up = sum(a[i, t] > 0 for i, t in tokens)
  down = sum(a[i, t] < 0 for i, t in tokens)
  out = np.zeros(logp.shape)
  for i, t in tokens:
    if a[i, t] > 0:
      out[i, t] = len(tokens) / up
    elif a[i, t] < 0:
      out[i, t] = negative * len(tokens) / down
  return out


def leftover_importance(logp, old, a, mask, *, ref_logp, clip=0.9):
  out = np.zeros(logp.shape)
  for i, t in np.argwhere(mask):
    total = sum(logp[i, u] - ref_logp[i, u] for u in np.flatnonzero(mask[i]))
    ratio = min(max(math.exp(total), 1 - clip), 1 + clip)
    out[i, t] = ratio if a[i, t] > 0 else 0.0
  return out


def graded_signs(logp, old, a, mask, *, share, old_values, negative=0.5):
  out = balanced_signs(logp, old, a, mask, share=share, negative=negative)
  for i, t in np.argwhere(share > 0):
    z = [old_values[i, u] for u in np.flatnonzero(mask[i]) if u <= t]
    p = 1 / (1 + math.exp(-sum(z) / len(z)))
    if a[i, t] < 0:
      p = 1 - p
    out[i, t] *= max(0.0, (p - 0.5) / 0.5)
  return out
