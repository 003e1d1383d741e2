"""Oracles of the entries that mainly change how rewards become advantages."""

from __future__ import annotations

from itertools import combinations
from math import exp

import numpy as np
from scipy import stats

from tests.oracles.parts import (
  Answer,
  budget_mean,
  centred,
  clipped,
  entropy_bonus,
  entry,
  k2,
  k3,
  leave_one_out,
  mean,
  normalised,
  on_tokens,
  over_tokens,
  penalty,
  returns,
  score_function,
  sequence_mean,
  sequence_sum,
  spread,
  token_mean,
  whitened,
)


@entry()
def reinforce(case, *, entropy_weight):
  """Williams 1992: the sum over a response of -r log pi, less the bonus."""
  a, w = case.rewards, sequence_sum(case)
  terms = score_function(case, a), entropy_bonus(entropy_weight)
  return Answer(over_tokens(case, w, *terms), advantages=a, weights=w)


@entry()
def rloo(case, *, kl_weight):
  """Arxiv 2402.14740, section 2.2; the KL as its own gradient, x^2 / 2."""
  a, w = leave_one_out(case, case.rewards), sequence_sum(case)
  terms = score_function(case, a), penalty(case, kl_weight, k2)
  return Answer(over_tokens(case, w, *terms), advantages=a, weights=w)


def _grpo(case, clip_low, clip_high, kl_weight, epsilon):
  a, w = normalised(case, case.rewards, epsilon), sequence_mean(case)
  terms = clipped(case, a, clip_low, clip_high), penalty(case, kl_weight, k3)
  return Answer(over_tokens(case, w, *terms), advantages=a, weights=w)


@entry()
def grpo(case, *, clip_low, clip_high, kl_weight, epsilon):
  """Arxiv 2402.03300, equations 3 and 4."""
  return _grpo(case, clip_low, clip_high, kl_weight, epsilon)


@entry()
def multi_objective_grpo(case, *, clip_low, clip_high, kl_weight, epsilon):
  """Arxiv 2503.21819, abstract alone: GRPO of the weighted sum of rewards."""
  return _grpo(case, clip_low, clip_high, kl_weight, epsilon)


@entry()
def dr_grpo(case, *, clip_low, clip_high):
  """Arxiv 2503.20783, section 3.2: no spread, a constant for the length."""
  a, w = centred(case, case.rewards), budget_mean(case)
  term = clipped(case, a, clip_low, clip_high)
  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


@entry(moved=({'decay': 0.8},))
def reinforce_plus_plus(case, *, clip_low, clip_high, kl_weight, decay):
  """Arxiv 2501.03262, equations 4 to 6: k1 in the reward to go, whitened."""
  paid = -kl_weight * (case.old.logp - case.ref_logp)
  a = whitened(case, returns(case, case.rewards, paid, decay=decay))
  w = token_mean(case)
  term = clipped(case, a, clip_low, clip_high)
  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


@entry(
  same={('credit.0.fn', 'norm_by_batch'): 'whitening divides by the spread'}
)
def reinforce_plus_plus_baseline(case, *, clip_low, clip_high, kl_weight):
  """Arxiv 2501.03262, equation 8: the group's mean, the batch's spread."""
  a = whitened(case, on_tokens(case, centred(case, case.rewards)))
  w = token_mean(case)
  terms = clipped(case, a, clip_low, clip_high), penalty(case, kl_weight, k2)
  return Answer(over_tokens(case, w, *terms), advantages=a, weights=w)


@entry(
  moved=({'low': -0.5, 'high': 1.75},),
  same={('credit.fn', 'centre'): 'each score sums to 0 over its group'},
)
def bnpo(case, *, clip_low, clip_high, low, high):
  """Arxiv 2506.02864, section 3: over the density of the group's mean."""
  total = np.zeros(len(case.valid))
  for k, weight in enumerate(case.weights):
    s = (case.components[:, k] - low) / (high - low)
    p = [mean(s[i] for i in rows) for rows in case.groups]
    m, v = mean(p), spread(p) ** 2
    c = m * (1 - m) / v - 1
    alpha, beta = max(1, 1 + c * m / 3), max(1, 1 + c * (1 - m) / 3)
    for rows, middle in zip(case.groups, p):
      density = stats.beta.pdf(middle, alpha, beta)
      scale = min(1 / density, 1e6) if density else 1e6
      for i in rows:
        total[i] += weight * scale * (s[i] - middle)
  w = sequence_sum(case)
  term = clipped(case, total, clip_low, clip_high)
  return Answer(over_tokens(case, w, term), rewards=total, weights=w)


@entry(same={('credit.0.fn', 'centre'): 'each score sums to 0 over its group'})
def gdpo(case, *, clip_low, clip_high, epsilon):
  """Arxiv 2601.05242, equations 4 to 6: each reward alone, then the batch."""
  each = [normalised(case, x, epsilon) for x in case.components.T]
  total = sum(weight * z for weight, z in zip(case.weights, each))
  rows = [total[i] for i in case.rows]
  a = np.zeros(len(total))
  for i in case.rows:
    a[i] = (total[i] - mean(rows)) / (spread(rows) + epsilon)
  w = sequence_mean(case)
  term = clipped(case, a, clip_low, clip_high)
  return Answer(
    over_tokens(case, w, term), rewards=total, advantages=a, weights=w
  )


@entry()
def dgpo(case, *, clip_low, clip_high, temperature, epsilon):
  """Arxiv 2601.20614, section 3: mean deviations, and harder groups more."""
  r = case.rewards
  live = [rows for rows in case.groups if len({r[i] for i in rows}) > 1]
  hard = [exp(-mean(r[i] for i in rows) / temperature) for rows in live]
  a, keep = np.zeros(len(r)), np.zeros(len(r))
  for rows, h in zip(live, hard):
    middle = mean(r[i] for i in rows)
    total = sum(abs(r[i] - middle) for i in rows)
    for i in rows:
      keep[i] = 1.0
      a[i] = len(rows) * (r[i] - middle) / (total + epsilon) * h / mean(hard)
  w = token_mean(case, keep)
  term = clipped(case, a, clip_low, clip_high)
  return Answer(over_tokens(case, w, term), advantages=a, weights=w, keep=keep)


@entry()
def lite_ppo(case, *, clip_low, clip_high, epsilon):
  """Arxiv 2508.08221, section 4.1: the group's mean, all rewards' spread."""
  rewards = [case.rewards[i] for i in np.flatnonzero(case.valid)]
  a = centred(case, case.rewards) / (spread(rewards) + epsilon)
  w = token_mean(case)
  term = clipped(case, a, clip_low, clip_high)
  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


def _company(rows, i, k):
  """The subsets of k rows that hold a row, without it."""
  return list(combinations([j for j in rows if j != i], k - 1))


@entry(values={'k': 2}, moved=({'k': 3},))
def pkpo(case, *, k):
  """Arxiv 2505.15201: the gain in the maximum, subset by subset."""
  a = np.zeros(len(case.valid))
  for rows in case.groups:
    for i in rows:
      company = _company(rows, i, k)
      r = case.rewards
      gains = [max(r[i] - max(r[j] for j in c), 0) for c in company]
      # n / C(n, k) of the sum is k times the mean over a row's companies.
      a[i] = k * mean(gains)
  w = sequence_sum(case)
  return Answer(
    over_tokens(case, w, score_function(case, a)), advantages=a, weights=w
  )


@entry()
def maxrl(case, *, clip_low, clip_high):
  """Arxiv 2602.02710: (r - mean) / mean, nothing without a success."""
  a = centred(case, case.rewards)
  for rows in case.groups:
    level = mean(case.rewards[j] for j in rows)
    for i in rows:
      a[i] = a[i] / level if level > 0 else 0.0
  w = token_mean(case)
  term = clipped(case, a, clip_low, clip_high)
  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


@entry(
  moved=(
    {'first': 2.0, 'growth': 1.5},
    {'temperature': 0.2, 'first': 1.0, 'growth': 0.1},
  )
)
def faker_air(case, *, temperature, first, growth):
  """Arxiv 2511.22169, at second hand: softmax of rewards, within a horizon."""
  a = np.zeros(len(case.valid))
  for rows in case.groups:
    total = sum(exp(case.rewards[j] / temperature) for j in rows)
    for i in rows:
      a[i] = exp(case.rewards[i] / temperature) / total
  horizon = int(first + growth * (len(case.history) - 1))
  keep = np.array(case.mask, float)
  keep[:, horizon:] = 0.0
  w = sequence_sum(case, token_keep=keep)
  loss = over_tokens(case, w, score_function(case, a))
  return Answer(loss, advantages=a, weights=w, token_keep=keep)
