"""What is logged of every iteration, as sums that add over microbatches.

Names ending in `_max` are reduced by the maximum, all others by the sum (over
microbatches) and the mean (over optimizer steps).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.types import Batch, Credit, Rollouts, Stats


def of_microbatch(stats: Stats, batch: Batch) -> dict[str, jax.Array]:
  """Token averages of the policy that is being differentiated.

  policy/kl     E[r - 1 - log r], r = pi / pi_old >= 0, nats per token
  reference/kl  E[e^-x - 1 + x], x = log pi - log pi_ref, nats per token
  sampler/gap   |log-prob recomputed - log-prob when sampled|, nats
  """
  share, mask = batch.share, batch.share > 0

  def mean(x):
    return jnp.sum(share * jnp.where(mask, x, 0))

  def divergence(x):
    x = jnp.where(mask, x, 0)
    return mean(numerics.bounded_exp(-x) - 1 + x)

  sampled = batch.rollouts.logp
  if 'support' not in batch.rollouts.extras:
    sampled = sampled + batch.rollouts.extras.get('log_mass', 0)
  gap = jnp.where(mask, jnp.abs(batch.old_logp - sampled), 0)
  metrics = {
    'policy/entropy': mean(stats.entropy),
    'policy/kl': divergence(batch.old_logp - stats.logp),
    'sampler/gap_mean': mean(gap),
    'sampler/gap_max': jnp.max(gap),
    'tokens/learned': jnp.sum(mask) * 1.0,
  }
  if batch.ref_logp is not None:
    metrics['reference/kl'] = divergence(stats.logp - batch.ref_logp)
  if stats.values is not None:
    error = stats.values - batch.credit.targets
    metrics['critic/error'] = mean(jnp.abs(error))
  return jax.lax.stop_gradient(metrics)


def of_iteration(rollouts: Rollouts, credit: Credit) -> dict[str, jax.Array]:
  """Row averages of what was sampled and what it earned.

  `scores` is f32[K], the mean of every component as its verifier gave it.
  """
  valid = rollouts.valid
  first = credit.components[:, 0]
  # What centring over the batch leaves of a zero is rounding, not a signal.
  size = jnp.abs(credit.advantages)
  signal = (size > 1e-6 * jnp.max(size)) & (credit.token_keep > 0)
  live = jnp.any(signal, axis=1) & (credit.keep > 0)
  group, everyone = rollouts.group, jnp.ones_like(valid)
  # Each group counts once: its rows share the weight 1 / size.
  share = 1 / numerics.group_count(group, everyone)
  any_live = numerics.group_max(live * 1.0, group, everyone)
  return {
    'scores': numerics.masked_mean(credit.components, valid[:, None], axis=0),
    'reward/mean': numerics.masked_mean(credit.rewards, valid),
    'reward/std': jnp.sqrt(numerics.masked_variance(credit.rewards, valid)),
    'accuracy': numerics.masked_mean((first > 0.5) * 1.0, valid),
    'response/length': jnp.mean(rollouts.length * 1.0),
    'response/truncated': jnp.mean(rollouts.truncated * 1.0),
    'groups/live': jnp.sum(any_live * share) / jnp.sum(share),
    'rows/valid': jnp.mean(valid * 1.0),
    'tokens/sampled': jnp.sum(rollouts.action_mask) * 1.0,
  }
