"""Oracles of the entries with several rewards."""

from __future__ import annotations

from math import log

import numpy as np

from tests.oracles.parts import (
  Answer,
  clamp,
  clipped,
  entry,
  k3,
  mean,
  normalised,
  over_tokens,
  penalty,
  ratio,
  sequence_mean,
  spread,
)


def _grpo(case, rewards, kl_weight):
  """GRPO with its own constants, of some reward f64[N]."""
  rewards = np.where(case.valid, rewards, 0.0)
  a, w = normalised(case, rewards, 1e-6), sequence_mean(case)
  terms = clipped(case, a, 0.2, 0.2), penalty(case, kl_weight, k3)
  loss = over_tokens(case, w, *terms)
  return Answer(loss, advantages=a, weights=w, rewards=rewards)


@entry()
def maxmin_rlhf(case, *, kl_weight):
  """Arxiv 2402.08925: the reward of which the batch has least on average."""
  rows = np.flatnonzero(case.valid)
  worst = min(case.components.T, key=lambda s: mean(s[i] for i in rows))
  return _grpo(case, worst, kl_weight)


@entry()
def worst_case_ensemble(case, *, kl_weight):
  """Arxiv 2310.02743, WCO: the least of an ensemble's rewards."""
  return _grpo(case, [min(s) for s in case.components], kl_weight)


@entry()
def certain_ensemble(case, *, penalty, kl_weight):
  """Arxiv 2310.02743, UWO: mean - lambda variance, of K - 1 as in its PPO."""
  rewards = [mean(s) - penalty * spread(s) ** 2 for s in case.components]
  return _grpo(case, rewards, kl_weight)


@entry()
def c_morl(case, *, clip, objective, kept, sharpness):
  """Arxiv 2410.02236, equation 9: PPO for one, a log barrier for the others.

  coef = -(1 / t) mean_j log max(clip(r) G_j - beta G_j, 0.001)
  """
  rewards = np.where(case.valid, case.components[:, objective], 0.0)
  a, w = normalised(case, rewards, 1e-6), sequence_mean(case)
  others = np.delete(case.components, objective, axis=1).T
  level = [mean(s[i] for i in case.rows) for s in others]

  def barrier(now, it):
    r = clamp(ratio(case, now, it), 1 - clip, 1 + clip)
    room = [log(max(r * g - kept * g, 1e-3)) for g in level]
    return -mean(room) / sharpness

  loss = over_tokens(case, w, clipped(case, a, clip, clip), barrier)
  return Answer(loss, advantages=a, weights=w, rewards=rewards)
