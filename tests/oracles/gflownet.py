"""Balance losses, one run of tokens at a time."""

import numpy as np


def _log_reward(x, mask, i, weight):
  rows = np.flatnonzero(mask[i])
  return sum(x['ref_logp'][i, t] for t in rows) + x['rewards'][i] / weight


def _residuals(logp, flow, end, mask, i):
  """Of the chosen tokens of row i, in order."""
  chosen = np.flatnonzero(mask[i])
  flows = [flow[i, t] for t in chosen] + [end]
  return [flows[k] + logp[i, t] - flows[k + 1] for k, t in enumerate(chosen)]


def _runs(delta, decay):
  total, mass = 0.0, 0.0
  for i in range(len(delta)):
    for j in range(i, len(delta)):
      weight = decay ** (j - i + 1)
      total += weight * sum(delta[i : j + 1]) ** 2
      mass += weight
  return total / mass if mass else 0.0


def trajectory_balance(logp, fixed, mask, x, weight=0.1):
  out = np.zeros(len(logp))
  for i in range(len(logp)):
    end = _log_reward(x, mask, i, weight)
    out[i] = sum(_residuals(logp, x['values'], end, mask, i)) ** 2
  return out


def detailed_balance(logp, fixed, mask, x, weight=0.1):
  out = np.zeros(logp.shape)
  for i in range(len(logp)):
    end = _log_reward(x, mask, i, weight)
    delta = _residuals(logp, x['values'], end, mask, i)
    out[i, mask[i]] = np.square(delta)
  return out


def sub_trajectory_balance(logp, fixed, mask, x, weight=0.1, decay=1.0):
  out = np.zeros(len(logp))
  for i in range(len(logp)):
    end = _log_reward(x, mask, i, weight)
    delta = _residuals(logp, x['values'], end, mask, i)
    out[i] = _runs(delta, decay)
  return out


def _local(logp, energy, mask, x, i):
  local = logp[i] - x['ref_logp'][i] - energy
  return _residuals(local[None], x['values'][i][None], 0.0, mask[[i]], 0)


def forward_looking(logp, fixed, mask, x, weight=0.1):
  out = np.zeros(logp.shape)
  for i in range(len(logp)):
    energy = np.zeros(logp.shape[1])
    if mask[i].any():
      energy[np.flatnonzero(mask[i])[-1]] = x['rewards'][i] / weight
    out[i, mask[i]] = np.square(_local(logp, energy, mask, x, i))
  return out


def learned_energies(logp, fixed, mask, x, weight=0.1):
  out = np.zeros(len(logp))
  for i in range(len(logp)):
    if mask[i].any():
      parts = x['after_values'][i]
      delta = _local(logp, parts, mask, x, i)
      fit = sum(parts[mask[i]]) - x['rewards'][i] / weight
      out[i] = fit**2 + np.mean(np.square(delta))
  return out


def stoppable_balance(logp, fixed, mask, x, stop=0, decay=1.0):
  out = np.zeros(len(logp))
  for i in range(len(logp)):
    chosen = np.flatnonzero(mask[i])
    flow = x['prefix_reward'][i] - x['log_probs'][i, :, stop]
    delta = [flow[t] + logp[i, t] - flow[u] for t, u in zip(chosen, chosen[1:])]
    out[i] = _runs(delta, decay)
  return out


def variance(scores, rewards, live, x, weight=0.1):
  """The mean is held at the same scores: its slope is 0 to first order."""
  rows = np.flatnonzero(live)
  cost = [rewards[j] / weight - scores[j] for j in rows]
  return float(np.var(cost)) if len(rows) else 0.0


def ordered(c, r, gap, hc, hr):
  label = {1.0: 1.0, 0.0: 0.5, -1.0: 0.0}[float(np.sign(gap))]
  return label * np.log1p(np.exp(r - c)) + (1 - label) * np.log1p(np.exp(c - r))


def pareto(scores, rewards, live, x):
  rows = np.flatnonzero(live)
  points = x['components']
  front = [
    i
    for i in rows
    if not any(
      (points[j] >= points[i]).all() and (points[j] > points[i]).any()
      for j in rows
    )
  ]
  log_z = np.log(sum(np.exp(scores[j]) for j in rows)) if len(rows) else 0.0
  return -np.mean([scores[i] - log_z for i in front]) if front else 0.0


def thoughtful_likelihood(logp, old, mask, i, x, thought_weight=0.4):
  return sum(
    logp[i, t] * (thought_weight if x['thought'][i, t] else 1.0)
    for t in np.flatnonzero(mask[i])
  )
