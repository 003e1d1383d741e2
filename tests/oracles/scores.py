"""Scores of responses, f(logp, old, mask, i, extras), one row at a time."""

import math

import numpy as np


def total(x, mask, i):
  return sum(x[i, t] for t in np.flatnonzero(mask[i]))


def average(x, mask, i):
  return total(x, mask, i) / max(mask[i].sum(), 1)


def likelihood(logp, old, mask, i, x):
  return total(logp, mask, i)


def mean_likelihood(logp, old, mask, i, x):
  return average(logp, mask, i)


def to_reference(logp, old, mask, i, x):
  return total(logp - x['ref_logp'], mask, i)


def mean_to_reference(logp, old, mask, i, x):
  return average(logp - x['ref_logp'], mask, i)


def to_iterate(logp, old, mask, i, x):
  return total(logp - old, mask, i)


def to_mixture(logp, old, mask, i, x, share=1 / 3):
  return share * to_reference(logp, old, mask, i, x) + (1 - share) * to_iterate(
    logp, old, mask, i, x
  )


def to_extrapolated(logp, old, mask, i, x, momentum=0.3):
  carried = total(old - x['ref_logp'], mask, i)
  return to_iterate(logp, old, mask, i, x) - momentum * carried


def to_iterate_in_turn(logp, old, mask, i, x):
  return total(logp - old, mask & (x['turn'] == x['resampled'][:, None]), i)


def to_alpha_divergence(logp, old, mask, i, x, alpha=0.5):
  h = to_reference(logp, old, mask, i, x)
  return (math.exp((alpha - 1) * h) - 1) / (alpha - 1)


def to_jensen_shannon(logp, old, mask, i, x):
  return -math.log1p(math.exp(-to_reference(logp, old, mask, i, x)))


def powered_likelihood(logp, old, mask, i, x, alpha=0.25):
  p = math.exp(average(logp, mask, i))
  return (1 - p**-alpha) / alpha


def log_odds(logp, old, mask, i, x):
  p = min(math.exp(average(logp, mask, i)), math.exp(-1e-6))
  return math.log(p / (1 - p))


def to_reference_by_length(logp, old, mask, i, x, alpha=0.5):
  return to_reference(logp, old, mask, i, x) + alpha * mask[i].sum()


def to_reference_past_shortest(logp, old, mask, i, x, alpha=0.5):
  peers = (x['group'] == x['group'][i]) & x['valid'] & mask.any(1)
  shortest = min(mask[j].sum() for j in np.flatnonzero(peers))
  h = [logp[i, t] - x['ref_logp'][i, t] for t in np.flatnonzero(mask[i])]
  return sum(h[:shortest]) + alpha * sum(h[shortest:])
