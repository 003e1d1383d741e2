"""Oracles of the entries that change which prompts are drawn, and how often.

What they draw is not seen here; see tests/selection and tests/rollouts.
"""

from __future__ import annotations

from math import exp

import numpy as np

from tests.oracles.parts import (
  Answer,
  clipped,
  entry,
  mean,
  normalised,
  over_tokens,
  sequence_mean,
)


def _grpo(case, low, high):
  """GRPO without a KL."""
  a, w = normalised(case, case.rewards, 1e-6), sequence_mean(case)
  loss = over_tokens(case, w, clipped(case, a, low, high))
  return Answer(loss, advantages=a, weights=w)


@entry()
def variance_aware(case, *, clip_low, clip_high):
  """Arxiv 2509.21268: GRPO, on other prompts."""
  return _grpo(case, clip_low, clip_high)


@entry()
def knapsack(case, *, clip_low, clip_high):
  """Arxiv 2509.25849: GRPO, of other numbers of responses."""
  return _grpo(case, clip_low, clip_high)


@entry(moved=({'low': 0.7, 'high': 1.1},))
def online_difficulty(case, *, low, high, clip_low, clip_high):
  """Arxiv 2504.03380, recalled: prompts whose success rate is in between."""
  keep = np.zeros(len(case.valid))
  for rows in case.groups:
    inside = low <= mean(case.rewards[i] for i in rows) <= high
    for i in rows:
      keep[i] = float(inside)
  a, w = normalised(case, case.rewards, 1e-6), sequence_mean(case, keep)
  loss = over_tokens(case, w, clipped(case, a, clip_low, clip_high))
  return Answer(loss, advantages=a, weights=w, keep=keep)


@entry()
def selective_buffer(case, *, clip_low, clip_high, cap):
  """Arxiv 2504.16656, abstract alone: old rows by min(pi_old / sampler, C)."""
  a, w = normalised(case, case.rewards, 1e-6), sequence_mean(case)
  clip = clipped(case, a, clip_low, clip_high)

  def term(now, it):
    ratio = exp(case.old.logp[it] - case.sampler_logp[it])
    return min(ratio, cap) * clip(now, it)

  return Answer(over_tokens(case, w, term), advantages=a, weights=w)
