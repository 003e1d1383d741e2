"""Oracles of the entries that are REINFORCE on rows of an older policy.

Means over tokens, and the square of each token's move, are those of the
authors' code, Trinity-RFT.
"""

from __future__ import annotations

from math import exp

from tests.oracles.advantages import balanced
from tests.oracles.parts import (
  Answer,
  budget_mean,
  centred,
  entry,
  over_tokens,
  ratio,
  token_mean,
)


def _reinforce(case, advantages, weights, factor, *rest):
  """-f A log pi, with a constant f(r, A) of each token, and other terms."""

  def term(now, it):
    a = advantages[it[0]]
    return -factor(ratio(case, case.now, it), a) * a * now.logp[it]

  loss = over_tokens(case, weights, term, *rest)
  return Answer(loss, advantages=advantages, weights=weights)


@entry(moved=({'low': 0.5},))
def rec_one_side(case, *, low, high):
  """Arxiv 2509.24203, REC-OneSide-IS."""
  a, w = centred(case, case.rewards), token_mean(case)

  def factor(r, a):
    inside = r <= 1 + high if a >= 0 else r >= 1 - low
    return r if inside else 0.0

  return _reinforce(case, a, w, factor)


@entry(moved=({'low': 0.5},))
def rec_two_side(case, *, low, high):
  """Arxiv 2509.24203, REC-TwoSide-NoIS."""
  a, w = centred(case, case.rewards), token_mean(case)
  return _reinforce(case, a, w, lambda r, a: 1 - low <= r <= 1 + high)


@entry(moved=({'low': 0.5, 'far_low': 0.9, 'far_high': 8.0},))
def rec_ring(case, *, low, high, far_low, far_high):
  """Arxiv 2509.24203, REC-Ring-NoIS."""
  a, w = centred(case, case.rewards), token_mean(case)

  def factor(r, a):
    strayed = r <= 1 - far_low if a >= 0 else r >= 1 + far_high
    return strayed or 1 - low <= r <= 1 + high

  return _reinforce(case, a, w, factor)


@entry()
def red_weight(case, *, temperature):
  """Arxiv 2509.24203, RED-Weight: exp(A / temperature)."""
  a, w = centred(case, case.rewards), token_mean(case)
  return _reinforce(case, a, w, lambda r, a: exp(a / temperature))


@entry()
def red_drop(case):
  """Arxiv 2509.24203, RED-Drop: the mean over all ways to drop the surplus."""
  a = balanced(case.rewards, case.group, case.valid)
  w = token_mean(case)
  return _reinforce(case, a, w, lambda r, a: 1.0)


@entry()
def opmd(case, *, move_weight):
  """Arxiv 2509.24203: -A log pi + c (log pi / pi_old)^2, over a budget."""
  a, w = centred(case, case.rewards), budget_mean(case)

  def move(now, it):
    return move_weight * (now.logp[it] - case.old.logp[it]) ** 2

  return _reinforce(case, a, w, lambda r, a: 1.0, move)


@entry()
def asymmetric_reinforce(case, *, shift):
  """Arxiv 2506.20520: -(r - (mean - shift)) log pi, over a budget."""
  a, w = centred(case, case.rewards), budget_mean(case)
  return _reinforce(
    case, a, w, lambda r, a: 1.0, lambda now, it: -shift * now.logp[it]
  )
