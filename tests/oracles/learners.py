"""Bandits in NumPy float64: loops, and expectations over everything random."""

from __future__ import annotations

import functools

import numpy as np
from scipy import stats


def ucb1_arm(count, total, scale=1.0):
  """The arm that UCB1 pulls after `count` pulls that paid `total`."""
  for arm, pulls in enumerate(count):
    if pulls == 0:
      return arm
  n = sum(count)
  bounds = [
    t / c + scale * np.sqrt(2 * np.log(n) / c) for c, t in zip(count, total)
  ]
  return int(np.argmax(bounds))


def ucb1(rewards, scale=1.0):
  """The arms pulled in turn, where pull t of arm k would pay rewards[t, k]."""
  arms = len(rewards[0])
  count, total, pulled = np.zeros(arms, int), np.zeros(arms), []
  for paid in rewards:
    arm = ucb1_arm(count, total, scale)
    count[arm] += 1
    total[arm] += paid[arm]
    pulled.append(arm)
  return pulled


def thompson(rewards, draw):
  """The arms pulled in turn by draws from the posterior.

  Args:
    draw: f(t, count, total) -> a draw of the mean of every arm.
  """
  arms = len(rewards[0])
  count, total, pulled = np.zeros(arms), np.zeros(arms), []
  for t, paid in enumerate(rewards):
    arm = int(np.argmax(draw(t, count, total)))
    count[arm] += 1
    total[arm] += paid[arm]
    pulled.append(arm)
  return pulled


@functools.cache
def _beta(won, lost):
  """Density and distribution function of Beta(1 + won, 1 + lost)."""
  x = (np.arange(2000) + 0.5) / 2000
  law = stats.beta(1 + won, 1 + lost)
  return law.pdf(x), law.cdf(x)


def beta_chances(won, lost):
  """The chance that each arm's draw from Beta(1 + won, 1 + lost) is largest."""
  density, below = zip(*map(_beta, won, lost))
  chances = [
    np.mean(density[k] * np.prod(np.delete(below, k, axis=0), axis=0))
    for k in range(len(won))
  ]
  return np.array(chances)


def expected_regret(means, steps, chances):
  """E of the regret on Bernoulli arms after `steps` pulls, without sampling.

  Args:
    chances: f(won, lost), tuples of counts -> the chance to pull each arm.
  """
  gaps = max(means) - np.array(means)

  def plus(counts, arm):
    return tuple(c + (k == arm) for k, c in enumerate(counts))

  @functools.cache
  def follow(won, lost, left):
    if left == 0:
      return 0.0
    regret = 0.0
    for arm, chance in enumerate(chances(won, lost)):
      if chance:
        after_win = follow(plus(won, arm), lost, left - 1)
        after_loss = follow(won, plus(lost, arm), left - 1)
        after = means[arm] * after_win + (1 - means[arm]) * after_loss
        regret += chance * (gaps[arm] + after)
    return regret

  none = (0,) * len(means)
  return follow(none, none, steps)
