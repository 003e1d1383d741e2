"""Oracles of the entries whose loss regresses or compares whole responses."""

from __future__ import annotations

from math import exp, log

import numpy as np

from tests.oracles.parts import (
  Answer,
  averaged,
  better,
  centred,
  entry,
  every,
  k3,
  leave_one_out,
  log_sigmoid,
  mean,
  on_tokens,
  over_groups,
  over_pairs,
  row_weights,
  sequence_sum,
  sigmoid,
  summed,
  token_mean,
)


@entry()
def opmd_regression(case, *, weight):
  """Arxiv 2501.12599, section 2.3.2: (r - mean r - tau log pi / pi_old)^2."""
  a, w = centred(case, case.rewards), row_weights(case)

  def loss(now):
    moved = summed(case, now.logp - case.old.logp)
    return sum(w[i] * (a[i] - weight * moved[i]) ** 2 for i in case.rows)

  return Answer(loss, advantages=a)


@entry()
def gvpo(case, *, weight):
  """Arxiv 2504.19599: the sum of halves of squares of a group, over n - 1."""
  a, w = centred(case, case.rewards), row_weights(case)

  def loss(now):
    moved, total = summed(case, now.logp - case.old.logp), 0.0
    for rows in case.lists:
      level, n = mean(moved[i] for i in rows), len(rows)
      for i in rows if n > 1 else ():
        error = weight * (moved[i] - level) - a[i]
        total += w[i] * n * error**2 / (2 * (n - 1))
    return total

  return Answer(loss, advantages=a)


@entry()
def a_star_po(case, *, weight):
  """Arxiv 2505.20686: (beta log pi / pi_ref - (r - V*))^2, over 2 beta^2."""
  a, w = case.rewards - case.extras['predicted_reward'], row_weights(case)

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    errors = {i: weight * h[i] - a[i] for i in case.rows}
    return sum(w[i] * errors[i] ** 2 for i in case.rows) / (2 * weight**2)

  return Answer(loss, advantages=a)


@entry()
def copg(case, *, weight):
  """Arxiv 2406.19185, by what is known of its gradient.

  -[sg(R_i - R_j) h_i + sg(R_j - R_i) h_j] of every two rows, R = r - beta h,
  where each row is compared with the mean of its n - 1 peers. Peers are the
  valid rows, whether they have tokens or not.
  """
  w, h = row_weights(case), summed(case, case.now.logp - case.ref_logp)
  regular = [case.rewards[i] - weight * h[i] for i in range(len(h))]

  def loss(now):
    live, total = summed(case, now.logp - case.ref_logp), 0.0
    for rows in case.groups:
      for i in rows:
        others = [j for j in rows if j != i]
        pull = mean(regular[i] - regular[j] for j in others)
        total -= w[i] * pull * live[i]
    return total

  return Answer(loss, advantages=leave_one_out(case, case.rewards))


@entry()
def direct_advantage(case, *, weight, value_weight):
  """Arxiv 2412.18279: 1/2 (A / beta - log pi / pi_ref)^2 of a step.

  A is the critic's chance of success after it, less the mean of its group's.
  Rows of more than one step teach the critic those chances.
  """
  whole, ends = ~case.extras['single'], case.extras['step_end']
  chance = np.zeros(len(whole))
  for i in case.rows:
    chance[i] = sigmoid(case.old.after_values[i, case.columns(i)[-1]])
  a = np.where(whole, 0.0, centred(case, chance, case.lists))
  targets = on_tokens(case, np.clip(case.rewards, 0, 1))
  rows, w = row_weights(case), sequence_sum(case)

  def error(now, it):
    x = now.after_values[it]
    return -targets[it] * log_sigmoid(x) - (1 - targets[it]) * log_sigmoid(-x)

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    steps = sum(rows[i] * (a[i] / weight - h[i]) ** 2 / 2 for i in case.rows)
    taught = [it for it in case.tokens if ends[it] and whole[it[0]]]
    return steps + value_weight * sum(w[it] * error(now, it) for it in taught)

  return Answer(loss, advantages=a, targets=targets, weights=w)


def _discriminative(case, of_wrong, hinge, limit):
  """Arxiv 2505.12366: -J and sg(beta max(KL - delta, 0)) KL.

  Args:
    of_wrong: f(scores of wrong rows) -> what the mean right one must exceed.
  """
  right = case.rewards > 0.5

  def moved(now):
    return mean(case.old.logp[it] - now.logp[it] for it in case.tokens)

  pull = hinge * max(moved(case.now) - limit, 0.0)

  def loss(now):
    s = averaged(case, now.logp)

    def of_group(rows):
      good = [s[i] for i in rows if right[i]]
      bad = [s[i] for i in rows if not right[i]]
      return of_wrong(bad) - mean(good) if good and bad else 0.0

    return over_groups(case, of_group) + pull * moved(now)

  return Answer(loss, advantages=centred(case, case.rewards))


# Groups with several wrong rows, a temperature at which the hardest counts,
# and a penalty that is not all.
@entry(components=2, moved=({'temperature': 0.5, 'hinge': 5.0},))
def disco(case, *, temperature, hinge, limit):
  """DisCO: tau log mean_wrong exp(s / tau), s the mean log-prob of tokens."""
  return _discriminative(
    case,
    lambda bad: temperature * log(mean(exp(s / temperature) for s in bad)),
    hinge,
    limit,
  )


@entry()
def disco_mean(case, *, hinge, limit):
  """DisCO-b: the mean of the wrong ones."""
  return _discriminative(case, mean, hinge, limit)


@entry()
def trpa(case, *, weight, best_scale, best, kl_weight):
  """Arxiv 2504.04524, equation 12, and its code: all pairs of the step.

  -log sigmoid(c beta (rho_w - rho_l)), rho = mean_t log pi / pi_ref, with
  c = 2.5 for a winner of the first level, and the k3 of the move.
  """
  r, w = case.rewards, token_mean(case)
  pairs = [pair for rows in case.lists for pair in better(r)(rows)]
  assert pairs, 'a step without a pair has another loss'

  def loss(now):
    rho = averaged(case, now.logp - case.ref_logp)
    total = mean(
      -log_sigmoid(
        (best_scale if r[i] >= best else 1) * weight * (rho[i] - rho[j])
      )
      for i, j in pairs
    )
    moved = sum(
      w[it] * k3(now.logp[it] - case.old.logp[it]) for it in case.tokens
    )
    return total + kl_weight * moved

  return Answer(loss, advantages=centred(case, r), weights=w)


@entry()
def rebel(case, *, scale):
  """Arxiv 2404.16767, algorithm 1: moves regressed on gaps of rewards."""
  r = case.rewards

  def loss(now):
    moved = summed(case, now.logp - case.old.logp)
    return over_pairs(
      case,
      every,
      lambda i, j: (moved[i] - moved[j] - scale * (r[i] - r[j])) ** 2,
    )

  return Answer(loss)


@entry()
def refuel(case, *, scale):
  """Arxiv 2410.04612, equation 4: the tokens of the turn that was resampled."""
  r = case.rewards
  own = case.extras['turn'] == case.extras['resampled'][:, None]

  def loss(now):
    moved = summed(case, own * (now.logp - case.old.logp))
    return over_pairs(
      case,
      every,
      lambda i, j: (moved[i] - moved[j] - scale * (r[i] - r[j])) ** 2,
    )

  return Answer(loss)
