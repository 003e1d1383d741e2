"""Oracles of the entries that change what a response earns."""

from __future__ import annotations

from math import exp

import numpy as np

from tests.oracles.parts import (
  Answer,
  clipped,
  entry,
  like_grpo,
  mean,
  normalised,
  over_tokens,
  token_mean,
)


def _grpo(case, reward, low, high, kl_weight=0.0):
  """GRPO, of the reward f(i) of each row that counts."""
  r = np.zeros(len(case.valid))
  for i in np.flatnonzero(case.valid):
    r[i] = reward(i)
  a = normalised(case, r, 1e-6)
  return like_grpo(case, a, low, high, kl_weight, rewards=r)


@entry(values={'longest': 4}, moved=({'longest': 8}, {'threshold': 0.4}))
def gcpo(
  case, *, clip_low, clip_high, weight, threshold, length_weight, longest
):
  """Arxiv 2506.07160, abstract and reviews: does the auxiliary line help?"""
  sign, used = {}, case.extras['auxiliary'] > 0.5
  for rows in case.groups:
    one = [case.rewards[i] for i in rows if used[i]]
    other = [case.rewards[i] for i in rows if not used[i]]
    gap = mean(one) - mean(other) if one and other else 0.0
    for i in rows:
      sign[i] = (gap > threshold) - (gap < -threshold)

  def reward(i):
    length = min(sum(case.response_mask[i]) / longest, 1)
    bonus = weight * sign[i] if used[i] else 0.0
    return case.rewards[i] + bonus + length_weight * length

  return _grpo(case, reward, clip_low, clip_high)


@entry(moved=({'buffer': 2.0},))
def fapo(case, *, clip_low, clip_high, penalty, buffer):
  """Arxiv 2510.22543: 1 if right, 1 - lambda if flawed as well, -1 if wrong.

  The code's penalty of long responses comes behind it.
  """
  r, budget = np.zeros(len(case.valid)), case.mask.shape[1]
  for i in np.flatnonzero(case.valid):
    r[i] = 2 * case.rewards[i] - 1
    if case.rewards[i] > 0.5:
      r[i] -= penalty * case.extras['flawed'][i]
    excess = sum(case.response_mask[i]) - (budget - buffer)
    r[i] -= excess / buffer if excess > 0 and buffer else 0.0
  a, w = normalised(case, r, 1e-6), token_mean(case)
  loss = over_tokens(case, w, clipped(case, a, clip_low, clip_high))
  return Answer(loss, advantages=a, weights=w, rewards=r)


@entry()
def multirole_r1(case, *, clip_low, clip_high, share):
  """Arxiv 2507.20187, equation 1: accuracy and diversity."""

  def reward(i):
    other = case.extras['diversity'][i]
    return share * case.rewards[i] + (1 - share) * other

  return _grpo(case, reward, clip_low, clip_high)


@entry()
def ref_critic(case, *, clip_low, clip_high, weight):
  """Arxiv 2507.15024, abstract and reviews: verdict, then refinements."""

  def reward(i):
    right = case.rewards[i] > 0.5
    more = weight * case.extras['refined'][i] if right else 0.0
    return (case.rewards[i] + more) / (1 + weight)

  return _grpo(case, reward, clip_low, clip_high)


@entry()
def justifiable(case, *, clip_low, clip_high, share, scale):
  """Arxiv 2402.15826 and its code: (1 - lambda) r_e + lambda r_d."""

  def reward(i):
    debate = scale if case.extras['justified'][i] > 0 else 0.0
    return (1 - share) * case.rewards[i] + share * debate

  return _grpo(case, reward, clip_low, clip_high)


@entry()
def funrl(case, *, clip_low, clip_high, kl_weight, weight, share):
  """Arxiv 2508.05118: A + lambda clip(H, -|A| / alpha, |A| / alpha)."""
  a = normalised(case, case.rewards, 1e-6)
  for i in case.rows:
    thought = [t for t in case.columns(i) if case.extras['thought'][i, t]]
    doubt = mean(case.old.entropy[i, t] for t in thought)
    bound = abs(a[i]) / share
    a[i] += weight * max(min(doubt, bound), -bound)
  return like_grpo(case, a, clip_low, clip_high, kl_weight)


@entry(
  moved=(
    {'formal': 2},
    {'formal': 1, 'retrieving': 2},
    {'formal': 0, 'retrieving': 1},
  )
)
def graphrag_r1(
  case,
  *,
  clip_low,
  clip_high,
  kl_weight,
  formal,
  retrieving,
  most,
  decay,
  scale,
  cost,
):
  """Arxiv 2507.23581, recalled: form, then PRA, then CAF."""
  step = len(case.history) - 1

  def reward(i):
    calls, form = int(case.extras['tool_calls'][i]), case.extras['form'][i]
    if step < formal:
      return form
    if step < retrieving:
      return form + case.rewards[i] + sum(most * decay**c for c in range(calls))
    return form + case.rewards[i] * scale * exp(-cost * calls)

  return _grpo(case, reward, clip_low, clip_high, kl_weight)


@entry()
def j1(case, *, clip_low, clip_high, share):
  """Arxiv 2505.10320: a verdict counts if those in its pair's orders do."""
  pairs = case.alike(case.extras['bundle'], case.extras['paper'])
  least = {
    i: min(case.rewards[j] for j in pair) for pair in pairs for i in pair
  }

  def reward(i):
    return (1 - share) * case.rewards[i] + share * least[i]

  return _grpo(case, reward, clip_low, clip_high)
