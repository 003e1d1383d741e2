"""Oracles of the entries that correct for a sampler unlike the learner."""

from __future__ import annotations

from math import exp

import numpy as np

from tests.oracles.parts import (
  Answer,
  averaged,
  clipped,
  entry,
  normalised,
  over_tokens,
  summed,
  token_mean,
)


def _corrected(case, low, high, epsilon, correction):
  """GRPO's clip, each token's times a constant f(i, t)."""
  a, w = normalised(case, case.rewards, epsilon), token_mean(case)
  clip = clipped(case, a, low, high)
  loss = over_tokens(case, w, lambda now, it: correction(*it) * clip(now, it))
  return Answer(loss, advantages=a, weights=w)


def _gap(case):
  """log pi_old / pi_sampler of each token."""
  return case.old.logp - case.sampler_logp


@entry()
def sampler_truncated(case, *, clip_low, clip_high, cap, epsilon):
  """Yao et al. 2025: min(pi_old / pi_sampler, C)."""
  weight = np.minimum(np.exp(_gap(case)), cap)
  return _corrected(
    case, clip_low, clip_high, epsilon, lambda i, t: weight[i, t]
  )


@entry()
def sampler_truncated_sequence(case, *, clip_low, clip_high, cap, epsilon):
  """Liu, Li et al. 2025: the same of the product over the response."""
  weight = [min(exp(d), cap) for d in summed(case, _gap(case))]
  return _corrected(case, clip_low, clip_high, epsilon, lambda i, t: weight[i])


@entry(moved=({'cap': 12.0},))
def sampler_masked(case, *, clip_low, clip_high, floor, cap, epsilon):
  """IcePop, arxiv 2510.18855: the ratio, or 0 outside of the bounds."""
  gap = _gap(case)

  def weight(i, t):
    r = exp(gap[i, t])
    return r if floor <= r <= cap else 0.0

  return _corrected(case, clip_low, clip_high, epsilon, weight)


@entry(moved=({'floor': 0.8, 'cap': 1.6},))
def sampler_masked_sequence(case, *, clip_low, clip_high, floor, cap, epsilon):
  """OpenRLHF's seq-mask-tis: ratios of tokens, bounds of their mean's exp."""
  gap, mean = _gap(case), averaged(case, _gap(case))

  def weight(i, t):
    return exp(gap[i, t]) if floor <= exp(mean[i]) <= cap else 0.0

  return _corrected(case, clip_low, clip_high, epsilon, weight)
