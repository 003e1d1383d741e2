"""Oracles of the entries that compare whole distributions with a teacher's."""

from __future__ import annotations

from math import exp, log

import numpy as np

from tests.oracles.parts import (
  Answer,
  clipped,
  entry,
  mean,
  on_tokens,
  over_tokens,
  score_function,
  token_mean,
)


def _kl(a, b):
  return sum(x * log(x / y) for x, y in zip(a, b))


def _divergence(case, now, it, beta):
  """Of all candidates and the rest as one."""
  named, said = case.extras['candidates'], case.extras['teacher_candidates']
  places = [k for k, v in enumerate(named[it]) if v >= 0]
  p = [exp(now.log_probs[it][named[it][k]]) for k in places]
  q = [exp(said[it][k]) for k in places]
  # All other tokens have a chance, whatever rounding makes of it.
  p, q = (x + [max(1 - sum(x), 1e-6)] for x in (p, q))
  if beta == 0:
    return _kl(q, p)
  if beta == 1:
    return _kl(p, q)
  m = [beta * y + (1 - beta) * x for x, y in zip(p, q)]
  return beta * _kl(q, m) + (1 - beta) * _kl(p, m)


@entry(moved=({'reward_weight': 0.4}, {'beta': 0.0}, {'beta': 1.0}))
def gkd(case, *, share, size, beta, weight, reward_weight):
  """Arxiv 2306.13649, equation 1, all that is no candidate being one token."""
  del share, size
  rewards = reward_weight * case.rewards
  a, w = on_tokens(case, rewards), token_mean(case)
  loss = over_tokens(
    case,
    w,
    score_function(case, a),
    lambda now, it: weight * _divergence(case, now, it, beta),
  )
  return Answer(loss, advantages=a, weights=w, rewards=rewards)


@entry()
def minillm(case, *, weight, clip):
  """Arxiv 2306.08543: equation 6, and 4 with the mean of what follows."""
  gap, a = case.teacher_logp - case.old.logp, np.zeros(case.mask.shape)
  for i, t in case.tokens:
    a[i, t] = mean(gap[i, u] for u in case.columns(i) if u > t)
  w = token_mean(case)
  loss = over_tokens(
    case,
    w,
    clipped(case, a, clip, clip),
    lambda now, it: weight * _divergence(case, now, it, 1.0),
  )
  return Answer(loss, advantages=a, weights=w)


def _average(past, *, decay):
  """The moving average of the policies so far, the start first."""
  held = past[0]
  for later in past[1:]:
    held = decay * held + (1 - decay) * later
  return held


def _self_taught(case, beta, cap, reward_weight):
  """The mean over tokens of rows that were shown something."""
  named = case.extras['candidates'] >= 0
  shown = case.mask & named.any(axis=2)
  rewards = reward_weight * case.rewards
  a, w = on_tokens(case, rewards), token_mean(case, token_keep=shown * 1.0)

  def divergence(now, it):
    ratio = min(exp(case.now.logp[it] - case.old.logp[it]), cap)
    return ratio * _divergence(case, now, it, beta) if shown[it] else 0.0

  loss = over_tokens(case, w, score_function(case, a), divergence)
  return Answer(
    loss,
    advantages=a,
    weights=w,
    token_keep=shown * 1.0,
    rewards=rewards,
  )


@entry(
  moved=({'reward_weight': 0.4}, {'beta': 0.0}, {'beta': 1.0}),
  reference=_average,
  same={('credit.1', ''): 'every token of a case has a candidate'},
)
def sdpo(case, *, beta, cap, reward_weight):
  """Arxiv 2601.20802, as TRL has it: JS divergence, ratio at most 2."""
  return _self_taught(case, beta, cap, reward_weight)


@entry(
  moved=({'reward_weight': 0.4}, {'beta': 0.0}, {'beta': 1.0}),
  reference=_average,
  same={('credit.1', ''): 'every token of a case has a candidate'},
)
def sdft(case, *, beta, cap, reward_weight):
  """Arxiv 2601.19897: the same, of whoever is shown a demonstration."""
  return _self_taught(case, beta, cap, reward_weight)


@entry()
def iw_opd(case, *, gamma):
  """Arxiv 2606.22600, TRL's `_compute_iw_opd_loss`."""
  a = np.zeros(case.mask.shape)
  for i in case.rows:
    gap = {
      t: case.teacher_logp[i, t] - case.old.logp[i, t] for t in case.columns(i)
    }
    total = sum(abs(x) for x in gap.values())
    for t, x in gap.items():
      passed = sum(abs(gap[u]) for u in gap if u < t) / total
      a[i, t] = (1 + gamma * (1 - passed)) * x
  w = token_mean(case)
  loss = over_tokens(case, w, score_function(case, a))
  return Answer(loss, advantages=a, weights=w)
