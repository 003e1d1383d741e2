"""Oracles of the entries that change what a critic answers."""

from __future__ import annotations

from math import erf, exp, log, sqrt

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
  spread,
  token_mean,
  whitened,
)


def _classified(case, clip, discount, trace, value_weight, centres, target_of):
  """PPO with the cross-entropy of a critic's bins and those of its targets."""
  values = np.zeros(case.mask.shape)
  for it in case.tokens:
    share = np.exp(case.old.values[it])
    values[it] = share @ centres / share.sum()
  raw = gae(case, case.rewards, values, discount, trace)
  targets = np.where(case.mask, raw + values, 0.0)
  a, w = whitened(case, raw), token_mean(case)

  def error(now, it):
    logits = now.values[it]
    total = log(sum(exp(z) for z in logits))
    target = target_of(targets[it])
    return -value_weight * sum(p * (z - total) for p, z in zip(target, logits))

  loss = over_tokens(case, w, clipped(case, a, clip, clip), error)
  return Answer(loss, advantages=a, weights=w, targets=targets)


# Bins so wide that targets lie in several of them, in a range that some pass.
_BINS = {
  'values': {'bins': 6},
  'moved': ({'bins': 6, 'low': -1.5, 'high': 1.25},),
}


@entry(**_BINS)
def categorical_critic(
  case, *, clip, discount, trace, value_weight, low, high, bins, width
):
  """Arxiv 2403.03950, section 3.1: the mass of a Gaussian in each bin."""
  edges = [low + (high - low) * k / bins for k in range(bins + 1)]
  centres = np.array([(a + b) / 2 for a, b in zip(edges, edges[1:])])
  sigma = width * (high - low) / bins

  def target(y):
    below = [
      (1 + erf((e - clamp(y, low, high)) / sigma / sqrt(2))) / 2 for e in edges
    ]
    whole = below[-1] - below[0]
    return [(b - a) / whole for a, b in zip(below, below[1:])]

  return _classified(case, clip, discount, trace, value_weight, centres, target)


@entry(**_BINS)
def two_hot_critic(
  case, *, clip, discount, trace, value_weight, low, high, bins
):
  """Arxiv 2403.03950, section 3.1: the two atoms around the target."""
  step = (high - low) / (bins - 1)
  atoms = np.array([low + step * k for k in range(bins)])

  def target(y):
    return [max(0.0, 1 - abs(clamp(y, low, high) - z) / step) for z in atoms]

  return _classified(case, clip, discount, trace, value_weight, atoms, target)


@entry()
def pdppo(case, *, clip, discount, value_weight, entropy_weight):
  """Arxiv 2504.05150 and its code: returns less the lower of two critics."""
  g = returns(case, case.rewards, decay=discount)
  seen = [g[it] for it in case.tokens]
  targets, a = np.zeros(g.shape), np.zeros(g.shape)
  for it in case.tokens:
    targets[it] = (g[it] - mean(seen)) / (spread(seen) + 1e-7)
    a[it] = targets[it] - min(case.old.values[it], case.old.after_values[it])
  w = token_mean(case)

  def error(now, it):
    lower = min(now.values[it], now.after_values[it])
    return value_weight * (lower - targets[it]) ** 2 / 2

  terms = clipped(case, a, clip, clip), error, entropy_bonus(entropy_weight)
  loss = over_tokens(case, w, *terms)
  return Answer(loss, advantages=a, weights=w, targets=targets)
