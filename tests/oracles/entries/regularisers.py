"""Oracles of the entries that add a cost, or steer its weight."""

from __future__ import annotations

from math import e, exp

import numpy as np

from tests.oracles.parts import (
  Answer,
  budget_mean,
  centred,
  clipped,
  entry,
  gae,
  k2,
  k3,
  mean,
  normalised,
  over_tokens,
  penalty,
  ratio,
  returns,
  score_function,
  sequence_mean,
  sequence_sum,
  summed,
  token_mean,
  value_error,
  whitened,
)


@entry()
def straight_kl(case, *, clip_low, clip_high, kl_weight):
  """Dr. GRPO's loss; the KL is worth k3 and moves like k2, verl's k3+."""
  a, w = centred(case, case.rewards), budget_mean(case)

  def kl(now, it):
    x, fixed = (p.logp[it] - case.ref_logp[it] for p in (now, case.now))
    return kl_weight * (k2(x) - k2(fixed) + k3(fixed))

  loss = over_tokens(case, w, clipped(case, a, clip_low, clip_high), kl)
  return Answer(loss, advantages=a, weights=w)


def _grpo(case, low, high, epsilon, *terms, advantages=None, weights=None):
  """GRPO's clip with other costs than its own."""
  a = normalised(case, case.rewards, epsilon)
  a = a if advantages is None else advantages
  w = sequence_mean(case) if weights is None else weights
  loss = over_tokens(case, w, clipped(case, a, low, high), *terms)
  return Answer(loss, advantages=a, weights=w)


@entry()
def weighted_kl(case, *, clip_low, clip_high, kl_weight, epsilon):
  """Arxiv 2512.02556, equation 7: r times k3."""
  plain = penalty(case, kl_weight, k3)

  def kl(now, it):
    return ratio(case, now, it) * plain(now, it)

  return _grpo(case, clip_low, clip_high, epsilon, kl)


@entry()
def llds(case, *, clip_low, clip_high, fall_weight, epsilon):
  """Arxiv 2512.04220, equations 4 to 6: good responses that fell as a whole."""
  a = normalised(case, case.rewards, epsilon)
  fell = summed(case, case.old.logp - case.now.logp)

  def fall(now, it):
    if a[it[0]] < 0 or fell[it[0]] <= 0:
      return 0.0
    return fall_weight * max(0.0, case.old.logp[it] - now.logp[it])

  return _grpo(case, clip_low, clip_high, epsilon, fall)


@entry()
def kdrl(
  case, *, clip_low, clip_high, first_weight, last_weight, iterations, epsilon
):
  """Arxiv 2506.02208, equation 8: k2 to a teacher, by a line in time."""
  weight = first_weight + (last_weight - first_weight) * case.step / iterations

  def distil(now, it):
    return weight * k2(now.logp[it] - case.teacher_logp[it])

  w = token_mean(case)
  return _grpo(case, clip_low, clip_high, epsilon, distil, weights=w)


# The coefficient rises, then falls.
@entry(moved=({'turn': 0.8},))
def grpo_d(
  case, *, clip_low, clip_high, kl_least, kl_most, turn, iterations, epsilon
):
  """Arxiv 2503.16081, equation 3."""
  s, end, least, most = case.step, iterations, kl_least, kl_most
  middle, w = (least + most) / 2, turn * end
  if s <= w:
    weight = middle - (middle - least) * s / w
  else:
    weight = least + (most - least) * (s - w) / (end - w)
  kl = penalty(case, weight, k3)
  return _grpo(case, clip_low, clip_high, epsilon, kl)


def _released(case, advantages, kl_weight):
  """DADS of arxiv 2506.21655: the KL of successes by their difficulty."""
  k = np.ones(len(advantages))
  for rows in case.groups:
    rate = mean(case.rewards[i] > 0.5 for i in rows)
    for i in rows:
      if 0 < rate < 1 and advantages[i] > 0:
        difficulty = 1 - rate
        k[i] = 1 - exp(-e * (1 - difficulty))
  plain = penalty(case, kl_weight, k3)
  return lambda now, it: k[it[0]] * plain(now, it)


@entry()
def apo_difficulty(case, *, clip_low, clip_high, kl_weight, epsilon):
  """Arxiv 2506.21655, DADS alone."""
  a = normalised(case, case.rewards, epsilon)
  kl = _released(case, a, kl_weight)
  return _grpo(case, clip_low, clip_high, epsilon, kl)


@entry(moved=({'base': 1.5},))
def apo(case, *, clip_low, clip_high, kl_weight, base, epsilon):
  """Arxiv 2506.21655, DADS and STCR: failures longer than the successes."""
  a = normalised(case, case.rewards, epsilon)
  length = case.response_mask.sum(axis=1)
  for rows in case.groups:
    right = [i for i in rows if case.rewards[i] > 0.5]
    usual = mean(length[i] for i in right)
    for i in rows:
      if right and i not in right and length[i] > usual:
        a[i] *= 1 + (1 - base ** -(length[i] - usual))
  kl = _released(case, a, kl_weight)
  return _grpo(case, clip_low, clip_high, epsilon, kl, advantages=a)


def _kl_in_reward(case, kl_weight):
  """-(R_t - b) log pi, R_t with what KL to the reference costs from t on.

  b is the mean of what the group's other rows return from their first token.
  """
  paid = -kl_weight * (case.old.logp - case.ref_logp)
  g, a = returns(case, case.rewards, paid), np.zeros(case.mask.shape)
  whole = {i: g[i, case.columns(i)[0]] for i in case.rows}
  for rows in case.lists:
    for i in rows:
      others = [whole[j] for j in rows if j != i]
      for t in case.columns(i) if others else ():
        a[i, t] = g[i, t] - mean(others)
  w = sequence_sum(case)
  loss = over_tokens(case, w, score_function(case, a))
  return Answer(loss, advantages=a, weights=w)


@entry(
  same={('reference', 'Frozen'): 'who runs it gives the others of the soup'}
)
def salsa(
  case,
  *,
  clip_low,
  clip_high,
  kl_weight,
  discount,
  trace,
  value_weight,
  value_clip,
):
  """Arxiv 2411.01798, recalled: PPO, its KL to the soup in the reward.

  No other models are given, so the soup is the start.
  """
  paid = -kl_weight * (case.old.logp - case.ref_logp)
  raw = gae(case, case.rewards, case.old.values, discount, trace, paid=paid)
  targets = np.where(case.mask, raw + case.old.values, 0.0)
  a, w = whitened(case, raw), token_mean(case)
  terms = (
    clipped(case, a, clip_low, clip_high),
    value_error(case, targets, value_weight, value_clip),
  )
  loss = over_tokens(case, w, *terms)
  return Answer(loss, advantages=a, weights=w, targets=targets)


@entry()
def demonstration_regularised(case, *, kl_weight):
  """Arxiv 2310.17303, recalled: KL to the cloned policy, in the reward."""
  return _kl_in_reward(case, kl_weight)
