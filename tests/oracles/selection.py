"""Selection in NumPy float64, group by group from the papers."""

from __future__ import annotations

import itertools

import numpy as np


def mixed_groups(rewards, group, valid):
  """A group trains when the spread of its rewards is positive."""
  out = np.zeros(len(rewards))
  for g in set(np.asarray(group).tolist()):
    rows = [i for i in range(len(group)) if group[i] == g and valid[i]]
    if rows and len({float(rewards[i]) for i in rows}) > 1:
      out[rows] = 1.0
  return out


def pf_ppo(rewards, group, valid, strategy):
  """The draw probabilities of the rows of each group, without ties."""
  out = np.zeros(len(rewards))
  for g in set(np.asarray(group).tolist()):
    rows = [i for i in range(len(group)) if group[i] == g and valid[i]]
    rows.sort(key=lambda i: -rewards[i])
    n = len(rows)
    if not n:
      continue
    best, rest = {
      'best': (1.0, [0.0] * (n - 1)),
      'best_worst': (0.5, [0.0] * (n - 2) + [0.5]),
      'best_random': (0.5, [0.5 / max(n - 1, 1)] * (n - 1)),
    }[strategy]
    chances = [1.0] if n == 1 else [best, *rest]
    out[rows] = chances
  return out


def determination(rewards, scores, weights):
  """The square of the weighted correlation of two lists."""
  x, y, w = (np.asarray(a, np.float64) for a in (rewards, scores, weights))
  table = np.cov(x, y, aweights=w, ddof=0)
  return table[0, 1] ** 2 / (table[0, 0] * table[1, 1])


def most_varied(values, size):
  """The subset of that size with the largest variance, by trying all."""
  best, kept = -1.0, None
  for subset in itertools.combinations(range(len(values)), size):
    variance = np.var(np.asarray(values, np.float64)[list(subset)])
    if variance > best + 1e-12:
      best, kept = variance, subset
  return best, kept


def capo_moments(advantage, probs, action, hidden, rate):
  """Second-order objective and policy change of one token's own SGD step."""
  score = -np.asarray(probs, np.float64)
  score[action] += 1.0
  gradient = advantage * np.outer(score, hidden)
  u = gradient @ hidden
  fisher = np.diag(probs) - np.outer(probs, probs)
  policy = 0.5 * rate**2 * (score @ u) ** 2
  hessian = advantage * ((score @ u) ** 2 - u @ fisher @ u)
  objective = rate * np.sum(gradient**2) + 0.5 * rate**2 * hessian
  return objective, policy


def knapsack_value(n, p):
  """Chance of a mixed group times the information of a success."""
  return (1 - p**n - (1 - p) ** n) * p * (1 - p) ** 2


def best_budget(values, total, least, most):
  """The best split by trying all: values[i](n) summed."""
  best, kept = -np.inf, None
  ranges = [range(least, most + 1)] * len(values)
  for split in itertools.product(*ranges):
    if sum(split) == total:
      value = sum(f(n) for f, n in zip(values, split))
      if value > best + 1e-12:
        best, kept = value, split
  return best, kept


def sec(values, domains, magnitudes, rate):
  values = np.array(values, np.float64)
  for d in range(len(values)):
    drawn = [m for m, e in zip(magnitudes, domains) if e == d]
    if drawn:
      values[d] = rate * np.mean(drawn) + (1 - rate) * values[d]
  return values


def dump(histories, window, temperature):
  """Probabilities from the whole history of |A| of every domain."""
  total = sum(len(h) for h in histories)
  scores = []
  for h in histories:
    mean = np.mean(h[-window:]) if h else 0.0
    bonus = np.sqrt(2 * np.log(total + 1) / (len(h) + 1))
    scores.append((mean + bonus) / temperature)
  chances = np.exp(np.array(scores) - max(scores))
  return chances / chances.sum()
