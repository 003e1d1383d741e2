"""Oracles of the entries that keep the entropy from collapsing."""

from __future__ import annotations

from math import exp, log

from tests.oracles.parts import (
  Answer,
  clamp,
  clipped,
  entropy_bonus,
  entry,
  mean,
  normalised,
  over_tokens,
  ratio,
  token_mean,
)


def _covariances(case, a):
  """(A - mean A)(log pi - mean log pi) by token, means over the step's."""
  level = mean(a[i] for i, _ in case.tokens)
  sure = mean(case.now.logp[it] for it in case.tokens)
  return {
    it: (a[it[0]] - level) * (case.now.logp[it] - sure) for it in case.tokens
  }


# No more tokens lie between the bounds than are drawn, so that all of them are,
# whatever the order.
@entry(
  values={'fraction': 0.1},
  moved=({'fraction': 2e-4, 'least': 3.05, 'most': 3.6},),
)
def clip_cov(case, *, clip_low, clip_high, fraction, least, most, epsilon):
  """Arxiv 2505.22617 and its code: a few tokens leave the gradient."""
  a, w = normalised(case, case.rewards, epsilon), token_mean(case)
  term = clipped(case, a, clip_low, clip_high)

  def free(it):
    r = ratio(case, case.now, it)
    return r <= 1 + clip_high if a[it[0]] > 0 else r >= 1 - clip_low

  cov = _covariances(case, a)
  candidates = [it for it in cov if least < cov[it] < most and free(it)]
  number = max(1, int(fraction * len(case.tokens)))
  out = {*candidates[:number]}

  def kept(now, it):
    return 0.0 if it in out else term(now, it)

  return Answer(over_tokens(case, w, kept), advantages=a, weights=w)


@entry(moved=({'fraction': 0.1},))
def kl_cov(case, *, fraction, weight, epsilon):
  """Arxiv 2505.22617: -r A, and |log r| on the tokens of most covariance."""
  a, w = normalised(case, case.rewards, epsilon), token_mean(case)
  cov = _covariances(case, a)
  number = max(1, int(fraction * len(case.tokens)))
  held = sorted(cov, key=cov.get)[-number:]

  def term(now, it):
    moved = abs(now.logp[it] - case.old.logp[it])
    held_back = weight * moved if it in held else 0.0
    return -ratio(case, now, it) * a[it[0]] + held_back

  return Answer(over_tokens(case, w, term), advantages=a, weights=w)


@entry(moved=({'initial': 0.05, 'target': 1.2},))
def target_entropy(
  case, *, clip_low, clip_high, initial, target, rate, epsilon
):
  """Arxiv 1812.05905, section 5: the temperature falls if entropy is high."""
  a, w = normalised(case, case.rewards, epsilon), token_mean(case)
  gap = target - case.measured['policy/entropy']
  temperature = clamp(exp(log(initial) + rate * gap), 1e-6, 1.0)
  terms = clipped(case, a, clip_low, clip_high), entropy_bonus(temperature)
  return Answer(over_tokens(case, w, *terms), advantages=a, weights=w)
