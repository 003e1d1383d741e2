"""Oracles of the entries that judge a response without one beside it."""

from __future__ import annotations

import numpy as np

from tests.oracles.parts import (
  Answer,
  clamp,
  entry,
  log_sigmoid,
  mean,
  on_tokens,
  row_weights,
  sigmoid,
  summed,
)


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
def kto(case, *, weight, gain, loss, correct):
  """Arxiv 2402.01306, equation 8; z is the step's mean log-ratio, at least 0.

  The paper pairs prompts with the responses to others for z.
  """
  held = summed(case, case.now.logp - case.ref_logp)
  z = max(0.0, mean(held[i] for i in case.rows))
  w = row_weights(case)

  def total(now):
    h = summed(case, now.logp - case.ref_logp)
    desired = {i: case.rewards[i] > correct for i in case.rows}
    return sum(
      w[i] * gain * (1 - sigmoid(weight * (h[i] - z)))
      if desired[i]
      else w[i] * loss * (1 - sigmoid(weight * (z - h[i])))
      for i in case.rows
    )

  return Answer(total)
