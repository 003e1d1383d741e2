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
