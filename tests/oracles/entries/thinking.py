"""Oracles of the entries about how long to think, and in which mode."""

from __future__ import annotations

from math import cos, pi

import numpy as np

from tests.oracles.parts import (
  Answer,
  centred,
  clipped,
  entry,
  k3,
  like_grpo,
  normalised,
  over_tokens,
  penalty,
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
