"""Oracles of the entries that ask again in other words.

What is asked, and whose rows are taken, is not seen here; see
tests/plans/retried_test.py.
"""

from __future__ import annotations

from math import exp

import numpy as np

from tests.oracles.parts import (
  Answer,
  budget_mean,
  centred,
  clamp,
  clipped,
  entropy_bonus,
  entry,
  gae,
  like_grpo,
  mean,
  normalised,
  over_tokens,
  ratio,
  score_function,
  token_mean,
  value_error,
  whitened,
)


@entry()
def ghpo(case, *, clip_low, clip_high, epsilon):
  """Arxiv 2507.10628: GRPO, on prompts with hints."""
  a = normalised(case, case.rewards, epsilon)
  return like_grpo(case, a, clip_low, clip_high)


def _by_tokens(case, low, high, epsilon):
  """GRPO whose loss is the mean over all tokens, as verl's is."""
  a, w = normalised(case, case.rewards, epsilon), token_mean(case)
  loss = over_tokens(case, w, clipped(case, a, low, high))
  return Answer(loss, advantages=a, weights=w)


@entry()
def scaf_grpo(case, *, clip_low, clip_high, epsilon):
  """Arxiv 2510.19807: GRPO, with a hinted row where all others failed."""
  return _by_tokens(case, clip_low, clip_high, epsilon)


@entry()
def sage(case, *, clip_low, clip_high, epsilon):
  """Arxiv 2602.03143: GRPO, on prompts with the policy's own hints."""
  return _by_tokens(case, clip_low, clip_high, epsilon)


@entry()
def sage_light(case, *, clip_low, clip_high, epsilon):
  """Arxiv 2602.03143: the same, at another level of hints."""
  return _by_tokens(case, clip_low, clip_high, epsilon)


@entry(moved=({'kl_weight': 0.03},))
def igrpo(case, *, clip_low, clip_high, kl_weight, epsilon):
  """Arxiv 2602.09000, equations 3 to 6: GRPO, on prompts with a draft."""
  a = normalised(case, case.rewards, epsilon)
  return like_grpo(case, a, clip_low, clip_high, kl_weight)


@entry(moved=({'gamma': 0.3},))
def critique_grpo(case, *, gamma, entropy_weight):
  """Arxiv 2506.03106 and its code: -A r, of refinements -A p / (p + gamma).

  Summed over tokens and divided by the response budget, with an entropy bonus.
  """
  a, w = centred(case, case.rewards), budget_mean(case)

  def term(now, it):
    p = exp(now.logp[it])
    refined = case.extras['offline'][it[0]]
    return -a[it[0]] * (p / (p + gamma) if refined else ratio(case, now, it))

  loss = over_tokens(case, w, term, entropy_bonus(entropy_weight))
  return Answer(loss, advantages=a, weights=w)


def _copied(past, every):
  """The policy after the last multiple of so many iterations."""
  return past[(len(past) - 1) // every * every]


# Of groups of 3 the KL of the cases is 0.105, near enough to a target above 0.
@entry(
  values={'samples': 3},
  moved=({'every': 4, 'kl_target': 0.1},),
  opponent=_copied,
)
def directional_stimulus(
  case,
  *,
  keyword_weight,
  clip_low,
  clip_high,
  discount,
  trace,
  kl_weight,
  kl_target,
  value_weight,
  value_clip,
):
  """Arxiv 2302.11520: PPO, with keywords and the KL in the rewards.

  beta <- beta (1 + clip((KL - KL*) / KL*, -0.2, 0.2) / 10) after an iteration.
  """
  kl = case.old.logp - case.ref_logp
  apart = (mean(kl[it] for it in case.tokens) - kl_target) / kl_target
  beta = kl_weight * (1 + clamp(apart, -0.2, 0.2) / 10)
  paid = keyword_weight * case.extras['span_reward'] - beta * kl
  raw = gae(case, case.rewards, case.old.values, discount, trace, paid=paid)
  targets = np.where(case.mask, raw + case.old.values, 0.0)
  a, w = whitened(case, raw), token_mean(case)
  terms = (
    clipped(case, a, clip_low, clip_high),
    value_error(case, targets, value_weight, value_clip),
  )
  loss = over_tokens(case, w, *terms)
  return Answer(loss, advantages=a, weights=w, targets=targets)


@entry(moved=({'good': 0.9},))
def agent_r(case, *, good):
  """Arxiv 2501.11425, equation 5: -log pi of what leads to a good end."""
  a = np.where(case.valid & (case.rewards > good), 1.0, 0.0)
  w = token_mean(case, a)
  loss = over_tokens(case, w, score_function(case, a))
  return Answer(loss, advantages=a, weights=w, keep=a)
