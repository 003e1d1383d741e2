"""Oracles of the entries that play preference games; see `preferences`."""

from __future__ import annotations

import dataclasses
import itertools
from math import exp

import jax
import numpy as np

from tests.oracles.parts import (
  Answer,
  chances,
  entry,
  every,
  over_groups,
  over_pairs,
  over_tokens,
  preferences,
  returns,
  score_function,
  sequence_sum,
  summed,
)


def _against(case, weight, kl_weight, own=None):
  """The policy gradient of P - 1/2 - tau log pi / pi_ref, with KL to go.

  Args:
    own: bool[N], rows that the policy wrote and learns; None is all.
  """
  won = chances(case, weight)
  rewards = np.where(case.valid, won - 0.5, 0.0)
  paid = -kl_weight * (case.old.logp - case.ref_logp)
  a = returns(case, rewards, paid)
  share = case.mask if own is None else case.mask & own[:, None]
  w = sequence_sum(case, token_keep=share * 1.0)
  return Answer(
    over_tokens(case, w, score_function(case, a)),
    advantages=a,
    rewards=rewards,
    token_keep=share,
    weights=w,
    preference=preferences(case),
  )


def _against_rows(case, kl_weight):
  """Likewise against the rows of the group that somebody else wrote."""
  other = case.extras['opponent']
  return _against(case, lambda i, j: float(other[j]), kl_weight, own=~other)


@entry(judged=True)
def nash_self_play(case, *, kl_weight):
  """Arxiv 2312.00886, section 7, with a mixture of 0: the policy itself."""
  return _against(case, lambda i, j: float(i != j), kl_weight)


@entry(judged=True)
def nash_md_reweighted(case, *, kl_weight, share):
  """Arxiv 2312.00886: rows weighed as the mixture pi^(1 - b) pi_ref^b."""
  h = summed(case, case.old.logp - case.ref_logp)
  return _against(
    case, lambda i, j: exp(-share * h[j]) if i != j else 0.0, kl_weight
  )


@entry(judged=True)
def nash_md(case, *, kl_weight):
  """Arxiv 2312.00886, section 7: Nash-MD-PG, opponents from the mixture."""
  return _against_rows(case, kl_weight)


def _average(past, *, decay):
  """The moving average of the policy after each iteration."""
  average = past[0]
  for policy in past[1:]:
    average = decay * average + (1 - decay) * policy
  return average


@entry(judged=True, opponent=_average)
def nash_ema(case, *, kl_weight):
  """Arxiv 2312.00886, section 7: Nash-EMA-PG, opponents from the average."""
  return _against_rows(case, kl_weight)


@entry(judged=True)
def nash_opponents(case, *, kl_weight):
  """The same gradient against rows of any other policy."""
  return _against_rows(case, kl_weight)


@entry(judged=True)
def nash_mp(case, *, weight, pull):
  """Arxiv 2505.19731, its proximal step as a policy gradient; recalled.

  coef = -(P(y beats policy) - 1/2) + beta log pi / pi_ref
         + (beta / eta) log pi / pi_old,   over samples of the old policy
  """
  moved = summed(case, case.now.logp - case.old.logp)
  drift = summed(case, case.now.logp - case.ref_logp)
  p = preferences(case)

  def loss(now):
    live = summed(case, now.logp - case.old.logp)

    def of_group(rows):
      total = 0.0
      for i in rows:
        rivals = {j: exp(moved[j]) for j in rows if j != i}
        won = sum(w * p[i, j % case.samples] for j, w in rivals.items())
        chance = won / sum(rivals.values()) if rivals else 0.5
        coef = weight * drift[i] + weight / pull * moved[i] - (chance - 0.5)
        total += exp(moved[i]) * coef * live[i]
      return total / len(rows)

    return over_groups(case, of_group)

  rates = chances(case, lambda i, j: float(i != j))
  return Answer(loss, advantages=0 * rates, rewards=rates, preference=p)


def _game(case, loss, weight):
  """A loss alone that reads P, and the rows' chances against others.

  Args:
    weight: f(i, j), that of the opponent j.
  """
  rewards = np.where(case.valid, chances(case, weight), 0.0)
  p = preferences(case)
  return Answer(loss, advantages=0 * rewards, rewards=rewards, preference=p)


def _regressed(case, anchor, weight, pairs=every):
  """(D - (P - 1/2) / weight)^2 over every two rows of a group, or others."""
  p = preferences(case)

  def loss(now):
    h = summed(case, now.logp - anchor)

    def pair(i, j):
      gap = p[i, j % case.samples] - 0.5
      return (h[i] - h[j] - gap / weight) ** 2

    return over_pairs(case, pairs, pair)

  return _game(case, loss, lambda i, j: float(i != j))


@entry(judged=True)
def inpo(case, *, weight, share):
  """Arxiv 2407.00617, equation 7, with its label averaged over its draw.

  P (D - 1 / (2 eta))^2 + (1 - P) (-D - 1 / (2 eta))^2, which is
  (D - (P - 1/2) / eta)^2 and a constant.
  """
  anchor = share * case.ref_logp + (1 - share) * case.old.logp
  return _regressed(case, anchor, weight)


@entry(judged=True)
def inpo_drawn(case, *, weight, share):
  """Equation 7 itself: (h_w - h_l - 1 / (2 eta))^2 of who won, by a draw.

  Who wins is a draw of the package's, of the seed 0: any would do.
  """
  anchor = share * case.ref_logp + (1 - share) * case.old.logp
  key = jax.random.fold_in(jax.random.key(0), 0x6475656C)
  key = jax.random.fold_in(key, len(case.history) - 1)
  size = case.samples
  coins = np.asarray(
    jax.random.uniform(key, (len(case.valid) // size, size, size))
  ).reshape(-1, size)
  won = preferences(case)
  for i in range(len(won)):
    for j in range(size):
      other, place = i - i % size + j, i % size
      if place < j and won[i, j] != 0.5:
        won[i, j] = float(coins[i, j] < won[i, j])
        won[other, place] = 1 - won[i, j]
  return _regressed(dataclasses.replace(case, preference=won), anchor, weight)


@entry(judged=True)
def inpo_best_worst(case, *, weight, share):
  """The same of the rows of a group that win most and least."""
  anchor = share * case.ref_logp + (1 - share) * case.old.logp
  won = chances(case, lambda i, j: float(i != j))

  def extremes(rows):
    high, low = (f(won[i] for i in rows) for f in (max, min))
    best, worst = ([i for i in rows if won[i] == x] for x in (high, low))
    return [(i, j) for i in best for j in worst if high > low]

  return _regressed(case, anchor, weight, extremes)


@entry(judged=True)
def inpo_knockout(case, *, weight, share):
  """(D - 1 / (2 eta))^2 of the winner of a knock-out and the last of losers."""
  anchor = share * case.ref_logp + (1 - share) * case.old.logp
  p, live = preferences(case), case.valid & case.mask.any(axis=1)

  def beats(i, j):
    return 0.5 + 0.5 * np.sign(p[i, j % case.samples] - 0.5)

  def falls(i, j):
    return beats(j, i)

  found = {}
  for first in range(0, len(live), case.samples):
    rows = list(range(first, first + case.samples))
    if not all(live[i] for i in rows):
      continue  # The code passes over a question that lacks a response.
    trees = list(_trees(rows))
    for tree in trees:
      for chance, winners, losers in _first_round(tree, beats):
        for i, a in _left(winners, beats).items():
          for j, b in _left(losers, falls).items():
            if p[i, j % case.samples] > 0.5:
              share_of = chance * a * b / len(trees)
              found[i, j] = found.get((i, j), 0.0) + share_of

  def loss(now):
    h = summed(case, now.logp - anchor)

    def of_group(rows):
      pairs = [(pair, x) for pair, x in found.items() if pair[0] in rows]
      return sum(x * (h[i] - h[j] - 0.5 / weight) ** 2 for (i, j), x in pairs)

    return over_groups(case, of_group)

  return _game(case, loss, lambda i, j: float(i != j))


def _trees(rows):
  """Every way to draw up a knock-out, as nested pairs."""
  if len(rows) == 1:
    yield rows[0]
    return
  for half in itertools.combinations(rows[1:], len(rows) // 2 - 1):
    left = [rows[0], *half]
    right = [row for row in rows if row not in left]
    yield from itertools.product(_trees(left), _trees(right))


def _first_round(tree, beats):
  """(chance, winners, losers) of the matches of rows, both as trees."""
  left, right = tree
  if isinstance(left, int):
    p = beats(left, right)
    return [(p, left, right), (1 - p, right, left)]
  return [
    (p * q, (a, c), (b, d))
    for p, a, b in _first_round(left, beats)
    for q, c, d in _first_round(right, beats)
    if p * q
  ]


def _left(tree, beats):
  """{row: the chance that it alone is left}."""
  if isinstance(tree, int):
    return {tree: 1.0}
  found = {}
  left, right = (_left(part, beats) for part in tree)
  for (i, a), (j, b) in itertools.product(left.items(), right.items()):
    found[i] = found.get(i, 0.0) + a * b * beats(i, j)
    found[j] = found.get(j, 0.0) + a * b * (1 - beats(i, j))
  return found


@entry(judged=True)
def online_ipo(case, *, weight):
  """Arxiv 2503.08942, its second online loss, of whole responses."""
  return _regressed(case, case.ref_logp, weight)


@entry(judged=True)
def egpo(case, *, weight):
  """Arxiv 2503.08942, its first online loss, against the policy ahead."""
  other = case.extras['opponent']
  rewards = chances(case, lambda i, j: float(other[j]))

  def own(rows):
    return every([i for i in rows if not other[i]])

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    return over_pairs(
      case,
      own,
      lambda i, j: (h[i] - h[j] - (rewards[i] - rewards[j]) / weight) ** 2,
    )

  return _game(case, loss, lambda i, j: float(other[j]))
