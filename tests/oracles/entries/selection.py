"""Oracles of the entries that choose which rows and tokens train."""

from __future__ import annotations

import numpy as np

from tests.oracles.parts import (
  Answer,
  clipped,
  entry,
  normalised,
  over_tokens,
  sequence_mean,
)


def _drawn(case, chances, clip_low, clip_high):
  """GRPO's loss, averaged over rows drawn again, as the paper draws them.

  Args:
    chances: f(ranks) -> the chance of each row, best first, in its group. Rows
      that tie have a place each at random, so their chances are averaged.
  """
  keep = np.zeros(len(case.valid))
  for rows in case.groups:
    order = sorted(rows, key=lambda i: -case.rewards[i])
    each = chances(len(order)) if len(order) > 1 else [1.0]
    for i in rows:
      tied = [
        k for k, j in enumerate(order) if case.rewards[j] == case.rewards[i]
      ]
      keep[i] = sum(each[k] for k in tied) / len(tied)
  a, w = normalised(case, case.rewards, 1e-6), sequence_mean(case, keep)
  loss = over_tokens(case, w, clipped(case, a, clip_low, clip_high))
  return Answer(loss, advantages=a, weights=w, keep=keep)


@entry()
def pf_ppo(case, *, clip_low, clip_high):
  """Arxiv 2409.06957, BR: the best row as often as the others together."""
  return _drawn(
    case, lambda n: [0.5] + [0.5 / (n - 1)] * (n - 1), clip_low, clip_high
  )


@entry()
def pf_ppo_best_worst(case, *, clip_low, clip_high):
  """Arxiv 2409.06957, BW: the best row and the worst."""
  return _drawn(
    case, lambda n: [0.5] + [0.0] * (n - 2) + [0.5], clip_low, clip_high
  )
