"""Statistics of reward models: calibration, and the best of n, in NumPy.

A margin is the rating of the better response less that of the worse; under
Bradley and Terry, sigmoid(margin) is the probability given to the label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def margins(ratings, rewards, live) -> np.ndarray:
  """f64[J]: the margins of all pairs of one group that differ in reward.

  Args:
    ratings, rewards: f[B, G]. live: bool[B, G], rows that count.
  """
  better = rewards[:, :, None] > rewards[:, None, :]
  pair = better & live[:, :, None] & live[:, None, :]
  gaps = np.asarray(ratings, float)[:, :, None] - ratings[:, None, :]
  return gaps[pair]


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
  # -log sigmoid(m) without overflow, and sigmoid(-m) from that of |m|.
  nll = np.maximum(-margins, 0) + np.log1p(np.exp(-size))
  wrong = np.where(margins > 0, 1 - confidence, confidence)
  return {
    'rating/accuracy': float(right.mean()),
    'rating/nll': float(nll.mean()),
    'rating/brier': float((wrong**2).mean()),
    'rating/ece': float(np.abs(gap).sum() / margins.size),
  }


def best_of_n(ratings: Sequence[float], gold: Sequence[float], n: int) -> float:
  """Expected gold score of the highest rated of n responses, drawn from N.

      sum_{i=n}^{N} C(i-1, n-1) / C(N, n) gold_(i)

  gold_(i) belongs to the i-th lowest rating. The mean over all subsets of n,
  without drawing any; equal ratings are put in order at random.

  Args:
    ratings, gold: f[N]. n: responses drawn, 1 to N.

  Raises:
    ValueError: n below 1 or above N.

  Source: arXiv 2310.02743, section 3.1, as in its code; the estimator of
    WebGPT, arXiv 2112.09332, appendix I.
  """
  total = len(ratings)
  if not 1 <= n <= total:
    raise ValueError(f'best of {n} needs 1 <= n <= {total} responses')
  _, place = np.unique(ratings, return_inverse=True)
  # The mean over the orders of a tie is its mean at each of its places.
  tied = np.bincount(place, gold) / np.bincount(place)
  ordered = tied[np.sort(place)]
  ways = [math.comb(i - 1, n - 1) for i in range(1, total + 1)]
  return float(sum(w * g for w, g in zip(ways, ordered)) / math.comb(total, n))


def best_of_n_kl(n: int) -> float:
  """log n - (n - 1) / n: the most that the best of n diverges, in nats.

  Source: arXiv 2112.09332, appendix I; an upper bound, arXiv 2401.01879.
  """
  return math.log(n) - (n - 1) / n
