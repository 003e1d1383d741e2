"""How far the probabilities of a reward model can be trusted, in NumPy.

A margin is the rating of the better response less that of the worse; under
Bradley and Terry, sigmoid(margin) is the probability given to the label.
"""

from __future__ import annotations

import math

import numpy as np

from jaxrl_llm.rewards import learned


def margins(ratings, rewards, live, worse=None) -> np.ndarray:
  """f64[J]: the margins of all pairs of one group that differ in reward.

  Args:
    ratings, rewards: f[B, G]. live: bool[B, G], rows that count.
    worse: f[B, G], ratings of the same responses where they are the worse of
      a pair; None is `ratings`.
  """
  others = ratings if worse is None else worse
  better = rewards[:, :, None] > rewards[:, None, :]
  pair = better & live[:, :, None] & live[:, None, :]
  gaps = np.asarray(ratings, float)[:, :, None] - others[:, None, :]
  return gaps[pair]


def best_of(ratings, rewards, live) -> dict[str, float]:
  """`rating/best_of_n`: the reward of the response rated best of n.

  Without bias from all responses to a prompt, see `learned.best_of`; means
  over the prompts, for powers of 2 up to the fewest responses to one. n = 1
  is the mean reward; a model that knows nothing stays there.

  Args:
    ratings, rewards: f[B, G]. live: bool[B, G], rows that count.

  Returns:
    {} where some prompt has fewer than three responses.
  """
  fewest = int(np.min(np.sum(live, axis=1)))
  if fewest < 3:
    return {}
  groups = [(r[here], g[here]) for r, g, here in zip(ratings, rewards, live)]
  return {
    f'rating/best_of_{n}': float(
      np.mean([learned.best_of(r, g, n) for r, g in groups])
    )
    for n in (2**k for k in range(fewest.bit_length()))
  }


def summarize(margins: np.ndarray, *, bins: int = 10) -> dict[str, float]:
  """Accuracy, likelihood and calibration of margins f[J].

      accuracy  share of margins above 0; one of 0 counts 1/2
      nll       mean of -log sigmoid(m), nats
      brier     mean of (1 - sigmoid(m))^2
      ece       sum_k (n_k / J) |accuracy_k - confidence_k| over bins of the
                confidence max(p, 1 - p), each of width 1 / (2 bins)

  Returns:
    All four, named `rating/...`; NaN where there is no pair.

  Source of ece: arXiv 1706.04599, equation 3.
  """
  margins = np.asarray(margins, float)
  if not margins.size:
    return dict.fromkeys(
      ('rating/accuracy', 'rating/nll', 'rating/brier', 'rating/ece'), math.nan
    )
  right = 0.5 + 0.5 * np.sign(margins)
  size = np.abs(margins)
  confidence = 1 / (1 + np.exp(-size))
  place = np.minimum((2 * bins * (confidence - 0.5)).astype(int), bins - 1)
  gap = np.bincount(place, right - confidence, minlength=bins)
  # -log sigmoid(m) without overflow.
  nll = np.maximum(-margins, 0) + np.log1p(np.exp(-size))
  return {
    'rating/accuracy': float(learned.accuracy(margins, 0.0)),
    'rating/nll': float(nll.mean()),
    'rating/brier': float(learned.brier(margins, 0.0)),
    'rating/ece': float(np.abs(gap).sum() / margins.size),
  }
