"""Statistics of evaluation: pass@k, maj@k, and their intervals, in NumPy."""

from __future__ import annotations

import collections
import math
import statistics
from collections.abc import Sequence

import numpy as np

# Binomials of more samples overflow float64.
MAX_SAMPLES = 1000


def pass_at_k(samples, correct, k: int) -> np.ndarray:
  """Probability that one of k answers, drawn from n without return, is right.

      pass@k = 1 - C(n - c, k) / C(n, k) = 1 - prod_{i=n-c+1}^{n} (1 - k / i)

  Unbiased for the chance that k fresh answers hold a right one; the product
  neither overflows nor cancels.

  Args:
    samples: i[...], n, answers per question.
    correct: i[...], c, those that are right.
    k: answers drawn, 1 to n.

  Returns:
    f64[...], in [0, 1].

  Raises:
    ValueError: k below 1 or above n, or c outside [0, n].

  Source: HumanEval, arXiv 2107.03374, section 2.1 and figure 3.
  """
  n, c = np.broadcast_arrays(np.asarray(samples), np.asarray(correct))
  if k < 1 or (n < k).any():
    raise ValueError(
      f'pass@{k} needs 1 <= k <= samples per question, which go down to '
      f'{n.min()}'
    )
  if (c < 0).any() or (c > n).any():
    raise ValueError(f'{c.max()} right answers of {n.min()} are impossible')
  wrong = n - c
  i = np.arange(1, n.max(initial=1) + 1)
  inside = (i > wrong[..., None]) & (i <= n[..., None])
  # Fewer than k wrong answers: one of any k is right. The product says so too
  # where the factor i = k is inside.
  factors = np.where(inside, 1 - k / i, 1.0)
  return np.where(wrong < k, 1.0, 1 - np.prod(factors, axis=-1))


def maj_at_k(correct, answers: Sequence[str], k: int) -> float:
  """Probability that the majority of k answers, drawn from n, is right.

      maj@k = E_S sum_a [a wins S] right(a) / (number of answers that win S)

  over all C(n, k) subsets S, exactly. An answer wins where no other is more
  frequent in S; ties are broken at random. Empty answers have no vote, and a
  subset without votes is wrong. right(a) is the share of the rows with answer
  a that are right. By counting: for an answer with m copies and t votes, the
  others contribute the coefficient of x^(k-t) y^r of

      prod_b sum_{s=0}^{t} C(m_b, s) x^s y^[s=t]

  where r others tie.

  Args:
    correct: bool[n].
    answers: n extracted answers, '' where there is none.
    k: answers drawn, 1 to n.

  Returns:
    In [0, 1].

  Raises:
    ValueError: k below 1 or above n, n above `MAX_SAMPLES`, or other lengths.

  Source: self-consistency, arXiv 2203.11171, section 2, as the expectation
  over subsets.
  """
  n = len(answers)
  if len(correct) != n:
    raise ValueError(f'{len(correct)} marks for {n} answers')
  if not 1 <= k <= n or n > MAX_SAMPLES:
    raise ValueError(
      f'maj@{k} of {n} answers: choose 1 <= k <= samples <= {MAX_SAMPLES}'
    )
  right: collections.Counter[str] = collections.Counter()
  copies = collections.Counter(answers)
  for good, answer in zip(correct, answers):
    right[answer] += bool(good)
  silent = copies.pop('', 0)
  total = 0.0
  for answer, count in copies.items():
    if right[answer]:
      rest = collections.Counter(copies)
      del rest[answer]
      wins = _wins(count, list(rest.values()), silent, k)
      total += wins * right[answer] / count
  return min(1.0, total / math.comb(n, k))


def _wins(count: int, others: list[int], silent: int, k: int) -> float:
  """Subsets of size k that an answer wins; a tie of r answers counts 1 / r."""
  total = 0.0
  for votes in range(1, min(count, k) + 1):
    left = k - votes
    ties = min(len(others), left // votes)
    ways = np.zeros((left + 1, ties + 1))
    for s in range(min(silent, left) + 1):
      ways[s, 0] = math.comb(silent, s)
    for copies in others:
      more = np.zeros_like(ways)
      for s in range(min(copies, votes, left) + 1):
        ties_too = int(s == votes)
        more[s:, ties_too:] += (
          math.comb(copies, s) * (ways[: left + 1 - s, : ties + 1 - ties_too])
        )
      ways = more
    shares = ways[left] / (1 + np.arange(ties + 1))
    total += math.comb(count, votes) * float(shares.sum())
  return total


def wilson_interval(
  successes: float, trials: int, *, confidence: float = 0.95
) -> tuple[float, float]:
  """Wilson's score interval of a proportion.

      (p + z^2/2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

  For a mean of n numbers in [0, 1] that are not only 0 and 1, such as pass@k
  over questions, pass their sum: their variance is at most p (1 - p), so the
  interval is then too wide, never too narrow.

  Args:
    successes: how many of the trials, or the sum of their values.
    trials: n, independent questions.
    confidence: probability to cover the true proportion.

  Returns:
    (low, high), within [0, 1].

  Raises:
    ValueError: no trials, successes outside [0, trials], or a confidence
      outside (0, 1).

  Source: Wilson 1927, JASA 22, 209-212.
  """
  if trials < 1 or not 0 <= successes <= trials or not 0 < confidence < 1:
    raise ValueError(
      f'{successes} successes in {trials} trials at confidence {confidence}'
      ': give at least one trial, 0 to all successes, confidence in (0, 1)'
    )
  z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
  p, n = successes / trials, trials
  middle = p + z**2 / (2 * n)
  spread = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
  scale = 1 + z**2 / n
  low, high = (middle - spread) / scale, (middle + spread) / scale
  return max(0.0, min(low, p)), min(1.0, max(high, p))


def summarize(
  correct, answers: Sequence[Sequence[str]], ks: Sequence[int]
) -> dict[str, float]:
  """pass@k and maj@k over questions, each with its 95 % interval.

  Args:
    correct: bool[B, n], answers that are right. A failed verification is
      False, so that failures never flatter.
    answers: B lists of n extracted answers, '' where there is none.
    ks: each 1 to n.

  Returns:
    For each k: `pass@k`, `pass@k/low`, `pass@k/high`, and the same of `maj@k`
    where k > 1 (maj@1 and pass@1 differ only in unreadable right answers).

  Raises:
    ValueError: no questions, shapes that differ, or a k that does not fit.
  """
  correct = np.asarray(correct, bool)
  shape = (len(answers), len(answers[0]) if len(answers) else 0)
  if correct.shape != shape or not correct.size:
    raise ValueError(f'marks of shape {correct.shape} for answers of {shape}')
  metrics: dict[str, float] = {}
  for k in ks:
    values = {f'pass@{k}': pass_at_k(correct.shape[1], correct.sum(axis=1), k)}
    if k > 1:
      values[f'maj@{k}'] = np.array(
        [maj_at_k(c, a, k) for c, a in zip(correct, answers)]
      )
    for name, value in values.items():
      low, high = wilson_interval(float(value.sum()), len(value))
      metrics |= {
        name: float(value.mean()),
        f'{name}/low': low,
        f'{name}/high': high,
      }
  return metrics
