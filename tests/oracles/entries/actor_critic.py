"""Oracles of PPO and its kin."""

from __future__ import annotations

import dataclasses
from math import sqrt

import numpy as np

from tests.oracles.parts import (
  Answer,
  clamp,
  clipped,
  entropy_bonus,
  entry,
  gae,
  mean,
  over_tokens,
  returns,
  token_mean,
  value_error,
  whitened,
)


@entry()
def ppo(
  case,
  *,
  clip_low,
  clip_high,
  discount,
  trace,
  value_weight,
  value_clip,
  entropy_weight,
):
  """Arxiv 1707.06347, equations 7, 9 and 11, with whitened advantages."""
  raw = gae(case, case.rewards, case.old.values, discount, trace)
  targets = np.where(case.mask, raw + case.old.values, 0.0)
  a, w = whitened(case, raw), token_mean(case)
  loss = over_tokens(
    case,
    w,
    clipped(case, a, clip_low, clip_high),
    value_error(case, targets, value_weight, value_clip),
    entropy_bonus(entropy_weight),
  )
  return Answer(loss, advantages=a, weights=w, targets=targets)


@entry()
def truncated_ppo(
  case, *, clip_low, clip_high, discount, trace, value_weight, value_clip
):
  """Arxiv 2506.15050: a row that was cut off goes on as it is valued there.

  The policy learns from new tokens, the critic from rows that are done.
  """
  cut, earlier = case.extras['unfinished'], case.extras['earlier']
  values = case.old.values
  rewards, last = np.where(cut, 0.0, case.rewards), np.zeros(len(cut))
  for i in case.rows:
    last[i] = values[i, case.columns(i)[-1]] if cut[i] else 0.0
  raw = gae(case, rewards, values, discount, trace, last=last)
  targets = returns(case, rewards, decay=discount)
  fresh = [it for it in case.tokens if not earlier[it]]
  a, w = whitened(case, raw, among=fresh), token_mean(case)
  error = value_error(case, targets, value_weight, value_clip)

  policy = clipped(case, a, clip_low, clip_high)

  def finished(now, it):
    return 0.0 if cut[it[0]] else error(now, it)

  def new(now, it):
    return 0.0 if earlier[it] else policy(now, it)

  loss = over_tokens(case, w, new, finished)
  return Answer(loss, advantages=a, weights=w, targets=targets)


def _largest(
  case, numbers, *, bound, advantage_bound, kl_weight, discount, trace
):
  """PPO-max to the advantages: of `numbers`, rows whose scores are compared.

  Returns:
    Scaled rewards, advantages and targets.
  """
  now = [case.rewards[i] for i in numbers]
  seen = [case.before.rewards[i] for i in numbers] + now
  scale = sqrt(mean((x - mean(seen)) ** 2 for x in seen))
  scaled = np.zeros(len(case.valid))
  for i in numbers:
    scaled[i] = clamp((case.rewards[i] - mean(seen)) / scale, -bound, bound)
  paid = -kl_weight * (case.old.logp - case.ref_logp)
  raw = gae(case, scaled, case.old.values, discount, trace, paid=paid)
  targets = np.where(case.mask, raw + case.old.values, 0.0)
  a = np.clip(whitened(case, raw), -advantage_bound, advantage_bound)
  return scaled, a, targets


@entry(moved=({'bound': 0.8, 'advantage_bound': 0.7},))
def ppo_max(
  case,
  *,
  clip,
  bound,
  advantage_bound,
  kl_weight,
  discount,
  trace,
  value_weight,
  value_clip,
):
  """Arxiv 2307.04964, section 5: scores in running spreads, KL in rewards."""
  scaled, a, targets = _largest(
    case,
    np.flatnonzero(case.valid),
    bound=bound,
    advantage_bound=advantage_bound,
    kl_weight=kl_weight,
    discount=discount,
    trace=trace,
  )
  w = token_mean(case)
  terms = (
    clipped(case, a, clip, clip),
    value_error(case, targets, value_weight, value_clip),
  )
  loss = over_tokens(case, w, *terms)
  return Answer(loss, advantages=a, weights=w, targets=targets, rewards=scaled)


@entry(moved=({'bound': 0.8, 'advantage_bound': 0.7},))
def ppo_ptx(
  case,
  *,
  clip,
  bound,
  advantage_bound,
  kl_weight,
  discount,
  trace,
  value_weight,
  value_clip,
  pretraining_weight,
):
  """Arxiv 2307.04964, equation 18: PPO-max beside -log p of other rows."""
  offline = case.extras['offline']
  own = dataclasses.replace(
    case,
    valid=case.valid & ~offline,
    mask=case.mask & ~offline[:, None],
  )
  scaled, a, targets = _largest(
    own,
    np.flatnonzero(own.valid),
    bound=bound,
    advantage_bound=advantage_bound,
    kl_weight=kl_weight,
    discount=discount,
    trace=trace,
  )
  w = token_mean(case)
  policy = clipped(case, a, clip, clip)
  error = value_error(case, targets, value_weight, value_clip)

  def term(now, it):
    if offline[it[0]]:
      return -pretraining_weight * now.logp[it]
    return policy(now, it) + error(now, it)

  loss = over_tokens(case, w, term)
  return Answer(loss, advantages=a, weights=w, targets=targets, rewards=scaled)
