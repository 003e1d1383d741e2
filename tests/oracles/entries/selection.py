"""Oracles of the entries that choose which rows and tokens train."""

from __future__ import annotations

from math import ceil

import numpy as np

from tests.oracles.parts import (
  Answer,
  clipped,
  entry,
  gae,
  like_grpo,
  mean,
  normalised,
  over_tokens,
  sequence_mean,
  spread,
  token_mean,
  value_error,
  whitened,
)


def _drawn(
  case, chances, *, clip, kl_weight, discount, trace, value_clip, value_weight
):
  """PPO, each row in the policy's loss as often as it is drawn, n times of n.

  Args:
    chances: f(n) -> the chance of each row, best first, in its group. Rows
      that tie have a place each at random, so their chances are averaged.
  """
  times = np.zeros(len(case.valid))
  for rows in case.groups:
    order = sorted(rows, key=lambda i: -case.rewards[i])
    each = chances(len(order)) if len(order) > 1 else [1.0]
    for i in rows:
      tied = [
        k for k, j in enumerate(order) if case.rewards[j] == case.rewards[i]
      ]
      times[i] = len(rows) * mean(each[k] for k in tied)
  paid = -kl_weight * (case.old.logp - case.ref_logp)
  raw = gae(case, case.rewards, case.old.values, discount, trace, paid=paid)
  targets = np.where(case.mask, raw + case.old.values, 0.0)
  a, w = whitened(case, raw), sequence_mean(case)
  policy = clipped(case, a, clip, clip)
  loss = over_tokens(
    case,
    w,
    lambda now, it: times[it[0]] * policy(now, it),
    value_error(case, targets, value_weight, value_clip),
  )
  return Answer(loss, advantages=a, weights=w, targets=targets)


@entry()
def pf_ppo(case, *, clip, kl_weight, discount, trace, value_clip, value_weight):
  """Arxiv 2409.06957, BR: the best row as often as the others together."""
  return _drawn(
    case,
    lambda n: [0.5] + [0.5 / (n - 1)] * (n - 1),
    clip=clip,
    kl_weight=kl_weight,
    discount=discount,
    trace=trace,
    value_clip=value_clip,
    value_weight=value_weight,
  )


@entry()
def pf_ppo_best_worst(
  case, *, clip, kl_weight, discount, trace, value_clip, value_weight
):
  """Arxiv 2409.06957, BW: the best row and the worst."""
  return _drawn(
    case,
    lambda n: [0.5] + [0.0] * (n - 2) + [0.5],
    clip=clip,
    kl_weight=kl_weight,
    discount=discount,
    trace=trace,
    value_clip=value_clip,
    value_weight=value_weight,
  )


@entry(
  same={
    ('objective.surrogate', 'dual_clip'): 'no token of a best row with A < 0 '
    'has gone so far up',
  }
)
def pf_ppo_best(
  case, *, clip, kl_weight, discount, trace, value_clip, value_weight
):
  """Arxiv 2409.06957, BoN: the best row."""
  return _drawn(
    case,
    lambda n: [1.0] + [0.0] * (n - 1),
    clip=clip,
    kl_weight=kl_weight,
    discount=discount,
    trace=trace,
    value_clip=value_clip,
    value_weight=value_weight,
  )


def _most_varied(values, size):
  """How much of each value is in the most varied subset of that size.

  It is made of the lowest and the highest ones. Equal ones share their places.
  """
  order = sorted(range(len(values)), key=lambda i: values[i])
  best, chosen = -1.0, []
  for lowest in range(size + 1):
    picked = order[:lowest] + order[len(order) - (size - lowest) :]
    middle = mean(values[i] for i in picked)
    variance = mean((values[i] - middle) ** 2 for i in picked)
    if variance > best + 1e-9:
      best, chosen = variance, picked
  alike = [[j for j, y in enumerate(values) if y == x] for x in values]
  return [mean(j in chosen for j in peers) for peers in alike]


@entry(
  values={'iterations': 2},
  same={
    ('objective.surrogate', 'dual_clip'): (
      'of the tokens that are left none is pushed down with a ratio above 3'
    )
  },
)
def d3s(
  case,
  *,
  clip_low,
  clip_high,
  rows,
  tokens,
  first_rows,
  first_tokens,
  iterations,
):
  """Arxiv 2509.22115, section 3: rows by Var A, then tokens by |A| H.

  The loss is divided by the tokens that are kept. Shares grow linearly.
  """
  part = min((len(case.history) - 1) / iterations, 1)
  rows = first_rows + (rows - first_rows) * part
  tokens = first_tokens + (tokens - first_tokens) * part
  a = normalised(case, case.rewards, 1e-6)
  values = [round(a[i], 4) for i in case.rows]
  shares = np.zeros(len(a))
  shares[case.rows] = _most_varied(values, ceil(rows * len(values)))
  left = [it for it in case.tokens if shares[it[0]] > 0]
  score = {it: abs(a[it[0]]) * case.old.entropy[it] for it in left}
  last = sorted(score.values(), reverse=True)[ceil(tokens * len(left)) - 1]
  keep = np.zeros(case.mask.shape)
  for it in left:
    keep[it] = shares[it[0]] if score[it] >= last * (1 - 1e-4) else 0.0
  w = token_mean(case, token_keep=keep)
  loss = over_tokens(case, w, clipped(case, a, clip_low, clip_high))
  return Answer(loss, advantages=a, weights=w, token_keep=keep)


@entry()
def dagrpo(case, *, clip_low, clip_high, gap):
  """Arxiv 2512.06337, abstract alone: of pairs that are not too much alike."""
  a, score = np.zeros(len(case.valid)), case.extras['quality']
  for rows in case.groups:
    width = spread(case.rewards[i] for i in rows)
    for i in rows:
      far = [j for j in rows if abs(score[i] - score[j]) >= gap]
      total = sum(case.rewards[i] - case.rewards[j] for j in far)
      a[i] = total / len(rows) / (width + 1e-6)
  return like_grpo(case, a, clip_low, clip_high)


@entry()
def capo(
  case,
  *,
  clip_low,
  clip_high,
  learning_rate,
  objective_limit,
  policy_limit,
  epsilon,
):
  """Arxiv 2510.00819, section 4: what a token's own step would change.

  The output layer moves by lr A (e_a - pi) h', its logits by lr u.
  """
  a, keep = normalised(case, case.rewards, epsilon), np.zeros(case.mask.shape)
  for i, t in case.tokens:
    pi = np.exp(case.old.log_probs[i, t])
    score = np.eye(len(pi))[case.response[i, t]] - pi
    square = case.extras['hidden_square'][i, t]
    u = a[i] * score * square
    fisher = np.diag(pi) - np.outer(pi, pi)
    policy = learning_rate**2 * (score @ u) ** 2 / 2
    hessian = a[i] * ((score @ u) ** 2 - u @ fisher @ u)
    gradient = a[i] ** 2 * (score @ score) * square
    objective = learning_rate * gradient + learning_rate**2 * hessian / 2
    keep[i, t] = policy < policy_limit and abs(objective) < objective_limit
  return like_grpo(case, a, clip_low, clip_high, token_keep=keep)
