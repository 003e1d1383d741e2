"""Oracles of the entries that clip, bound or gate the ratio of a token."""

from __future__ import annotations

from math import exp, tanh

import numpy as np

from tests.oracles.parts import (
  Answer,
  clamp,
  clipped,
  entry,
  mean,
  normalised,
  over_tokens,
  ppo,
  ratio,
  sequence_mean,
  sigmoid,
  token_mean,
)


@entry(moved=({'buffer': 2.0},))
def dapo(case, *, clip_low, clip_high, buffer, epsilon):
  """Arxiv 2503.14476, equations 8 to 13; the filter reads plain rewards."""
  keep, shaped = np.zeros(len(case.valid)), case.rewards.copy()
  budget = case.mask.shape[1]
  for rows in case.groups:
    equal = len({case.rewards[i] for i in rows}) == 1
    for i in rows:
      keep[i] = 0.0 if equal else 1.0
      excess = case.response_mask[i].sum() - (budget - buffer)
      shaped[i] -= excess / buffer if excess > 0 and buffer else 0.0
  a, w = normalised(case, shaped, epsilon), token_mean(case, keep)
  return Answer(
    over_tokens(case, w, clipped(case, a, clip_low, clip_high)),
    advantages=a,
    weights=w,
    keep=keep,
    rewards=shaped,
  )


@entry()
def cispo(case, *, clip_low, clip_high, epsilon):
  """Arxiv 2506.13585, equations 4 and 5: -sg(clip(r)) A log pi."""
  a, w = normalised(case, case.rewards, epsilon), token_mean(case)

  def term(now, it):
    weight = clamp(ratio(case, case.now, it), 1 - clip_low, 1 + clip_high)
    return -weight * a[it[0]] * now.logp[it]

  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


@entry()
def dual_clip(case, *, clip_low, clip_high, bound, epsilon):
  """Arxiv 1912.09729, equation 4: max(min(r A, clip(r) A), c A) for A < 0."""
  a, w = normalised(case, case.rewards, epsilon), sequence_mean(case)

  def term(now, it):
    loss = ppo(ratio(case, now, it), a[it[0]], clip_low, clip_high)
    return min(loss, -bound * a[it[0]]) if a[it[0]] < 0 else loss

  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


@entry()
def sapo(case, *, up, down, epsilon):
  """Arxiv 2511.20347: -A (4 / tau) sigmoid(tau (r - 1)), tau by A's sign."""
  a, w = normalised(case, case.rewards, epsilon), sequence_mean(case)

  def term(now, it):
    tau = up if a[it[0]] > 0 else down
    return -a[it[0]] * 4 / tau * sigmoid(tau * (ratio(case, now, it) - 1))

  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


@entry()
def etr(case, *, clip_low, clip_high, micro, macro, epsilon):
  """Arxiv 2601.03723, abstract alone: bounds grow with |A| and 4 p (1 - p)."""
  a, w = normalised(case, case.rewards, epsilon), sequence_mean(case)
  wide = np.ones(len(a))
  for rows in case.groups:
    p = mean(case.rewards[j] > 0.5 for j in rows)
    for i in rows:
      wide[i] = (1 + micro * tanh(abs(a[i]))) * (1 + macro * 4 * p * (1 - p))

  def term(now, it):
    low, high = wide[it[0]] * clip_low, wide[it[0]] * clip_high
    return ppo(ratio(case, now, it), a[it[0]], low, high)

  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


# The search goes all the way, is over at once, and ends on its way.
@entry(
  moved=(
    {
      'low': 0.5,
      'low_most': 0.72,
      'high': 1.1,
      'high_most': 1.6,
      'target': 0.6,
    },
    {
      'low': 0.5,
      'low_most': 0.72,
      'high': 1.1,
      'high_most': 1.6,
      'target': 0.3,
    },
    {
      'low': 0.5,
      'low_most': 0.72,
      'high': 1.1,
      'high_most': 9.0,
      'step': 0.07,
      'target': 0.51,
    },
  )
)
def bapo(case, *, low, low_most, high, high_most, step, target, epsilon):
  """Arxiv 2510.18927, algorithm 1: two searches, one after the other."""
  a, w = normalised(case, case.rewards, epsilon), token_mean(case)
  fixed = {it: ratio(case, case.now, it) for it in case.tokens}

  def share(lower, upper):
    up = sum(min(r, upper) * a[i] for (i, _), r in fixed.items() if a[i] > 0)
    down = sum(max(r, lower) * -a[i] for (i, _), r in fixed.items() if a[i] < 0)
    return up / (up + down)

  while share(low, high) < target and low < low_most - 1e-9:
    low = min(low + step, low_most)
  while share(low, high) < target and high < high_most - 1e-9:
    high = min(high + step, high_most)
  return Answer(
    over_tokens(case, w, clipped(case, a, 1 - low, high - 1)),
    advantages=a,
    weights=w,
  )


@entry(moved=({'bound': 2.0},))
def ce_gppo(case, *, clip_low, clip_high, down, up, bound, epsilon):
  """Arxiv 2509.20712, and its code, which has a bound for A < 0."""
  a, w = normalised(case, case.rewards, epsilon), token_mean(case)

  def term(now, it):
    # The value at the bound, with the slope of the ratio over itself.
    adv, r = a[it[0]], ratio(case, now, it)
    one = exp(now.logp[it] - case.now.logp[it])
    if adv < 0 and r < 1 - clip_low:
      return -down * (1 - clip_low) * adv * one
    if adv > 0 and r > 1 + clip_high:
      return -up * (1 + clip_high) * adv * one
    return min(-r * adv, -bound * adv) if adv < 0 else -r * adv

  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


@entry(moved=({'low': 0.03, 'high': 0.06, 'cap': 2.0},))
def dppo(case, *, low, high, cap, epsilon):
  """Arxiv 2602.04879, its form by total variation: -sg(min(r, C)) A log pi."""
  a, w = normalised(case, case.rewards, epsilon), token_mean(case)

  def term(now, it):
    adv = a[it[0]]
    move = exp(case.now.logp[it]) - exp(case.old.logp[it])
    inside = move <= high if adv > 0 else move >= -low
    weight = min(ratio(case, case.now, it), cap)
    return -weight * adv * now.logp[it] if inside else 0.0

  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


@entry(moved=({'mix': 0.5, 'certain': 0.4}, {'mix': 0.3, 'push': 2.0}))
def simko(case, *, certain, mix, push, clip, epsilon):
  """Arxiv 2510.14807, equations 7 to 9, the clip as in its code."""
  a = normalised(case, case.rewards, epsilon)
  named, w = case.extras['candidates'], token_mean(case)
  bound = {
    i: np.quantile([case.now.entropy[i, t] for t in case.columns(i)], certain)
    for i in case.rows
  }

  def term(now, it):
    i, t = it
    r, gain = ratio(case, now, it), a[i]
    if case.now.entropy[it] > bound[i]:
      tokens = [v for v in named[it] if v >= 0]
      if gain > 0:
        fixed = ratio(case, case.now, it)
        others = [
          fixed * exp(now.log_probs[it][v] - case.now.log_probs[it][v])
          for v in tokens
        ]
        r = (1 - mix) * r + mix * mean(others)
      if gain < 0 and case.response[it] == named[it][0]:
        gain *= push
    return ppo(r, gain, clip, clip)

  return Answer(over_tokens(case, w, term), advantages=a, weights=w)
