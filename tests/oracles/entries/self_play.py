"""Oracles of the entries that move from the last iterate by self-play.

Write h for the log-ratio of a response to the last iterate, P_ij for the
chance that response i beats response j, see `preferences`.
"""

from __future__ import annotations

from tests.oracles.parts import (
  Answer,
  better,
  centred,
  chances,
  clipped,
  entry,
  every,
  log_sigmoid,
  mean,
  over_groups,
  over_pairs,
  over_tokens,
  preferences,
  sequence_mean,
  sigmoid,
  summed,
)


def _against_others(case):
  """f64[N], the mean of P_ij over the other rows j of a group."""
  return chances(case, lambda i, j: float(i != j))


@entry(judged=True)
def spo(case, *, clip):
  """Arxiv 2401.04056, recalled: r_i = mean_{j != i} P_ij."""
  rewards, w = _against_others(case), sequence_mean(case)
  a = centred(case, rewards)
  return Answer(
    over_tokens(case, w, clipped(case, a, clip, clip)),
    advantages=a,
    rewards=rewards,
    weights=w,
    preference=preferences(case),
  )


@entry(judged=True)
def sppo(case, *, scale):
  """Arxiv 2405.00675, its trainer: 1/2 (h - eta (P - 1/2))^2 of two rows.

  P is estimated against all rows, a draw with itself included, and the rows
  that are kept are the best and the worst; the mean over those that tie.
  """
  rates = chances(case, lambda i, j: 1.0)

  def loss(now):
    h = summed(case, now.logp - case.old.logp)

    def of_group(rows):
      total = 0.0
      for end in max, min:
        extreme = end(rates[i] for i in rows)
        total += mean(
          (h[i] - scale * (rates[i] - 0.5)) ** 2 / 2
          for i in rows
          if rates[i] == extreme
        )
      return total

    return over_groups(case, of_group)

  return Answer(
    loss,
    advantages=0 * rates,
    rewards=rates,
    preference=preferences(case),
  )


@entry()
def sppo_hard(case, *, scale):
  """TRL's `sppo_hard`: P is 1 for the winner, 0 for the loser, no half."""

  def loss(now):
    h = summed(case, now.logp - case.old.logp)

    def pair(i, j):
      return sum(
        (h[k] - scale * (p - 0.5)) ** 2 for k, p in ((i, 1.0), (j, 0.0))
      )

    return over_pairs(case, better(case.rewards), pair)

  return Answer(loss)


@entry(judged=True)
def dno(case, *, weight):
  """Arxiv 2404.03715, equation 8: rates against the iterate, as soft labels."""
  rates = _against_others(case)

  def loss(now):
    h = summed(case, now.logp - case.old.logp)

    def pair(i, j):
      p = sigmoid(rates[i] - rates[j])
      margin = weight * (h[i] - h[j])
      return -p * log_sigmoid(margin) - (1 - p) * log_sigmoid(-margin)

    return over_pairs(case, every, pair)

  return Answer(
    loss,
    advantages=0 * rates,
    rewards=rates,
    preference=preferences(case),
  )


@entry(moved=({'best': 0.4, 'taught_gap': 1.2},))
def dno_practical(case, *, weight, best, gap, taught_gap):
  """Arxiv 2404.03715, algorithm 2: DPO of good rows above far worse ones."""
  r, shown = case.rewards, case.extras['offline']

  def least(i):
    return taught_gap if shown[i] else gap

  def decisive(rows):
    return [
      (i, j)
      for i in rows
      for j in rows
      if r[i] >= best - 1e-9 and r[i] - r[j] >= least(i) - 1e-9
    ]

  def loss(now):
    h = summed(case, now.logp - case.old.logp)
    return over_pairs(
      case, decisive, lambda i, j: -log_sigmoid(weight * (h[i] - h[j]))
    )

  return Answer(loss)


def _before(past):
  """The policy that the last iteration started from."""
  return past[-2]


@entry(reference=_before)
def accelerated_dpo(case, *, weight, momentum):
  """Arxiv 2410.06293, recalled.

  DPO relative to pi_t = hat_t (hat_t / hat_{t-1})^alpha, where hat_t is the
  last iterate and hat_{t-1} the one before.
  """
  anchor = case.old.logp + momentum * (case.old.logp - case.ref_logp)

  def loss(now):
    h = summed(case, now.logp - anchor)
    return over_pairs(
      case,
      better(case.rewards),
      lambda i, j: -log_sigmoid(weight * (h[i] - h[j])),
    )

  return Answer(loss)


@entry()
def iterative_dpo(case, *, weight):
  """DPO with the last iterate as its reference."""

  def loss(now):
    h = summed(case, now.logp - case.old.logp)
    return over_pairs(
      case,
      better(case.rewards),
      lambda i, j: -log_sigmoid(weight * (h[i] - h[j])),
    )

  return Answer(loss)


@entry()
def lspo(case, *, weight):
  """Arxiv 2502.04686: DPO, where rewards are chances of latent strategies."""

  def loss(now):
    h = summed(case, now.logp - case.old.logp)
    return over_pairs(
      case,
      better(case.rewards),
      lambda i, j: -log_sigmoid(weight * (h[i] - h[j])),
    )

  return Answer(loss)
