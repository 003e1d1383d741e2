"""Oracles of the entries about how long to think, and in which mode."""

from __future__ import annotations

from math import cos, pi

import numpy as np

from tests.oracles.parts import (
  Answer,
  budget_mean,
  centred,
  clipped,
  entry,
  k3,
  like_grpo,
  mean,
  normalised,
  on_tokens,
  over_tokens,
  penalty,
  score_function,
  token_mean,
)


def _first_apart(case, first_weight):
  """f64[N, T]: first tokens have a mean of their own, all others another."""
  heads = [(i, case.columns(i)[0]) for i in case.rows]
  rest = [it for it in case.tokens if it not in heads]
  w = np.zeros(case.mask.shape)
  for it in heads:
    w[it] = first_weight / len(heads)
  for it in rest:
    w[it] = 1 / len(rest)
  return w


@entry()
def thinkless(
  case,
  *,
  right_short,
  right_thought,
  wrong,
  first_weight,
  clip_low,
  clip_high,
  kl_weight,
):
  """Arxiv 2505.13379, equations 3 to 6, and its code: no spread."""
  mode, r = case.extras['beginning'], np.zeros(len(case.valid))
  for i in np.flatnonzero(case.valid):
    right = {0: right_short, 1: right_thought} if case.rewards[i] > 0.5 else {}
    r[i] = right.get(int(mode[i]), wrong)
  a, w = centred(case, r), _first_apart(case, first_weight)
  terms = (
    clipped(case, a, clip_low, clip_high),
    penalty(case, kl_weight, k3),
  )
  return Answer(
    over_tokens(case, w, *terms), advantages=a, weights=w, rewards=r
  )


@entry()
def history_aware(
  case, *, weight, bound, clip_low, clip_high, kl_weight, epsilon
):
  """Arxiv 2505.11225, section 3: h is of the iterations before alone."""
  length, shortest = case.response_mask.sum(axis=1), {}
  for one in case.history[:-1]:
    for i in np.flatnonzero(one.valid & (one.rewards > 0.5)):
      known = shortest.get(one.task[i], length[i])
      shortest[one.task[i]] = min(known, length[i])
  r = case.rewards.copy()
  for i in np.flatnonzero(case.valid):
    h = shortest.get(case.task[i])
    if h is not None:
      c = cos(min(length[i] / h, 2) * pi / 2)
      right = case.rewards[i] > 0.5
      r[i] += weight * (max(-bound, c) if right else min(0, c))
  a = normalised(case, r, epsilon)
  return like_grpo(case, a, clip_low, clip_high, kl_weight, rewards=r)


@entry()
def train_long_think_short(
  case, *, accuracy_weight, length_weight, clip_low, clip_high, epsilon
):
  """Arxiv 2508.08940, equations 2 and 3."""
  length, r = case.response_mask.sum(axis=1), np.zeros(len(case.valid))
  for i in np.flatnonzero(case.valid):
    b = case.extras['budget'][i]
    bonus = length[i] / b if length[i] <= b else 1 - (length[i] - b) / b
    bonus = max(bonus, 0) if length[i] <= 2 * b else 0
    r[i] = accuracy_weight * case.rewards[i] + length_weight * bonus
  a = normalised(case, r, epsilon)
  return like_grpo(case, a, clip_low, clip_high, rewards=r)


def _worth(tokens, longest):
  return 4 * cos(pi * tokens / (2 * longest))


# Lengths and budgets of the case are a few tokens.
@entry(
  values={'samples': 8, 'budgets': (1, 2, 3, 4), 'longest': 4},
  moved=({'budgets': (1, 2, 3, 4), 'longest': 5},),
)
def hbpo(case, *, budgets, longest, weight, clip_low, clip_high, epsilon):
  """Arxiv 2507.15844, equations 2 to 7."""
  length, r = case.response_mask.sum(axis=1), np.zeros(len(case.valid))
  told = case.extras['beginning']
  for i in np.flatnonzero(case.valid & (case.rewards > 0.5)):
    n, b = length[i], budgets[told[i]]
    if n <= longest:
      own = _worth(n, longest) - abs(n - b) / longest
      r[i] = min(own, _worth(b, longest))
  a = normalised(case, r, epsilon)
  for rows in case.alike(case.group, told):
    promised = _worth(budgets[told[rows[0]]], longest)
    a[rows] += weight * (mean(r[i] for i in rows) - promised)
  w = token_mean(case)
  loss = over_tokens(case, w, clipped(case, a, clip_low, clip_high))
  return Answer(loss, advantages=a, weights=w, rewards=r)


@entry(moved=({'margin': 0.9},))
def hgpo_modes(
  case, *, margin, weight, clip_low, clip_high, kl_weight, epsilon
):
  """Arxiv 2505.14631, equations 5 to 13."""
  mode, r = case.extras['beginning'], case.rewards
  best, better = np.zeros((2, len(r)))
  within = case.alike(case.group, mode)
  for rows in within:
    for i in rows:
      best[i] = r[i] == max(r[j] for j in rows)
  for rows in case.groups:
    means = [mean(r[i] for i in rows if mode[i] == k) for k in (0, 1)]
    chosen = 1 if means[1] + margin > means[0] else 0
    for i in rows:
      better[i] = mode[i] == chosen
  a = on_tokens(case, normalised(case, best, epsilon, within))
  across = on_tokens(case, normalised(case, better, epsilon))
  a += weight * across * case.extras['begun']
  return like_grpo(case, a, clip_low, clip_high, kl_weight)


@entry(values={'samples': 8}, moved=({'threshold': 0.2},))
def adaptive_modes(case, *, threshold, power, clip_low, clip_high, epsilon):
  """Arxiv 2510.12838, its cost-regularised reward."""
  mode, forced = case.extras['beginning'], case.extras['assigned']
  r = case.rewards.copy()
  for rows in case.groups:
    made = [i for i in rows if forced[i]]
    right = {i: float(case.rewards[i] > 0.5) for i in rows}
    p = mean(right[i] for i in made)
    easy = mean(right[i] for i in made if mode[i] == 0) > threshold
    for i in rows:
      if easy and mode[i] != 0:
        r[i] *= 1 - p**power
  a = normalised(case, r, epsilon)
  return like_grpo(case, a, clip_low, clip_high, rewards=r)


@entry()
def ton(case):
  """Arxiv 2505.16854, section 3.2: fine-tuning; its plan drops thoughts."""
  w = token_mean(case)
  loss = over_tokens(case, w, score_function(case, case.rewards))
  return Answer(loss, advantages=case.rewards, weights=w)


@entry()
def s_grpo(case, *, base, clip_low, clip_high):
  """Arxiv 2505.07686, equation 3, as third parties write it."""
  exit_, r = case.extras['exit'], case.rewards.copy()
  for rows in case.groups:
    right = [i for i in rows if case.rewards[i] > 0.5]
    for i in rows:
      r[i] /= base ** sum(exit_[j] < exit_[i] for j in right)
  a = centred(case, r)
  return like_grpo(case, a, clip_low, clip_high, rewards=r)


def _anytime(case, rows, trajectory, p):
  """R_s and V_s of a thought, by its answers among some rows of a group."""
  own = [i for i in rows if case.extras['trajectory'][i] == trajectory]
  q, last = [], 0.0
  for s in range(len(p)):
    here = [
      case.rewards[i]
      for i in own
      if case.extras['role'][i] == 1 and case.extras['exit'][i] == s
    ]
    last = mean(here) if here else last
    q.append(last)
  returns, values = [], []
  for s in range(len(p)):
    returns.append(sum(p[k] * q[k] for k in range(s, len(p))))
    before = sum(2**k * q[k] for k in range(s)) / max(2**s - 1, 1)
    values.append(before * sum(p[s:]))
  return returns, values


@entry(
  values={'samples': 2, 'budgets': 3, 'answers': 1},
  moved=({'prior': 'linear'}, {'budgets': 2, 'prior': 'base'}),
)
def brpo(case, *, budgets, prior, clip_low, clip_high):
  """Arxiv 2505.13438, equations 6 to 10, and its code."""
  weights = {
    'uniform': [1] * budgets,
    'linear': [k + 1 for k in range(budgets)],
    'base': [0] * (budgets - 1) + [1],
  }[prior]
  p = [w / sum(weights) for w in weights]
  extras, a = case.extras, np.zeros(case.mask.shape)
  for rows in case.groups:
    role = {i: extras['role'][i] for i in rows}
    paths = {i: _anytime(case, rows, extras['trajectory'][i], p) for i in rows}
    thoughts = [i for i in rows if role[i] == 0]
    for i in rows:
      for t in case.columns(i):
        if role[i] == 1:
          at = [j for j in rows if role[j] == 1]
          at = [j for j in at if extras['exit'][j] == extras['exit'][i]]
          own = extras['trajectory']
          near = [j for j in at if own[j] == own[i]]
          peers = near if len(near) > 1 else at
          a[i, t] = case.rewards[i] - mean(case.rewards[j] for j in peers)
        elif role[i] == 0:
          s = min(extras['segment'][i, t], budgets - 1)
          returns, values = paths[i]
          others = mean(paths[j][0][s] for j in thoughts)
          others = others if len(thoughts) > 1 else 0.0
          level = s * values[s] + (budgets - s) * others
          a[i, t] = returns[s] - level / budgets
  w = budget_mean(case)
  loss = over_tokens(case, w, clipped(case, a, clip_low, clip_high))
  return Answer(loss, advantages=a, weights=w)
