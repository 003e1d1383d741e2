"""Row advantages of GDC, HPT, ASPO and STCR in NumPy float64, by loops."""

from __future__ import annotations

import math

import numpy as np


def _peers(group, valid, i):
  return [j for j in range(len(group)) if group[j] == group[i] and valid[j]]


def _norm(rewards, peers, i):
  values = [rewards[j] for j in peers]
  if len(values) < 2:
    return 0.0
  return (rewards[i] - np.mean(values)) / (np.std(values, ddof=1) + 1e-6)


def tilted_target(rewards, group, valid, log_ratio, *, weight):
  """`log_ratio` f64[N]: log ref(y) - log old(y) of the response."""
  out = np.zeros(len(rewards))
  for i in np.flatnonzero(valid):
    w = {
      j: math.exp(rewards[j] / weight + log_ratio[j])
      for j in _peers(group, valid, i)
    }
    out[i] = w[i] / (sum(w.values()) / len(w)) - 1
  return out


def switched(rewards, group, valid, offline, *, gate, weight):
  out = np.zeros(len(rewards))
  for i in np.flatnonzero(valid):
    own = [j for j in _peers(group, valid, i) if not offline[j]]
    p = sum(rewards[j] > 0.5 for j in own) / len(own) if own else 0.0
    if offline[i]:
      out[i] = weight if p <= gate else 0.0
    elif p > gate:
      out[i] = rewards[i] - np.mean([rewards[j] for j in own])
  return out


def distinct(rewards, group, valid, quality, *, gap):
  out = np.zeros(len(rewards))
  for i in np.flatnonzero(valid):
    peers = _peers(group, valid, i)
    far = [j for j in peers if abs(quality[i] - quality[j]) >= gap]
    total = sum(rewards[i] - rewards[j] for j in far) / len(peers)
    spread = np.std(rewards[peers], ddof=1) if len(peers) > 1 else 0.0
    out[i] = total / (spread + 1e-6)
  return out


def timed_tools(rewards, group, valid, start, length, *, delta, bound):
  out = np.zeros(len(rewards))
  for i in np.flatnonzero(valid):
    peers = _peers(group, valid, i)
    out[i] = _norm(rewards, peers, i)
    used = [j for j in peers if rewards[j] > 0.5 and start[j] >= 0]
    if i in used:
      shift = delta * (start[i] - np.mean([start[j] for j in used]))
      shift /= np.mean([length[j] for j in used])
      most = bound * abs(out[i])
      out[i] += min(max(shift, -most), most)
  return out


def longer_failures(rewards, group, valid, length, *, base):
  out = np.zeros(len(rewards))
  for i in np.flatnonzero(valid):
    peers = _peers(group, valid, i)
    out[i] = _norm(rewards, peers, i)
    good = [length[j] for j in peers if rewards[j] > 0.5]
    if rewards[i] <= 0.5 and good and length[i] > np.mean(good):
      out[i] *= 1 + (1 - base ** -(length[i] - np.mean(good)))
  return out
