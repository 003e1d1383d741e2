"""Oracles of the entries that learn to rate responses.

A response's rating is the head's answer at the last of its tokens.
"""

from __future__ import annotations

from math import exp, log

from tests.oracles.parts import (
  Answer,
  better,
  entry,
  log_sigmoid,
  over_groups,
  over_pairs,
  row_weights,
  summed,
)


def _ratings(case, now):
  """The rating of each row that has a token."""
  return {i: now.after_values[i, case.columns(i)[-1]] for i in case.rows}


@entry()
def reward_model(case, *, margin, centring):
  """Arxiv 2203.02155, equation 1, with Llama 2's margin and TRL's centring.

  -log sigmoid(r_w - r_l - margin gap) + centring (r_w + r_l)^2
  """
  gap = case.rewards

  def loss(now):
    r = _ratings(case, now)

    def pair(i, j):
      apart = r[i] - r[j] - margin * (gap[i] - gap[j])
      return -log_sigmoid(apart) + centring * (r[i] + r[j]) ** 2

    return over_pairs(case, better(gap), pair)

  return Answer(loss)


@entry()
def ranking_reward_model(case):
  """Plackett and Luce: the best is picked first, then the next, ..."""
  label = case.rewards

  def loss(now):
    r = _ratings(case, now)

    def of_list(rows):
      total = 0.0
      for k in rows:
        left = [k, *(j for j in rows if label[j] < label[k])]
        total += log(sum(exp(r[j]) for j in left)) - r[k]
      return total

    return over_groups(case, of_list)

  return Answer(loss)


@entry()
def unary_reward_model(case, *, correct):
  """Arxiv 2505.14946, abstract alone: cross-entropy of a reaction."""
  w = row_weights(case)

  def loss(now):
    r = _ratings(case, now)
    return -sum(
      w[i] * log_sigmoid(r[i] if case.rewards[i] > correct else -r[i])
      for i in case.rows
    )

  return Answer(loss)


@entry()
def polar(case):
  """Arxiv 2507.05197: -log sigmoid(r(ref, same) - r(ref, other))."""
  label = case.rewards

  def loss(now):
    r = _ratings(case, now)
    return over_pairs(
      case, better(label), lambda i, j: -log_sigmoid(r[i] - r[j])
    )

  return Answer(loss)


@entry(
  values={'labels': 3},
  moved=({'labels': 3},),
  same={('critic', 'Scalar'): 'the loss reads every answer, not their mean'},
)
def regression_reward_model(case, *, labels):
  """Arxiv 2503.21819, abstract alone: squared errors of all scores."""
  w, score = row_weights(case), case.components

  def loss(now):
    r = _ratings(case, now)
    return sum(
      w[i] * (r[i][k] - score[i, k]) ** 2 / labels
      for i in case.rows
      for k in range(score.shape[1])
    )

  return Answer(loss)


@entry()
def irl_reward_model(case, *, bound):
  """Arxiv 2503.18991, at second hand: r(sample) - r(demonstration)."""
  label = case.rewards

  def loss(now):
    r = _ratings(case, now)

    def pair(i, j):
      return r[j] - r[i] + bound * (r[i] ** 2 + r[j] ** 2)

    return over_pairs(case, better(label), pair)

  return Answer(loss)


@entry()
def implicit_prm(case, *, weight, correct):
  """Arxiv 2412.01981: cross-entropy of sigmoid(beta sum_t log pi / pi_ref)."""
  w = row_weights(case)

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    signs = [1 if r > correct else -1 for r in case.rewards]
    return -sum(w[i] * log_sigmoid(signs[i] * weight * h[i]) for i in case.rows)

  return Answer(loss)
