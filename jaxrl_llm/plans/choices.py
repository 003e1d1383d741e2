"""Which groups are asked again, and what they take of what is said then.

when    f(rewards f64[B, G], valid bool[B, G]) -> bool[B], groups to ask
        again
take    f(rewards f64[R, C], fits bool[R, C]) -> i[R, K], which of the new
        responses a group takes, -1 none
by      f(scores) -> f32[N], the rewards that both are given
"""

from __future__ import annotations

import numpy as np


def correctness(scores):
  """f32[N]: the first score, which says what is right."""
  return scores.components[:, 0]


def reward(scores):
  """f32[N]: what the scores add up to."""
  return scores.total


def none_right(rewards, valid):
  """Groups without a success."""
  return ~np.any((rewards > 0) & valid, axis=1)


def everyone(rewards, valid):
  """All groups."""
  del valid
  return np.ones(len(rewards), bool)


def whole(rewards, fits):
  """All of them, G for G, unless the prompt did not fit."""
  return np.where(fits.all(1)[:, None], np.arange(rewards.shape[1]), -1)


def best(rewards, fits):
  """The first of the best."""
  rewards = np.where(fits, rewards, -np.inf)
  found = rewards.argmax(axis=1)[:, None]
  return np.where(fits.any(axis=1)[:, None], found, -1)


def best_success(rewards, fits):
  """The first of the best, if it earned anything."""
  earned = np.where(fits, rewards, 0).max(axis=1) > 0
  return np.where(earned[:, None], best(rewards, fits), -1)


def filled(chosen, groups):
  """The chosen of so many groups, some twice: a quarter, a half or all.

  The sampler is compiled for a number of prompts, and so for three.
  """
  sizes = -(-groups // 4), -(-groups // 2), groups
  return np.resize(chosen, min(n for n in sizes if n >= len(chosen)))
