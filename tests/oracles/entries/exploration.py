"""Oracles of the entries that explore by temperature or by entropy."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np

from tests.oracles.parts import (
  Answer,
  clipped,
  entry,
  mean,
  normalised,
  over_tokens,
  ppo,
  ratio,
  sequence_mean,
  spread,
  token_mean,
)


# The entropy is above its target, or below it and near.
@entry(moved=({'target': 1.7},))
def dcpo(case, *, clip_low, clip_high, target, hot, cold, most, epsilon):
  """Arxiv 2601.12730: (1 - a) A + a [right] pi^T / pi, for GRPO's A.

  The entropy is that of the iteration before, which drew the same tokens.
  """

  def chosen(it, heat):
    z = case.old.log_probs[it] / heat
    return z[case.response[it]] - log(sum(np.exp(z)))

  entropy = mean(-chosen(it, 1.0) for it in case.tokens)
  heat = hot if entropy <= target else cold
  right = case.rewards > 0.05
  rate = mean(right[i] for i in np.flatnonzero(case.valid))
  x = min(abs(target - entropy), most) / rate
  share = x / (1 + x)
  plain, a = normalised(case, case.rewards, epsilon), np.zeros(case.mask.shape)
  for i, t in case.tokens:
    drawn = exp(chosen((i, t), heat) - chosen((i, t), 1.0))
    a[i, t] = (1 - share) * plain[i] + share * right[i] * drawn
  w = sequence_mean(case)
  loss = over_tokens(case, w, clipped(case, a, clip_low, clip_high))
  return Answer(loss, advantages=a, weights=w)


# Two groups are cold.
@entry(moved=({'least': 0.5}, {'most': 1}))
def aepo(case, *, most, clip_low, clip_high, bound, least, epsilon):
  """Arxiv 2510.08141 and its code: successes take the place of others.

  Rows have the chances that they would have if all exchanges were drawn.
  """
  tempered = case.extras['heat'] != 1
  a, keep = normalised(case, case.rewards, epsilon), np.zeros(len(tempered))
  valid = np.flatnonzero(case.valid)
  own = [i for i in valid if not tempered[i]]
  found = [i for i in valid if tempered[i] and a[i] > least]
  number = min(most, len(found)) // 2
  keep[own] = 1 - number / len(own)
  keep[found] = number / len(found)
  a = np.where(tempered, 0.0, a)
  a[found] = 1.0
  w = token_mean(case, keep)

  def loss(now, it):
    r, x = ratio(case, now, it), a[it[0]]
    clipped = ppo(r, x, clip_low, clip_high)
    return min(clipped, -bound * x) if x < 0 else clipped

  return Answer(over_tokens(case, w, loss), advantages=a, weights=w, keep=keep)


def _by_tokens(case, epsilon):
  """HAPO's advantages: mean and spread of a group as its tokens see them."""
  a, plain = np.zeros(len(case.valid)), normalised(case, case.rewards, epsilon)
  for rows in case.lists:
    seen = [case.rewards[i] for i in rows for _ in case.columns(i)]
    level, scale = mean(seen), spread(seen, ddof=0)
    for i in rows:
      a[i] = (case.rewards[i] - level) / (scale + epsilon)
    if any(abs(a[i]) >= 5 for i in rows):
      for i in rows:
        a[i] = plain[i]
  return a


def _place(case, quantile):
  """HAPO's h of each token: its log-entropy from a quantile, to -1 or 1."""
  e = {it: log(max(case.now.entropy[it], 1e-8)) for it in case.tokens}
  pivot = sorted(e.values())[round(quantile * (len(e) - 1))]
  z = {it: x - pivot for it, x in e.items()}
  size = sqrt(mean(x**2 for x in z.values()))
  z = {it: x / size for it, x in z.items()}
  above, below = max(z.values()), -min(z.values())
  return {it: x / above if x > 0 else x / below for it, x in z.items()}


@entry(moved=({'bound': 3.0},))
def hapo(
  case,
  *,
  clip_low,
  clip_high,
  elasticity,
  redistribution,
  bound,
  quantile,
  epsilon,
):
  """Arxiv 2509.16591 and its code, with h below 0 as the text has it."""
  a, w = _by_tokens(case, epsilon), token_mean(case)
  h = _place(case, quantile)

  def term(now, it):
    low = clip_low * (1 - elasticity * h[it]) if h[it] <= 0 else clip_low
    high = clip_high * (1 + elasticity * h[it]) if h[it] > 0 else clip_high
    own, fixed = a[it[0]], ratio(case, case.now, it)
    inside = 1 - low / 2 < fixed < 1 + high / 2
    if inside != (h[it] > 0):
      own *= 1 + redistribution * h[it]
    loss = ppo(ratio(case, now, it), own, low, high)
    return min(loss, -bound * own) if own < 0 else loss

  return Answer(over_tokens(case, w, term), advantages=a, weights=w)
