"""Oracles of the entries that learn from what others did."""

from __future__ import annotations

from math import exp

import numpy as np

from tests.oracles.parts import (
  Answer,
  centred,
  clamp,
  clipped,
  entry,
  gae,
  mean,
  normalised,
  on_tokens,
  over_tokens,
  ratio,
  sequence_mean,
  token_mean,
  value_error,
  whitened,
)


def _guided(case, clip, discount, trace, value_weight, value_clip):
  """Arxiv 2306.11816 and its code: what a guide wrote teaches the critic.

  Where a guide completed a row, the critic learns there alone.
  """
  guide, w = case.extras['guide'], token_mean(case)
  a = gae(case, case.rewards, case.old.values, discount, trace)
  targets = np.where(case.mask, a + case.old.values, 0.0)
  policy = clipped(case, a, clip, clip)
  error = value_error(case, targets, value_weight, value_clip)

  def term(now, it):
    if guide[it]:
      return error(now, it)
    critic = 0.0 if guide[it[0]].any() else error(now, it)
    return policy(now, it) + critic

  loss = over_tokens(case, w, term)
  return Answer(loss, advantages=a, weights=w, targets=targets)


@entry()
def ppo_plus_plus(case, *, clip, discount, trace, value_weight, value_clip):
  return _guided(case, clip, discount, trace, value_weight, value_clip)


@entry()
def aggrevated(case, *, clip, discount, trace, value_weight, value_clip):
  return _guided(case, clip, discount, trace, value_weight, value_clip)


@entry()
def lols(case, *, clip, discount, trace, value_weight, value_clip):
  return _guided(case, clip, discount, trace, value_weight, value_clip)


@entry()
def d2lols(case, *, clip, discount, trace, value_weight, value_clip):
  return _guided(case, clip, discount, trace, value_weight, value_clip)


def _copied(past, every):
  """The policy after the last multiple of so many iterations."""
  return past[(len(past) - 1) // every * every]


# Of groups of 3 the KL of the cases is 0.105, near enough to a target above 0.
@entry(
  values={'samples': 3},
  moved=({'every': 4, 'kl_target': 0.1},),
  opponent=_copied,
)
def nlpo(
  case,
  *,
  clip,
  discount,
  trace,
  kl_weight,
  kl_target,
  value_weight,
  value_clip,
):
  """Arxiv 2210.01241: PPO with the KL in the rewards, on masked log-probs.

  The weight of the KL was steered once, by the iteration before.
  """
  kl = case.old.logp - case.ref_logp
  error = mean(kl[it] for it in case.tokens) / kl_target - 1
  weight = kl_weight * (1 + 0.1 * clamp(error, -0.2, 0.2))
  raw = gae(
    case, case.rewards, case.old.values, discount, trace, paid=-weight * kl
  )
  targets = np.where(case.mask, raw + case.old.values, 0.0)
  a, w = whitened(case, raw), token_mean(case)
  error = value_error(case, targets, value_weight, value_clip)
  loss = over_tokens(case, w, clipped(case, a, clip, clip), error)
  return Answer(loss, advantages=a, weights=w, targets=targets)


@entry()
def hnpg(case):
  """Arxiv 2311.08384: the surrogate and the KL of TRPO, on its rows.

  The natural step itself is the update rule's, and the states the plan's.
  """
  a, w = on_tokens(case, centred(case, case.rewards)), token_mean(case)

  def surrogate(now, it):
    return -a[it] * ratio(case, now, it)

  def trust(now, it):
    d = now.logp[it] - case.old.logp[it]
    return exp(d) - 1 - d

  loss = over_tokens(case, w, surrogate, trust)
  return Answer(loss, advantages=a, weights=w)


@entry()
def props(case, *, clip_low, clip_high):
  """Arxiv 2311.08290: rows of the sampler are taken for the policy's own."""
  a, w = normalised(case, case.rewards, 1e-6), sequence_mean(case)
  return Answer(
    over_tokens(case, w, clipped(case, a, clip_low, clip_high)),
    advantages=a,
    weights=w,
  )
