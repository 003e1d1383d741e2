"""Losses of single responses by their log-ratios, without pairs.

f(logp, old_logp, advantages, mask) -> f32[N], a loss for each response
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.reads import reads


def prospect(
  log_ratio,
  desirable,
  reference_point,
  *,
  weight=0.1,
  gain=1.0,
  loss=1.0,
):
  """Kahneman and Tversky's value of a response, as a loss.

      gain (1 - sigmoid(weight (h - z)))   where desirable
      loss (1 - sigmoid(weight (z - h)))   elsewhere

  Args:
    log_ratio: h f32[N], nats. desirable: bool[N].
    reference_point: z, nats, a constant.
    weight: beta > 0, per nat. gain, loss: lambda_D, lambda_U.

  Source: KTO, arXiv 2402.01306.
  """
  z = jax.lax.stop_gradient(reference_point)
  up = gain * jax.nn.sigmoid(-weight * (log_ratio - z))
  down = loss * jax.nn.sigmoid(weight * (log_ratio - z))
  return jnp.where(desirable, up, down)


@reads('ref_logp', 'rewards', 'row_weights', 'share')
def kto(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  ref_logp,
  rewards,
  row_weights,
  share,
  weight=0.1,
  gain=1.0,
  loss=1.0,
  correct=0.5,
):
  """`prospect` around the step's estimate of KL(policy || reference).

      z = max(0, sum_i w_i h_i / sum_i w_i),   w the weights of rows

  The paper learns from a fixed data set and estimates z with each prompt
  answered by the response to another. Here rows are the policy's own, whose
  mean log-ratio estimates the same divergence without a second pass.

  Args:
    correct: a reward above it is desirable.

  Returns:
    f32[N]; 0 for a row without tokens.
  """
  del old_logp, advantages, share
  log_ratio = numerics.masked_sum(logp - ref_logp, mask, axis=-1)
  mean = jnp.sum(row_weights * log_ratio)
  mean = numerics.safe_divide(mean, jnp.sum(row_weights))
  losses = prospect(
    log_ratio,
    rewards > correct,
    jnp.maximum(mean, 0.0),
    weight=weight,
    gain=gain,
    loss=loss,
  )
  return jnp.where(jnp.any(mask, axis=-1), losses, 0.0)


@reads('ref_logp', 'rewards')
def classified(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  ref_logp,
  rewards,
  weight=0.1,
  correct=0.5,
):
  """Good or bad, of each response alone, about a reference point.

      -log sigmoid(+-weight (h_i - z_i)),   + where r_i > correct

  Args:
    advantages: z_i on the tokens of a row, as `baselines.RunningScore` says it.
    weight: beta > 0, per nat.

  Returns:
    f32[N]; 0 for a row without tokens.

  Source: BCO, arXiv 2404.04656; TRL's `BCOTrainer`.
  """
  del old_logp
  log_ratio = numerics.masked_sum(logp - ref_logp, mask, axis=-1)
  point = numerics.masked_mean(advantages, mask, axis=-1)
  sign = jnp.where(rewards > correct, weight, -weight)
  losses = -jax.nn.log_sigmoid(sign * (log_ratio - point))
  return jnp.where(jnp.any(mask, axis=-1), losses, 0.0)


@reads('ref_logp', 'rewards', 'prompt_odds')
def classified_alike(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  ref_logp,
  rewards,
  prompt_odds,
  weight=0.1,
  correct=0.5,
  low=0.5,
  high=10.0,
):
  """`classified`, bad responses as if of the prompts of the good ones.

      w_i = 1 where r_i > correct, else clip(odds_i, low, high)

  Args:
    prompt_odds: f32[N], p / (1 - p) of a prompt being that of a good response,
      by a classifier to which good and bad ones are as many.
    low, high: > 0.

  Source: BCO, arXiv 2404.04656; TRL's `BCOTrainer`, `_get_udm_weight`.
  """
  losses = classified(
    logp,
    old_logp,
    advantages,
    mask,
    ref_logp=ref_logp,
    rewards=rewards,
    weight=weight,
    correct=correct,
  )
  weights = jnp.clip(prompt_odds, low, high)
  return jnp.where(rewards > correct, 1.0, weights) * losses


@reads('ref_logp', 'rewards')
def outcome_likelihood(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  ref_logp,
  rewards,
  weight=0.05,
  correct=0.5,
):
  """Right or wrong, by the log-ratio of the response: `classified` about 0.

      -log sigmoid(+-weight h_i),   + where r_i > correct

  Its sum over tokens is then the log-odds of success, and weight (log policy -
  log reference) of each token what it adds to them.

  Source: Free Process Rewards without Process Labels, arXiv 2412.01981, its
    cross-entropy; PRIME, arXiv 2502.01456, equation 5.
  """
  return classified(
    logp,
    old_logp,
    jnp.zeros_like(advantages),
    mask,
    ref_logp=ref_logp,
    rewards=rewards,
    weight=weight,
    correct=correct,
  )


@reads('own_samples', 'recorded', 'ref_logp', 'group', 'valid')
def divergence(
  logp, old_logp, advantages, mask, *, recorded, ref_logp, group, valid
):
  """sg(h_i - mean_{j != i} h_j) h_i: its gradient is that of KL(policy || ref).

  In expectation over rows of the policy itself, and of no other: on recorded
  responses it would shrink the variance of their log-ratios. The group's
  other own rows are the baseline.

  Args:
    recorded: bool[N], rows that are not the policy's own.

  Returns:
    f32[N], whose mean over a group is that over its own rows; 0 for a row
    without peers.

  Source: HyPO, arXiv 2406.01462, by leave-one-out. Recalled.
  """
  del old_logp, advantages
  all_rows = valid & jnp.any(mask, axis=-1)
  live = all_rows & ~recorded
  log_ratio = numerics.masked_sum(logp - ref_logp, mask, axis=-1)
  log_ratio = jnp.where(live, log_ratio, 0.0)
  fixed = jax.lax.stop_gradient(log_ratio)
  count = numerics.group_count(group, live)
  centred = fixed - numerics.group_mean(fixed, group, live)
  total = numerics.group_count(group, all_rows)
  scale = numerics.safe_divide(total, jnp.maximum(count - 1, 0))
  return jnp.where(live, scale * centred * log_ratio, 0.0)
