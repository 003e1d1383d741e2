"""Oracles of the entries that learn from lists of responses.

Write h for the log-ratio of a response to the reference, s = beta h for its
score and r for its reward, the label psi of LiPO.
"""

from __future__ import annotations

from math import exp, log

from tests.oracles.parts import (
  Answer,
  averaged,
  better,
  clamp,
  entry,
  log_sigmoid,
  mean,
  over_groups,
  summed,
)


def _listed(case, weight, of_list):
  """The mean over lists of f(rows, s)."""

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    s = [weight * x for x in h]
    return over_groups(case, lambda rows: of_list(rows, s))

  return Answer(loss)


def _in_order(case, weight, of_pair):
  """The sum over the pairs of a list with r_i > r_j of f(i, j, s_i - s_j)."""
  pairs = better(case.rewards)
  return _listed(
    case,
    weight,
    lambda rows, s: sum(of_pair(i, j, s[i] - s[j]) for i, j in pairs(rows)),
  )


@entry()
def lipo(case, *, weight):
  """Arxiv 2402.01878, lambda: LambdaRank's weights of pairs.

  Ranks are those of the policy as it is, within the rows of a list.
  """
  h = summed(case, case.now.logp - case.ref_logp)
  gain, discount = [2**r for r in case.rewards], {}
  for rows in case.lists:
    ranked = sorted(rows, key=lambda i: -h[i])
    for rank, i in enumerate(ranked, start=1):
      discount[i] = log(1 + rank)

  def of_pair(i, j, margin):
    swapped = abs(gain[i] - gain[j]) * abs(1 / discount[i] - 1 / discount[j])
    return swapped * log(1 + exp(-margin))

  return _in_order(case, weight, of_pair)


@entry()
def lipo_logistic(case, *, weight):
  """Arxiv 2402.01878, pair-logistic."""
  return _in_order(case, weight, lambda i, j, margin: -log_sigmoid(margin))


@entry()
def lipo_hinge(case, *, weight):
  """Arxiv 2402.01878, pair-hinge."""
  return _in_order(case, weight, lambda i, j, margin: max(0, 1 - margin))


@entry()
def lipo_mle(case, *, weight):
  """Arxiv 2402.01878, list-MLE: each row is picked before those below it."""
  r = case.rewards

  def of_list(rows, s):
    return sum(
      log(exp(s[k]) + sum(exp(s[j]) for j in rows if r[j] < r[k])) - s[k]
      for k in rows
    )

  return _listed(case, weight, of_list)


@entry()
def lipo_softmax(case, *, weight):
  """Arxiv 2402.01878, list-softmax: labels in linear shares."""
  r = case.rewards

  def of_list(rows, s):
    total = sum(r[k] for k in rows)
    normaliser = log(sum(exp(s[k]) for k in rows))
    if total == 0:
      return 0.0
    return -sum(r[k] / total * (s[k] - normaliser) for k in rows)

  return _listed(case, weight, of_list)


@entry()
def lipo_square(case, *, weight):
  """Arxiv 2402.01878, point-MSE."""
  r = case.rewards
  return _listed(
    case, weight, lambda rows, s: sum((r[k] - s[k]) ** 2 for k in rows)
  )


@entry()
def lipo_point(case, *, weight):
  """Arxiv 2402.01878, point-sigmoid; labels are in [0, 1]."""
  r = [clamp(x, 0, 1) for x in case.rewards]

  def of_list(rows, s):
    return -sum(
      r[k] * log_sigmoid(s[k]) + (1 - r[k]) * log_sigmoid(-s[k]) for k in rows
    )

  return _listed(case, weight, of_list)


def _unweighed(slot):
  """What imitation does not push down may be anything."""
  names = 'best_against_mean', 'best_against_sum', 'best_against_worst'
  return {(slot, name): 'what is pushed down weighs 0' for name in names}


@entry(same=_unweighed('objective.losses.parts.1.loss.sides'))
def rrhf(case, *, imitation):
  """Arxiv 2304.05302, imitation summed over tokens; rows that tie share it."""
  pairs = better(case.rewards)

  def loss(now):
    p, s = averaged(case, now.logp), summed(case, now.logp)

    def of_group(rows):
      high = max(case.rewards[i] for i in rows)
      ranked = sum(max(0, p[j] - p[i]) for i, j in pairs(rows))
      best = mean(s[i] for i in rows if case.rewards[i] == high)
      return ranked - imitation * best

    return over_groups(case, of_group)

  return Answer(loss)


def _contrast(case, weight, of_rest):
  """Arxiv 2404.14367, its bandit code: -log pi(best) + beta f(the rest).

  The mean over the rows that tie for the best.

  Args:
    of_rest: f(rows, best, s) -> what is pushed down.
  """

  def loss(now):
    s = summed(case, now.logp)

    def of_group(rows):
      high = max(case.rewards[i] for i in rows)
      return mean(
        -s[i] + weight * of_rest(rows, i, s)
        for i in rows
        if case.rewards[i] == high
      )

    return over_groups(case, of_group)

  return Answer(loss)


@entry(same=_unweighed('objective.losses.loss.sides'))
def best_of_n_imitation(case):
  """Maximum likelihood of the best of N."""
  return _contrast(case, 0.0, lambda rows, best, s: 0.0)


@entry()
def negative_worst(case, *, weight):
  """The worst is pushed down; the mean over the rows that tie for it."""

  def worst(rows, best, s):
    low = min(case.rewards[i] for i in rows)
    return mean(s[i] for i in rows if case.rewards[i] == low)

  return _contrast(case, weight, worst)


@entry()
def negative_mean(case, *, weight):
  """The mean of the other rows is pushed down."""
  return _contrast(
    case,
    weight,
    lambda rows, best, s: mean(s[i] for i in rows if i != best),
  )


@entry()
def negative_sum(case, *, weight):
  """The sum of the other rows is pushed down."""
  return _contrast(
    case,
    weight,
    lambda rows, best, s: sum(s[i] for i in rows if i != best),
  )
