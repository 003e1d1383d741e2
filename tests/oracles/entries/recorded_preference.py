"""Oracles of the entries that learn from preferences by more than a pair."""

from __future__ import annotations

from math import exp, log

import numpy as np

from tests.oracles.parts import (
  Answer,
  averaged,
  better,
  clamp,
  entry,
  log_sigmoid,
  mean,
  on_tokens,
  over_pairs,
  row_weights,
  summed,
)


def _sides(case, scores):
  """[(mean of the best rows, mean of the worst)] of groups that have both."""
  found = []
  for rows in case.lists:
    earned = [case.rewards[i] for i in rows]
    if max(earned) > min(earned):
      found.append(
        [
          mean(scores[i] for i in rows if case.rewards[i] == end)
          for end in (max(earned), min(earned))
        ]
      )
  return found


def _sorted(first, second, weight):
  gaps = [x - y for x, y in zip(sorted(first), sorted(second))]
  return mean(-log_sigmoid(weight * gap) for gap in gaps)


@entry()
def aot(case, *, weight):
  """Arxiv 2406.05882: sorted margins of the policy and of the reference."""
  ref = [w - l for w, l in _sides(case, summed(case, case.ref_logp))]

  def loss(now):
    own = [w - l for w, l in _sides(case, summed(case, now.logp))]
    return _sorted(own, ref, weight)

  return Answer(loss)


@entry()
def aot_unpaired(case, *, weight):
  """Arxiv 2406.05882: sorted log-ratios of chosen and of rejected rows."""

  def loss(now):
    sides = _sides(case, summed(case, now.logp - case.ref_logp))
    return _sorted(*zip(*sides), weight)

  return Answer(loss)


def _classified(case, weight, correct, odds):
  """Arxiv 2404.04656: -log sigmoid(+-beta (h - z)), z the mean h so far.

  Scores of the iteration before were the same: only its rewards differ.
  """
  old, w = summed(case, case.old.logp - case.ref_logp), row_weights(case)
  point = mean(old[i] for i in case.rows)
  good = [case.rewards[i] > correct for i in range(len(old))]

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    return -sum(
      w[i]
      * (1 if good[i] else odds[i])
      * log_sigmoid((1 if good[i] else -1) * weight * (h[i] - point))
      for i in case.rows
    )

  return Answer(loss, advantages=on_tokens(case, np.full(len(old), point)))


# Rewards lie between both bounds.
@entry(moved=({'correct': 1.0},))
def bco(case, *, weight, correct):
  """All of them alike."""
  return _classified(case, weight, correct, np.ones(len(case.valid)))


@entry(moved=({'correct': 1.0, 'low': 0.7, 'high': 1.5},))
def bco_matched(case, *, weight, correct, low, high):
  """Bad ones by the odds of their prompts, as TRL's `_get_udm_weight`."""
  odds = [clamp(x, low, high) for x in case.extras['prompt_odds']]
  return _classified(case, weight, correct, odds)


@entry()
def bnf(case):
  """Arxiv 2410.04834, oat's `BNFLoss`: sum_t (b logp + o E) / min length.

  E is sum p log p over the other entries; b, o and that p are constants.
  """
  tiny = 1e-6

  def score(now, i, shortest):
    total = 0.0
    for t in case.columns(i):
      p, p_ref = exp(case.now.logp[i, t]), exp(case.ref_logp[i, t])
      target = min(p / (p_ref + tiny), 1)
      rest = (1 - target + tiny) / (1 - p + tiny)
      entropy = sum(
        exp(case.now.log_probs[i, t, v]) * now.log_probs[i, t, v]
        for v in range(now.log_probs.shape[2])
        if v != case.response[i, t]
      )
      total += target * now.logp[i, t] + rest * entropy
    return total / shortest

  def loss(now):
    s = {}
    for rows in case.lists:
      shortest = min(len(case.columns(i)) for i in rows)
      s |= {i: score(now, i, shortest) for i in rows}
    return over_pairs(case, better(case.rewards), lambda i, j: s[j] - s[i])

  return Answer(loss)


@entry()
def wpo(case, *, weight):
  """Arxiv 2406.11827, equation 2: DPO times the chances of both responses.

  A token's chance is over that of the same token drawn twice.
  """

  def chance(i):
    rows = [case.now.log_probs[i, t] for t in case.columns(i)]
    drawn = [case.response[i, t] for t in case.columns(i)]
    return exp(
      mean(z[a] - log(np.sum(np.exp(2 * z))) for z, a in zip(rows, drawn))
    )

  of_group = {}
  for rows in case.lists:
    product = np.prod([chance(i) for i in rows])
    of_group |= {i: product for i in rows}

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    return over_pairs(
      case,
      better(case.rewards),
      lambda i, j: -of_group[i] * log_sigmoid(weight * (h[i] - h[j])),
    )

  return Answer(loss)


@entry()
def mpo(case, *, weight, preference_weight, quality_weight, imitation):
  """Arxiv 2411.10442: DPO, a classifier of each, likelihood of the chosen."""

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    likely = averaged(case, now.logp)

    def pair(i, j):
      prefers = -log_sigmoid(weight * (h[i] - h[j]))
      rates = -log_sigmoid(weight * h[i]) - log_sigmoid(-weight * h[j])
      return (
        preference_weight * prefers
        + quality_weight * rates
        - imitation * likely[i]
      )

    return over_pairs(case, better(case.rewards), pair)

  return Answer(loss)
