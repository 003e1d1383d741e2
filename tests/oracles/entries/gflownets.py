"""Oracles of the entries that sample in proportion to a reward.

The target of a response is log R = log pi_ref + r / beta, where an entry does
not say otherwise, and log F the flow into a prefix, what the critic says before
each token. Of a tree the backward policy is 1. A step is a token that the
policy chose.
"""

from __future__ import annotations

from math import exp, log

import numpy as np

from tests.oracles.parts import (
  Answer,
  averaged,
  entry,
  log_sigmoid,
  mean,
  normalised,
  over_groups,
  over_pairs,
  row_weights,
  summed,
  token_mean,
)
from tests.oracles.parts import every as every_pair


def _balance(case, now, i, flow, earned, end):
  """[log F_t + log pi_t - earned_t - log F_{t + 1}] of the steps of a row.

  Args:
    flow, earned: f64[N, T]. end: log F after the last step.
  """
  steps = case.columns(i)
  flows = [*(flow[i, t] for t in steps), end]
  return [
    flows[k] + now.logp[i, t] - earned[i, t] - flows[k + 1]
    for k, t in enumerate(steps)
  ]


def _to_reward(case, weight):
  """f(now, i) -> the residuals of a row whose last flow is log R."""
  ref, nothing = summed(case, case.ref_logp), np.zeros(case.mask.shape)
  end = [ref[i] + r / weight for i, r in enumerate(case.rewards)]
  return lambda now, i: _balance(case, now, i, now.values, nothing, end[i])


def _over_rows(case, loss_of):
  """The mean over rows of f(now, row)."""
  w = row_weights(case)
  return lambda now: sum(w[i] * loss_of(now, i) for i in case.rows)


def _of_steps(case, residuals):
  """The mean over the step's tokens of their squared residuals."""
  w = token_mean(case)

  def loss(now):
    return sum(
      w[i, t] * delta**2
      for i in case.rows
      for t, delta in zip(case.columns(i), residuals(now, i))
    )

  return Answer(loss, weights=w)


def _runs(delta, decay):
  """Arxiv 2209.12782: all runs of a row's residuals."""
  total = whole = 0.0
  for i in range(len(delta)):
    for j in range(i + 1, len(delta) + 1):
      total += decay ** (j - i) * sum(delta[i:j]) ** 2
      whole += decay ** (j - i)
  return total / whole if whole else 0.0


@entry()
def trajectory_balance(case, *, weight):
  """Arxiv 2201.13259: log Z + log pi - log R, squared.

  Z depends on the prompt: it is the flow before the first token.
  """
  ref = summed(case, case.ref_logp)

  def squared(now, i):
    log_z = now.values[i, case.columns(i)[0]]
    log_r = ref[i] + case.rewards[i] / weight
    return (log_z + summed(case, now.logp)[i] - log_r) ** 2

  return Answer(_over_rows(case, squared))


@entry()
def flowrl(case, *, weight, cap, epsilon):
  """Arxiv 2509.15207: log Z + mean log pi - beta A - mean log ref, squared.

  Weighed by the ratio of the whole response, at most `cap`, a constant.
  """
  a = normalised(case, case.rewards, epsilon)
  moved = summed(case, case.now.logp - case.old.logp)

  def squared(now, i):
    log_z = now.values[i, case.columns(i)[0]]
    h = averaged(case, now.logp - case.ref_logp)[i]
    return min(exp(moved[i]), cap) * (log_z + h - weight * a[i]) ** 2

  return Answer(_over_rows(case, squared), advantages=a)


@entry()
def detailed_balance(case, *, weight):
  """Arxiv 2111.09266: every step, the last into log R."""
  return _of_steps(case, _to_reward(case, weight))


@entry()
def sub_trajectory_balance(case, *, weight, decay):
  """Arxiv 2209.12782: flows are those of detailed balance."""
  residuals = _to_reward(case, weight)
  return Answer(
    _over_rows(case, lambda now, i: _runs(residuals(now, i), decay))
  )


def _energies(case, weight):
  """f64[N, T]: what each token adds to log R, the reward at the last one."""
  out = case.ref_logp.copy()
  for i in case.rows:
    out[i, case.columns(i)[-1]] += case.rewards[i] / weight
  return out


@entry()
def forward_looking(case, *, weight):
  """Arxiv 2302.01687, its flow after the last token held at 1."""
  earned = _energies(case, weight)
  return _of_steps(
    case, lambda now, i: _balance(case, now, i, now.values, earned, 0.0)
  )


@entry()
def led_gfn(case, *, weight):
  """Arxiv 2310.03301, without dropout.

  A head's potentials are fitted to r / beta, and the flows balance with them
  as they are. The mean over the tokens of a row.
  """
  earned = case.ref_logp + case.now.after_values

  def of_row(now, i):
    phi = sum(now.after_values[i, t] for t in case.columns(i))
    delta = _balance(case, now, i, now.values, earned, 0.0)
    fit = (phi - case.rewards[i] / weight) ** 2
    return fit + mean(d**2 for d in delta)

  return Answer(_over_rows(case, of_row))


@entry(moved=({'stop': 2},))
def stoppable_balance(case, *, stop, decay):
  """Arxiv 2310.04363: every prefix may stop, so F = R / P(stop).

  The prefixes' log R come with the rollouts, with the weight inside. The last
  token chosen is the stop, or where the row was cut off.
  """
  log_r = case.extras['prefix_reward']

  def of_row(now, i):
    steps = case.columns(i)
    flow = [log_r[i, t] - now.log_probs[i, t, stop] for t in steps]
    delta = [
      flow[k] + now.logp[i, t] - flow[k + 1] for k, t in enumerate(steps[:-1])
    ]
    return _runs(delta, decay)

  return Answer(_over_rows(case, of_row))


def _variance(case, log_r, log_p):
  """Arxiv 2010.10436: the mean of (log R - log p - its mean)^2 of a group.

  The mean stands for log Z and is held.

  Args:
    log_r: f64[N]. log_p: f(now) -> f64[N].
  """
  held = log_p(case.now)

  def loss(now):
    live = log_p(now)

    def of_group(rows):
      log_z = mean(log_r[i] - held[i] for i in rows)
      return mean((log_r[i] - live[i] - log_z) ** 2 for i in rows)

    return over_groups(case, of_group)

  return Answer(loss)


@entry()
def vargrad(case, *, weight):
  """Arxiv 2503.18929: log R = log pi_ref + r / beta."""
  ref = summed(case, case.ref_logp)
  log_r = [ref[i] + r / weight for i, r in enumerate(case.rewards)]
  return _variance(case, log_r, lambda now: summed(case, now.logp))


@entry()
def gflowvlm(case, *, weight, thought_weight):
  """Arxiv 2503.06514; recalled: log R = r / beta, thoughts count for less."""
  share = np.where(case.extras['thought'], thought_weight, 1.0)
  return _variance(
    case,
    [r / weight for r in case.rewards],
    lambda now: summed(case, share * now.logp),
  )


def _of_turns(case, weight, thought_weight):
  """f(now, i): the residuals of the steps of a row, in their order."""
  turn, thought = case.extras['turn'], case.extras['thought']

  def residuals(now, i):
    steps = []
    for t in case.columns(i):
      if turn[i, t] not in [turn[i, u] for u in steps]:
        steps.append(t)
    flows = [now.values[i, t] for t in steps] + [case.rewards[i] / weight]
    found = []
    for k, first in enumerate(steps):
      said = sum(
        (thought_weight if thought[i, t] else 1.0) * now.logp[i, t]
        for t in case.columns(i)
        if turn[i, t] == turn[i, first]
      )
      found.append(flows[k] + said - flows[k + 1])
    return found

  return residuals


@entry()
def gflowvlm_db(case, *, weight, thought_weight):
  """Arxiv 2503.06514, recalled: detailed balance of thoughts and actions."""
  residuals = _of_turns(case, weight, thought_weight)
  return Answer(
    _over_rows(case, lambda now, i: mean(x * x for x in residuals(now, i)))
  )


@entry()
def gflowvlm_subtb(case, *, weight, thought_weight, decay):
  """Arxiv 2503.06514, recalled: runs of steps, by lambda to their length."""
  residuals = _of_turns(case, weight, thought_weight)
  return Answer(
    _over_rows(case, lambda now, i: _runs(residuals(now, i), decay))
  )


@entry()
def op_gfn(case):
  """Arxiv 2310.00386: pairs in the order of rewards, ties 1/2."""

  def loss(now):
    s = summed(case, now.logp)

    def pair(i, j):
      p = 0.5 + 0.5 * np.sign(case.rewards[i] - case.rewards[j])
      margin = s[i] - s[j]
      return -p * log_sigmoid(margin) - (1 - p) * log_sigmoid(-margin)

    return over_pairs(case, every_pair, pair)

  return Answer(loss)


@entry()
def op_gfn_pareto(case):
  """Arxiv 2310.00386: a uniform law on what none dominates."""
  c = case.components

  def dominated(i, rows):
    return any(all(c[j] >= c[i]) and any(c[j] > c[i]) for j in rows if j != i)

  def loss(now):
    s = summed(case, now.logp)

    def of_group(rows):
      front = [i for i in rows if not dominated(i, rows)]
      total = log(sum(exp(s[i]) for i in rows))
      return mean(total - s[i] for i in front)

    return over_groups(case, of_group)

  return Answer(loss, advantages=0 * case.rewards)
