"""Which of two success rates is the higher one, as far as trials can tell."""

from __future__ import annotations

import numpy as np
from scipy import special


def posterior_interval(
  successes: int, trials: int, *, confidence: float = 0.95
) -> tuple[float, float]:
  """Where a success rate lies, by the quantiles of its posterior.

      p | s of n  ~  Beta(1 + s, 1 + n - s)

  Every rate is as likely as another before the trials. Unlike Wilson's
  interval, it holds no rate that is 0 or 1, which no trials can show.

  Args:
    successes: s. trials: n, 0 or more, independent.
    confidence: the mass of the posterior between both ends.

  Returns:
    (low, high), with as much mass below as above.

  Raises:
    ValueError: successes outside [0, trials], or a confidence outside (0, 1).

  Source: A Careful Examination of Large Behavior Models for Multitask
    Dexterous Manipulation, arXiv 2507.05331: the posteriors that it draws.

  Example:
    >>> print(np.round(posterior_interval(9, 10), 3))
    [0.587 0.977]
  """
  _check(successes, trials)
  if not 0 < confidence < 1:
    raise ValueError(f'confidence is {confidence}; use one between 0 and 1')
  ends = np.array([1 - confidence, 1 + confidence]) / 2
  found = special.betaincinv(1 + successes, 1 + trials - successes, ends)
  return float(found[0]), float(found[1])


def probability_of_more(
  successes: int, trials: int, other_successes: int, other_trials: int
) -> float:
  """How likely the first rate is the higher one, by both posteriors.

      P(p > q) = sum_{i=0}^{s}
          B(a + i, b + b') / ((b' + i) B(1 + i, b') B(a, b))

  with a = 1 + s_q, b = 1 + n_q - s_q of the other rate q and
  b' = 1 + n - s of the first one.

  Args:
    successes, trials: of the first. other_successes, other_trials: likewise.
      The trials are taken to be independent; those on the same questions go
      together, which makes it too careful.

  Raises:
    ValueError: successes outside [0, trials].

  Source: A Careful Examination of Large Behavior Models for Multitask
    Dexterous Manipulation, arXiv 2507.05331. Deviates: the paper tells rates
    apart by a test that may be looked at after every trial (STEP), and here
    the number of trials is fixed before.

  Example:
    >>> print(round(probability_of_more(9, 10, 5, 10), 2))
    0.97
  """
  _check(successes, trials)
  _check(other_successes, other_trials)
  a, b = 1 + other_successes, 1 + other_trials - other_successes
  own, i = 1 + trials - successes, np.arange(successes + 1)
  logs = (
    special.betaln(a + i, b + own)
    - np.log(own + i)
    - special.betaln(1 + i, own)
    - special.betaln(a, b)
  )
  return float(min(np.exp(special.logsumexp(logs)), 1.0))


def _check(successes, trials):
  if not 0 <= successes <= trials:
    raise ValueError(
      f'{successes} successes in {trials} trials; give 0 to all of them'
    )
