"""Losses of whole responses that need no ratio to the sampling policy.

    f(logp, old_logp, advantages, mask) -> f32[N], a loss for each response

Write l_i = sum_t m_t (logp_t - other_t) for the log-ratio of a response to
another policy. Constants are held constant inside: `sg` stops gradients.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.reads import reads


def _row_log_ratio(logp, other, mask):
  chex.assert_equal_shape([logp, other, mask])
  return numerics.masked_sum(logp - other, mask, axis=-1)


def _row_advantage(advantages, mask):
  """The mean of a response's token advantages: theirs, where they agree."""
  return numerics.masked_mean(advantages, mask, axis=-1)


@reads('ref_logp', 'rewards', 'group', 'valid')
def contrastive(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  ref_logp,
  rewards,
  group,
  valid,
  weight=0.1,
):
  """Every pair of a group's responses, each the other's baseline.

      R_i    = r_i - weight l_i,   l_i the log-ratio to the reference
      loss_i = -sg(R_i - mean_{j != i} R_j) l_i

  The sum over pairs i < j of -[sg(R_i - R_j) l_i + sg(R_j - R_i) l_j], over
  G - 1. Its gradient is that of the mean over the other rows j of
  (r_i - r_j - weight (l_i - l_j))^2 / (4 weight), summed over rows; it needs
  no ratio to the policy that sampled.

  Args:
    weight: beta > 0, reward units per nat.

  Returns:
    f32[N]; 0 for a row without peers.

  Source: CoPG, arXiv 2406.19185, by its gradient, read at second hand in
    notes on Command A, arXiv 2504.00698: (R_i - R_j)^2 / (G - 1) over pairs.
  """
  del old_logp, advantages
  log_ratio = _row_log_ratio(logp, ref_logp, mask)
  regular = jax.lax.stop_gradient(rewards - weight * log_ratio)
  centred = regular - numerics.group_mean(regular, group, valid)
  count = numerics.group_count(group, valid)
  scale = numerics.safe_divide(count, jnp.maximum(count - 1, 0))
  return jnp.where(valid, -scale * centred * log_ratio, 0.0)


@reads('ref_logp')
def advantage_regression(
  logp, old_logp, advantages, mask, *, ref_logp, weight=0.1
):
  """Half the squared distance of the log-ratio from the scaled advantage.

      (A_i / weight - l_i)^2 / 2,   l_i the log-ratio to the reference

  Args:
    weight: beta > 0, reward units per nat.

  Returns:
    f32[N], least where policy = reference e^(A / weight). 0 for a row
    without tokens.

  Source: Direct Advantage Policy Optimization, arXiv 2412.18279, of rows that
    are one step each.
  """
  del old_logp
  target = _row_advantage(advantages, mask) / weight
  return (target - _row_log_ratio(logp, ref_logp, mask)) ** 2 / 2


def proximal_regression(logp, old_logp, advantages, mask, *, weight=0.1):
  """Squared distance of the scaled move from the advantage.

      (A_i - weight l_i)^2,   l_i the log-ratio to the old policy

  Args:
    weight: tau > 0, reward units per nat.

  Source: the sequence form of OPMD, Kimi k1.5, arXiv 2501.12599, section
    2.3.2, as in arXiv 2509.24203.
  """
  log_ratio = _row_log_ratio(logp, old_logp, mask)
  return (_row_advantage(advantages, mask) - weight * log_ratio) ** 2


@reads('group', 'valid')
def centred_regression(
  logp, old_logp, advantages, mask, *, group, valid, weight=0.1
):
  """`proximal_regression` of differences within a group alone.

      n / (2 (n - 1)) (A_i - weight (l_i - mean_g l))^2

  with A the rewards less their group's mean and l the log-ratio to the old
  policy. Rows may come from any policy of full support: the loss is least, and
  0, where policy = old e^(r / weight) up to what the rows' group shares.

  Args:
    group: i32[N]. valid: bool[N]. weight: beta > 0, reward units per nat.

  Returns:
    f32[N]; 0 for a row without a token, or alone among n = 1 that have some.

  Source: GVPO, arXiv 2504.19599, as its code in verl's recipes has it: the sum
    of halves of squares over n - 1, for each group.
  """
  live = valid & jnp.any(mask, axis=-1)
  log_ratio = _row_log_ratio(logp, old_logp, mask)
  move = log_ratio - numerics.group_mean(log_ratio, group, live)
  error = _row_advantage(advantages, mask) - weight * move
  count = numerics.group_count(group, live)
  scale = numerics.safe_divide(count, 2 * jnp.maximum(count - 1, 0))
  return jnp.where(live, scale * error**2, 0.0)


def _softmax_score(scores, chosen, group, temperature):
  """temperature * log mean_chosen exp(score / temperature), 0 if none."""
  scaled = scores / temperature
  top = jax.lax.stop_gradient(numerics.group_max(scaled, group, chosen))
  top = jnp.where(jnp.isfinite(top), top, 0.0)
  shifted = jnp.exp(jnp.where(chosen, scaled - top, 0.0))
  mean = numerics.group_mean(shifted, group, chosen)
  safe = jnp.where(mean > 0, mean, 1.0)
  return temperature * (top + jnp.log(safe))


def _hinge_on_move(logp, old_logp, share, hinge, limit):
  """sg(hinge max(KL - limit, 0)) KL, KL the step's mean of old - new."""
  d = jnp.where(share > 0, old_logp - logp, 0.0)
  kl = jnp.sum(share * d)
  return jax.lax.stop_gradient(hinge * jnp.maximum(kl - limit, 0)) * kl


def _split(rewards, group, valid, mask, correct):
  """Good rows, bad rows, and rows of a group that has both."""
  valid = valid & jnp.any(mask, axis=-1)
  good = valid & (rewards > correct)
  bad = valid & ~good
  both = numerics.group_count(group, good) * numerics.group_count(group, bad)
  return good, bad, valid & (both > 0)


@reads('rewards', 'group', 'valid', 'share')
def discriminative(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  rewards,
  group,
  valid,
  share,
  temperature=10.0,
  hinge=1e3,
  limit=1e-4,
  correct=0.5,
):
  """Correct responses score above the hardest wrong ones of their group.

      s_i = mean_t logp_t
      J_g = mean_good s - temperature log mean_bad e^(s / temperature)
      loss_i = -J_g + sg(hinge max(KL - limit, 0)) KL

  KL is the step's token mean of old_logp - logp. The soft maximum looks at
  the wrong responses that score highest, and no group weighs less for being
  easy or hard.

  Args:
    temperature: tau > 0, nats. hinge: slope of the penalty once KL exceeds
      `limit`, nats. correct: a reward above it is a success.

  Returns:
    f32[N]; J_g = 0 for a group without both kinds.

  Source: DisCO, arXiv 2505.12366.
  """
  del advantages
  scores = numerics.masked_mean(logp, mask, axis=-1)
  good, bad, mixed = _split(rewards, group, valid, mask, correct)
  gap = numerics.group_mean(scores, group, good)
  gap = gap - _softmax_score(scores, bad, group, temperature)
  penalty = _hinge_on_move(logp, old_logp, share, hinge, limit)
  return jnp.where(mixed, -gap, 0.0) + jnp.where(valid, penalty, 0.0)


@reads('rewards', 'group', 'valid', 'share')
def mean_discriminative(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  rewards,
  group,
  valid,
  share,
  hinge=1e3,
  limit=1e-4,
  correct=0.5,
):
  """`discriminative` against the mean of the wrong responses.

      J_g = mean_good s - mean_bad s

  Its limit at infinite temperature.

  Source: DisCO-b, arXiv 2505.12366.
  """
  del advantages
  scores = numerics.masked_mean(logp, mask, axis=-1)
  good, bad, mixed = _split(rewards, group, valid, mask, correct)
  gap = numerics.group_mean(scores, group, good) - numerics.group_mean(
    scores, group, bad
  )
  penalty = _hinge_on_move(logp, old_logp, share, hinge, limit)
  return jnp.where(mixed, -gap, 0.0) + jnp.where(valid, penalty, 0.0)


@reads('ref_logp', 'rewards', 'group', 'valid', 'share')
def pairwise_preference(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  ref_logp,
  rewards,
  group,
  valid,
  share,
  weight=0.1,
  best_scale=2.5,
  best=1.0,
):
  """Every better response of a group preferred to every worse one.

      rho_i  = mean_t (logp_t - ref_logp_t)
      loss   = mean over pairs r_w > r_l of one group of
               -log sigmoid(c weight (rho_w - rho_l))

  with c = `best_scale` where the winner's reward reaches `best`, else 1. The
  mean is over all pairs of the step, and every row carries it. A step without
  any pair has single rows instead,

      loss_i = -log sigmoid(+-rho_i)      + where the reward reaches `best`

  Args:
    weight: beta. best: the reward of a response that is right in all.

  Returns:
    f32[N]; 0 on rows without a token.

  Source: TRPA, arXiv 2504.04524, and its code.
  """
  del old_logp, advantages, share
  rho = numerics.masked_mean(logp - ref_logp, mask, axis=-1)
  live = valid & jnp.any(mask, axis=-1)
  pair = (group[:, None] == group[None, :]) & live[:, None] & live[None, :]
  pair = pair & (rewards[:, None] > rewards[None, :])
  scale = jnp.where(rewards >= best, best_scale, 1.0)[:, None]
  margin = scale * weight * (rho[:, None] - rho[None, :])
  of_pairs = numerics.masked_mean(-jax.nn.log_sigmoid(margin), pair)
  sign = jnp.where(rewards >= best, 1.0, -1.0)
  loss = jnp.where(jnp.any(pair), of_pairs, -jax.nn.log_sigmoid(sign * rho))
  return jnp.where(live, loss, 0.0)
