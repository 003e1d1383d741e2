"""Advantages in NumPy float64, written as loops from the papers."""

from __future__ import annotations

import numpy as np
from scipy import stats


def _members(group, valid):
  """{group id: indices of its valid rows}."""
  members = {}
  for i, (g, v) in enumerate(zip(group, valid)):
    if v:
      members.setdefault(int(g), []).append(i)
  return members


def _filled(rewards, group, valid, of_group):
  out = np.zeros(len(rewards), np.float64)
  for rows in _members(group, valid).values():
    out[rows] = of_group(np.asarray(rewards, np.float64)[rows])
  return out


def _spread(x, ddof):
  """0 where the spread is not defined."""
  return 0.0 if len(x) <= ddof else x.std(ddof=ddof)


def grpo(rewards, group, valid, epsilon=1e-6, ddof=1):
  def of_group(r):
    return (r - r.mean()) / (_spread(r, ddof) + epsilon)

  return _filled(rewards, group, valid, of_group)


def dr_grpo(rewards, group, valid):
  return _filled(rewards, group, valid, lambda r: r - r.mean())


def rloo(rewards, group, valid):
  def of_group(r):
    if len(r) == 1:
      return np.zeros(1)
    return [x - np.delete(r, i).mean() for i, x in enumerate(r)]

  return _filled(rewards, group, valid, of_group)


def lite_ppo(rewards, group, valid, epsilon=1e-6):
  kept = np.asarray(rewards, np.float64)[np.asarray(valid)]
  return dr_grpo(rewards, group, valid) / (_spread(kept, 1) + epsilon)


def dgae(rewards, group, valid, epsilon=1e-4):
  def of_group(r):
    centred = r - r.mean()
    return len(r) * centred / (np.abs(centred).sum() + epsilon)

  return _filled(rewards, group, valid, of_group)


def dgpo(rewards, group, valid, temperature=2.0, epsilon=1e-4):
  rewards = np.asarray(rewards, np.float64)
  live = {
    g: rewards[rows].mean()
    for g, rows in _members(group, valid).items()
    if rewards[rows].max() > rewards[rows].min()
  }
  total = sum(np.exp(-m / temperature) for m in live.values())
  out = dgae(rewards, group, valid, epsilon)
  for g, m in live.items():
    weight = len(live) * np.exp(-m / temperature) / total
    out[np.asarray(group) == g] *= weight
  return out


def bnpo(rewards, group, valid, cap=1e6):
  rewards = np.asarray(rewards, np.float64)
  means = {g: rewards[i].mean() for g, i in _members(group, valid).items()}
  p = np.array(list(means.values()))
  alpha = beta = 1.0
  if len(p) > 1 and p.max() > p.min():
    m, v = p.mean(), p.var(ddof=1)
    c = m * (1 - m) / v - 1
    alpha, beta = max(1, 1 + c * m / 3), max(1, 1 + c * (1 - m) / 3)
  out = dr_grpo(rewards, group, valid)
  for i, g in enumerate(group):
    if valid[i]:
      density = stats.beta.pdf(means[int(g)], alpha, beta)
      out[i] *= cap if density == 0 else min(1 / density, cap)
  return out


def gdpo(components, weights, group, valid, epsilon=1e-4):
  """Before the batch normalisation."""
  out = np.zeros(len(group))
  for k, w in enumerate(weights):
    out += w * grpo(components[:, k], group, valid, epsilon)
  return out


def z_rows(values, counts, epsilon=1e-8):
  kept = values[counts]
  out = np.zeros_like(values)
  out[counts] = (kept - kept.mean()) / (_spread(kept, 1) + epsilon)
  return out


def whiten_tokens(x, mask, epsilon=1e-8):
  kept = np.asarray(x, np.float64)[mask]
  out = np.zeros(mask.shape)
  if len(kept) > 1:
    out[mask] = (kept - kept.mean()) / np.sqrt(kept.var(ddof=1) + epsilon)
  return out


def reward_to_go(rewards, kl, mask, kl_weight, decay):
  """Backwards over the chosen tokens only."""
  out = np.zeros(mask.shape)
  for i in range(mask.shape[0]):
    places = np.flatnonzero(mask[i])
    following = 0.0
    for place in places[::-1]:
      reward = rewards[i] if place == places[-1] else 0.0
      following = reward - kl_weight * kl[i, place] + decay * following
      out[i, place] = following
  return out


def gae(rewards, values, mask, discount, trace):
  advantages, targets = np.zeros(mask.shape), np.zeros(mask.shape)
  for i in range(mask.shape[0]):
    places = np.flatnonzero(mask[i])
    steps = len(places)
    v = [values[i, p] for p in places] + [0.0]
    q = [0.0] * (steps - 1) + [rewards[i]]
    for s, place in enumerate(places):
      total = 0.0
      for u in range(s, steps):
        delta = q[u] + discount * v[u + 1] - v[u]
        total += (discount * trace) ** (u - s) * delta
      advantages[i, place] = total
      targets[i, place] = total + values[i, place]
  return advantages, targets


class SingleStream:
  """Beta counts of one task at a time."""

  def __init__(self, tasks, half_life=0.06, low=0.875, high=0.96):
    self.success = np.full(tasks, 0.5 / (1 - low))
    self.failure = self.success.copy()
    self.half_life, self.low, self.high = half_life, low, high

  def step(self, tasks, rewards, drift, valid):
    values = self.success / (self.success + self.failure)
    out = np.where(valid, rewards - values[tasks], 0.0)
    for task in set(np.asarray(tasks)[valid].tolist()):
      rows = [i for i, t in enumerate(tasks) if t == task and valid[i]]
      d = np.mean([drift[i] for i in rows])
      rho = min(max(2 ** (-d / self.half_life), self.low), self.high)
      won = sum(rewards[i] for i in rows)
      self.success[task] = rho * self.success[task] + won
      self.failure[task] = rho * self.failure[task] + len(rows) - won
    return out
