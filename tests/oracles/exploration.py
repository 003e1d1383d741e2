"""Advantages of tempered policies in NumPy float64, by loops."""

from __future__ import annotations

import math

import numpy as np


def tempered_mix(
  advantages, rewards, valid, mask, log_probs, tokens, entropy, *, target
):
  """DCPO at temperatures 1.2 and 0.8; mask is that of valid rows."""
  heat = 1.2 if entropy <= target else 0.8
  rate = sum(r > 0.05 for r, v in zip(rewards, valid) if v)
  rate /= max(sum(valid), 1)
  out, surprise = np.zeros(mask.shape), []
  for i, t in np.argwhere(mask):
    row, token = log_probs[i, t], tokens[i, t]
    surprise.append(-row[token])
    x = min(abs(target - entropy), 0.1) / rate if rate else 0.0
    share = x / (1 + x)
    out[i, t] = (1 - share) * advantages[i, t]
    if rewards[i] > 0.05:
      total = sum(math.exp(z / heat) for z in row)
      tempered = math.exp(row[token] / heat) / total
      out[i, t] += share * tempered / math.exp(row[token])
  return out, np.mean(surprise) if surprise else entropy


def _norm(rewards, peers, i):
  values = [rewards[j] for j in peers]
  if len(values) < 2:
    return 0.0
  return (rewards[i] - np.mean(values)) / (np.std(values, ddof=1) + 1e-6)


def tempered_successes(rewards, group, valid, heat, *, most):
  """Advantage and weight of each row."""
  out, keep = np.zeros(len(rewards)), np.zeros(len(rewards))
  rows = np.flatnonzero(valid)
  for i in rows:
    out[i] = _norm(rewards, [j for j in rows if group[j] == group[i]], i)
  own = [i for i in rows if heat[i] == 1]
  found = [i for i in rows if heat[i] != 1 and out[i] > 0.05]
  number = min(most, len(found))
  if any(h < 1 for h in heat):
    number //= 2
  for i in rows:
    if i in own:
      keep[i] = max(1 - number / len(own), 0)
    else:
      out[i] = float(i in found)
      keep[i] = number / len(found) if i in found else 0
  return out, keep


def norm_by_tokens(rewards, group, valid, length, *, most):
  out = np.zeros(len(rewards))
  counted = [i for i in np.flatnonzero(valid) if length[i]]
  for g in {group[i] for i in counted}:
    rows = [i for i in counted if group[i] == g]
    each = [rewards[i] for i in rows for _ in range(length[i])]
    mean, std = np.mean(each), np.std(each)
    for i in rows:
      out[i] = (rewards[i] - mean) / (std + 1e-6)
    if max(abs(out[i]) for i in rows) >= most:
      for i in rows:
        out[i] = _norm(rewards, rows, i)
  return out
