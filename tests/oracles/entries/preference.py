"""Oracles of the entries that learn from pairs of responses.

Write h for the log-ratio of a response to the reference, h = sum_t log pi /
pi_ref, and w and l for the better and the worse one.
"""

from __future__ import annotations

from math import exp, log

import numpy as np

from tests.oracles.parts import (
  Answer,
  averaged,
  best_rows,
  better,
  entry,
  log_sigmoid,
  mean,
  over_pairs,
  summed,
  token_mean,
)


@entry()
def dpo(case, *, weight):
  """Arxiv 2305.18290, equation 7: -log sigmoid(beta (h_w - h_l))."""

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    return over_pairs(
      case,
      better(case.rewards),
      lambda i, j: -log_sigmoid(weight * (h[i] - h[j])),
    )

  return Answer(loss)


@entry()
def cdpo(case, *, weight, smoothing):
  """DPO with labels that are wrong by a chance of `smoothing`."""

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)

    def pair(i, j):
      right, wrong = (log_sigmoid(s * weight * (h[i] - h[j])) for s in (1, -1))
      return -(1 - smoothing) * right - smoothing * wrong

    return over_pairs(case, better(case.rewards), pair)

  return Answer(loss)


@entry()
def rdpo(case, *, weight, flip):
  """Arxiv 2403.00409, equation 10: flipped labels, without their bias."""

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)

    def pair(i, j):
      right, wrong = (-log_sigmoid(s * weight * (h[i] - h[j])) for s in (1, -1))
      return ((1 - flip) * right - flip * wrong) / (1 - 2 * flip)

    return over_pairs(case, better(case.rewards), pair)

  return Answer(loss)


def _square(case, scores, weight):
  """Arxiv 2310.12036, equation 17: (h_w - h_l - 1 / (2 tau))^2."""

  def loss(now):
    h = scores(case, now.logp - case.ref_logp)
    return over_pairs(
      case,
      better(case.rewards),
      lambda i, j: (h[i] - h[j] - 1 / (2 * weight)) ** 2,
    )

  return Answer(loss)


@entry()
def ipo(case, *, weight):
  """Arxiv 2310.12036, equation 17, of summed log-ratios."""
  return _square(case, summed, weight)


@entry()
def ipo_mean(case, *, weight):
  """The same of log-ratios averaged over tokens, as trainers have it."""
  return _square(case, averaged, weight)


@entry()
def simpo(case, *, weight, margin_ratio):
  """Arxiv 2405.14734, equation 6: mean log-probs, and a margin to keep."""

  def loss(now):
    s = averaged(case, now.logp)
    margin = margin_ratio * weight
    return over_pairs(
      case,
      better(case.rewards),
      lambda i, j: -log_sigmoid(weight * (s[i] - s[j]) - margin),
    )

  return Answer(loss)


def _imitating(case, link, second, weight):
  """A loss of pairs, and `weight` times a second loss of the policy."""

  def loss(now):
    pairs = over_pairs(case, better(case.rewards), link(now))
    return pairs + weight * second(now)

  return Answer(loss)


def _dpo(case, weight):
  def link(now):
    h = summed(case, now.logp - case.ref_logp)
    return lambda i, j: -log_sigmoid(weight * (h[i] - h[j]))

  return link


def _chosen(case, scores):
  """Minus the mean score of the better response of each pair."""

  def loss(now):
    s = scores(case, now.logp)
    return over_pairs(case, better(case.rewards), lambda i, j: -s[i])

  return loss


@entry()
def slic_hf(case, *, width, imitation):
  """Arxiv 2305.10425, equation 1: max(0, delta - s_w + s_l) - lambda s_w."""

  def link(now):
    s = summed(case, now.logp)
    return lambda i, j: max(0, width - s[i] + s[j])

  return _imitating(case, link, _chosen(case, summed), imitation)


@entry()
def rpo(case, *, weight, imitation):
  """Arxiv 2405.16436, section 5: DPO - eta beta log pi(y_w)."""
  second = _chosen(case, summed)
  return _imitating(case, _dpo(case, weight), second, weight * imitation)


@entry()
def rpo_sequence_mean(case, *, weight, imitation):
  """Its second trainer: DPO - (eta / |y_w|) log pi(y_w)."""
  second = _chosen(case, averaged)
  return _imitating(case, _dpo(case, weight), second, imitation)


@entry()
def rpo_token_mean(case, *, weight, imitation):
  """TRL's: one mean over the tokens of all chosen responses of the step."""
  keep = best_rows(case, case.rewards)
  for rows in case.groups:
    if len({case.rewards[i] for i in rows}) == 1:
      keep[rows] = 0.0
  w = token_mean(case, keep)

  def loss(now):
    link = _dpo(case, weight)(now)
    pairs = over_pairs(case, better(case.rewards), link, keep)
    return pairs - imitation * sum(w[it] * now.logp[it] for it in case.tokens)

  return Answer(loss, advantages=0 * keep, keep=keep, weights=w)


@entry()
def tpo(case, *, weight, imitation):
  """Arxiv 2405.16681, as in TRL: pairs below the best row, which is imitated.

  -log sigmoid(beta (S_i - S_j)) for r_i > r_j, and -alpha times the mean
  log-prob of the tokens of all best rows.
  """
  best = best_rows(case, case.rewards)
  keep = best.copy()
  for rows in case.groups:
    if len({case.rewards[i] for i in rows}) == 1:
      keep[rows] = 0.0
  w = token_mean(case, keep)

  def others(rows):
    # Of rows without tokens none is compared, nor the best of a list.
    top = max(case.rewards[i] for i in rows)
    left = [i for i in rows if case.rewards[i] < top]
    return better(case.rewards)(left)

  def loss(now):
    total = summed(case, now.logp)

    def link(i, j):
      return -log_sigmoid(weight * (total[i] - total[j]))

    pairs = over_pairs(case, others, link, keep)
    return pairs - imitation * sum(w[it] * now.logp[it] for it in case.tokens)

  return Answer(loss, advantages=0 * keep, keep=keep, weights=w)


@entry()
def orpo(case, *, weight):
  """Arxiv 2403.07691: NLL and odds of mean chances."""

  def loss(now):
    p = [exp(x) for x in averaged(case, now.logp)]
    pairs = better(case.rewards)
    likely = over_pairs(case, pairs, lambda i, j: -log(p[i]))

    def odds(i, j):
      ratio = log(p[i] / (1 - p[i])) - log(p[j] / (1 - p[j]))
      return -log_sigmoid(ratio)

    return likely + weight * over_pairs(case, pairs, odds)

  return Answer(loss)


def _sides(case, scores):
  """[(mean of the best rows, mean of the worst)] of groups that have both."""
  found = []
  for rows in case.lists:
    earned = [case.rewards[i] for i in rows]
    if max(earned) > min(earned):
      found.append(
        [
          mean(scores[i] for i in rows if case.rewards[i] == end)
          for end in (max(earned), min(earned))
        ]
      )
  return found


def _sorted(first, second, weight):
  gaps = [x - y for x, y in zip(sorted(first), sorted(second))]
  return mean(-log_sigmoid(weight * gap) for gap in gaps)


@entry()
def aot(case, *, weight):
  """Arxiv 2406.05882: sorted margins of the policy and of the reference."""
  ref = [w - l for w, l in _sides(case, summed(case, case.ref_logp))]

  def loss(now):
    own = [w - l for w, l in _sides(case, summed(case, now.logp))]
    return _sorted(own, ref, weight)

  return Answer(loss)


@entry()
def aot_unpaired(case, *, weight):
  """Arxiv 2406.05882: sorted log-ratios of chosen and of rejected rows."""

  def loss(now):
    sides = _sides(case, summed(case, now.logp - case.ref_logp))
    return _sorted(*zip(*sides), weight)

  return Answer(loss)


@entry()
def bnf(case):
  """Arxiv 2410.04834, oat's `BNFLoss`: sum_t (b logp + o E) / min length.

  E is sum p log p over the other entries; b, o and that p are constants.
  """
  tiny = 1e-6

  def score(now, i, shortest):
    total = 0.0
    for t in case.columns(i):
      p, p_ref = exp(case.now.logp[i, t]), exp(case.ref_logp[i, t])
      target = min(p / (p_ref + tiny), 1)
      rest = (1 - target + tiny) / (1 - p + tiny)
      entropy = sum(
        exp(case.now.log_probs[i, t, v]) * now.log_probs[i, t, v]
        for v in range(now.log_probs.shape[2])
        if v != case.response[i, t]
      )
      total += target * now.logp[i, t] + rest * entropy
    return total / shortest

  def loss(now):
    s = {}
    for rows in case.lists:
      shortest = min(len(case.columns(i)) for i in rows)
      s |= {i: score(now, i, shortest) for i in rows}
    return over_pairs(case, better(case.rewards), lambda i, j: s[j] - s[i])

  return Answer(loss)


@entry()
def wpo(case, *, weight):
  """Arxiv 2406.11827, equation 2: DPO times the chances of both responses.

  A token's chance is over that of the same token drawn twice.
  """

  def chance(i):
    rows = [case.now.log_probs[i, t] for t in case.columns(i)]
    drawn = [case.response[i, t] for t in case.columns(i)]
    return exp(
      mean(z[a] - log(np.sum(np.exp(2 * z))) for z, a in zip(rows, drawn))
    )

  of_group = {}
  for rows in case.lists:
    product = np.prod([chance(i) for i in rows])
    of_group |= {i: product for i in rows}

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    return over_pairs(
      case,
      better(case.rewards),
      lambda i, j: -of_group[i] * log_sigmoid(weight * (h[i] - h[j])),
    )

  return Answer(loss)


@entry()
def mpo(case, *, weight, preference_weight, quality_weight, imitation):
  """Arxiv 2411.10442: DPO, a classifier of each, likelihood of the chosen."""

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    likely = averaged(case, now.logp)

    def pair(i, j):
      prefers = -log_sigmoid(weight * (h[i] - h[j]))
      rates = -log_sigmoid(weight * h[i]) - log_sigmoid(-weight * h[j])
      return (
        preference_weight * prefers
        + quality_weight * rates
        - imitation * likely[i]
      )

    return over_pairs(case, better(case.rewards), pair)

  return Answer(loss)
