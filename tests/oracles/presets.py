"""What other trainers do as they come, in plain loops.

Written from their published defaults, number by number, and not from the table
of presets. Each takes a case and says what the trainer makes of it.
"""

from __future__ import annotations

import math

import numpy as np

from tests.oracles.parts import (
  Answer,
  clamp,
  clipped,
  gae,
  k2,
  k3,
  leave_one_out,
  log_sigmoid,
  mean,
  normalised,
  on_tokens,
  over_groups,
  over_tokens,
  penalty,
  ppo,
  ratio,
  row_weights,
  sequence_mean,
  sequence_sum,
  sigmoid,
  spread,
  summed,
  token_mean,
  value_error,
  whitened,
)


def _kl(case):
  """The k1 of each token, of the policy that sampled."""
  return np.where(case.mask, case.old.logp - case.ref_logp, 0.0)


def _dual(case, advantages):
  """verl and Trinity: PPO's clip of 0.2 under a bound of 3."""
  a = advantages if np.ndim(advantages) == 2 else on_tokens(case, advantages)

  def term(now, it):
    loss = ppo(ratio(case, now, it), a[it], 0.2, 0.2)
    return min(loss, -3.0 * a[it]) if a[it] < 0 else loss

  return term


def _capped(x):
  return min(k3(clamp(x, -20, 20)), 10.0)


def _of_tokens(case, advantages, *terms, weights=None, **others):
  weights = token_mean(case) if weights is None else weights
  loss = over_tokens(case, weights, *terms)
  return Answer(loss, advantages=advantages, weights=weights, **others)


def verl_grpo(case):
  a = normalised(case, case.rewards, 1e-6)
  return _of_tokens(case, a, _dual(case, a))


def verl_rloo(case):
  a = leave_one_out(case, case.rewards)
  return _of_tokens(case, a, _dual(case, a))


def verl_ppo(case):
  plain = gae(case, case.rewards, case.old.values, 1.0, 1.0)
  targets = np.where(case.mask, plain + case.old.values, 0.0)
  a = whitened(case, plain)
  critic = value_error(case, targets, 1.0, 0.5)
  return _of_tokens(case, a, _dual(case, a), critic, targets=targets)


def trl_grpo(case):
  a = normalised(case, case.rewards, 1e-4)
  total = summed(case, case.old.logp - case.sampler_logp)
  weight = [math.exp(x) if math.exp(x) <= 3.0 else 0.0 for x in total]

  def term(now, it):
    return weight[it[0]] * ppo(ratio(case, now, it), a[it[0]], 0.2, 0.2)

  return _of_tokens(case, a, term)


def trl_rloo(case):
  a = leave_one_out(
    case, case.rewards - 0.05 * np.array(summed(case, _kl(case)))
  )
  a, w = on_tokens(case, a), row_weights(case)

  def loss(now):
    d = summed(case, now.logp - case.old.logp)
    row = {i: a[i, case.columns(i)[0]] for i in case.rows}
    return sum(w[i] * ppo(math.exp(d[i]), row[i], 0.2, 0.2) for i in case.rows)

  return Answer(loss, advantages=a, weights=sequence_sum(case))


def _penalised(case, kl_weight, trace):
  """Whitened advantages and targets of rewards with the KL in each token."""
  values, penalties = case.old.values, -kl_weight * _kl(case)
  plain = gae(case, case.rewards, values, 1.0, trace, paid=penalties)
  return whitened(case, plain), np.where(case.mask, plain + values, 0.0)


def trl_ppo(case):
  a, targets = _penalised(case, 0.05, 0.95)
  critic = value_error(case, targets, 0.1, 0.2)
  return _of_tokens(
    case, a, clipped(case, a, 0.2, 0.2), critic, targets=targets
  )


def openrlhf_ppo(case):
  a, targets = _penalised(case, 0.01, 1.0)
  critic = value_error(case, targets, 1.0, 0.5)
  return _of_tokens(
    case, a, clipped(case, a, 0.2, 0.2), critic, targets=targets
  )


def openrlhf_grpo(case):
  a = normalised(case, case.rewards, 1e-9)
  kl = penalty(case, 0.01, _capped)
  return _of_tokens(case, a, clipped(case, a, 0.2, 0.2), kl)


def openrlhf_rloo(case):
  rows, kl = leave_one_out(case, case.rewards), _kl(case)
  a = np.zeros(case.mask.shape)
  for i, t in case.tokens:
    a[i, t] = rows[i] - 0.01 * sum(kl[i, u] for u in case.columns(i) if u >= t)
  return _of_tokens(case, a, clipped(case, a, 0.2, 0.2))


def _score_k3(case):
  """0.01 k3 with the slope of having sampled the token."""

  def term(now, it):
    own = math.exp(now.logp[it] - case.now.logp[it])
    return 0.01 * own * k3(now.logp[it] - case.ref_logp[it])

  return term


def nemo_grpo(case):
  a = np.zeros(len(case.valid))
  for rows in case.groups:
    for i in rows:
      others = [case.rewards[j] for j in rows if j != i]
      a[i] = case.rewards[i] - mean(others) if others else 0.0
      scale = spread(others)
      a[i] /= scale + 1e-6 if scale > 0 else 1.0
  return _of_tokens(case, a, clipped(case, a, 0.2, 0.2), _score_k3(case))


def nemo_rloo(case):
  a = leave_one_out(case, case.rewards)
  return _of_tokens(case, a, clipped(case, a, 0.2, 0.2), _score_k3(case))


def skyrl_grpo(case):
  a = normalised(case, case.rewards, 1e-6)
  kl = penalty(case, 0.001, _capped)
  return _of_tokens(case, a, clipped(case, a, 0.2, 0.2), kl)


def slime_grpo(case):
  a = normalised(case, case.rewards, 1e-6)
  term = clipped(case, a, 0.2, 0.2)
  return _of_tokens(case, a, term, weights=sequence_mean(case))


def trinity_grpo(case):
  a = normalised(case, case.rewards, 1e-6)
  return _of_tokens(case, a, _dual(case, a), penalty(case, 0.001, k2))


def _dpo(case, weight):
  def loss(now):
    h = summed(case, now.logp - case.ref_logp)

    def of_pair(rows):
      pairs = [
        (i, j) for i in rows for j in rows if case.rewards[i] > case.rewards[j]
      ]
      return mean(-log_sigmoid(weight * (h[i] - h[j])) for i, j in pairs)

    return over_groups(case, of_pair)

  return Answer(loss)


def trl_dpo(case):
  return _dpo(case, 0.1)


def openrlhf_dpo(case):
  return _dpo(case, 0.1)


def nemo_dpo(case):
  return _dpo(case, 0.05)


def _kto(case, weight):
  """Around the step's mean log-ratio, not that of mismatched pairs."""
  w = row_weights(case)
  held = summed(case, case.now.logp - case.ref_logp)
  z = max(0.0, sum(w[i] * held[i] for i in case.rows))

  def loss(now):
    h = summed(case, now.logp - case.ref_logp)
    sign = [1 if r > 0.5 else -1 for r in case.rewards]
    return sum(
      w[i] * (1 - sigmoid(sign[i] * weight * (h[i] - z))) for i in case.rows
    )

  return Answer(loss)


def trl_kto(case):
  return _kto(case, 0.1)


def openrlhf_kto(case):
  return _kto(case, 0.01)
