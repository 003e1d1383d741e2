"""Oracles of the entries that learn from preferences by more than a pair."""

from __future__ import annotations

from math import exp, log

import numpy as np

from tests.oracles.parts import (
  Answer,
  averaged,
  better,
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


# Rewards lie between both bounds.
@entry(moved=({'correct': 1.0},))
def bco(case, *, weight, correct):
  """Arxiv 2404.04656: -log sigmoid(+-beta (h - z)), z the mean h so far.

  Scores of the iteration before were the same: only its rewards differ.
  """
  old, w = summed(case, case.old.logp - case.ref_logp), row_weights(case)
  point = mean(old[i] for i in case.rows)

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    sign = {i: 1 if case.rewards[i] > correct else -1 for i in case.rows}
    return -sum(
      w[i] * log_sigmoid(sign[i] * weight * (h[i] - point)) for i in case.rows
    )

  return Answer(loss, advantages=on_tokens(case, np.full(len(old), point)))


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
