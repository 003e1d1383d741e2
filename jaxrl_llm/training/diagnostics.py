"""What is logged of every iteration, as sums that add over microbatches.

Names ending in `_max` are reduced by the maximum, all others by the sum (over
microbatches) and the mean (over optimizer steps). What each of them means
stands in `metrics.TABLE`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxrl_llm import numerics
from jaxrl_llm.objectives.rating import last_value
from jaxrl_llm.selection import pairs
from jaxrl_llm.tabular import information
from jaxrl_llm.types import Array, Batch, Credit, Rollouts, Stats


def of_microbatch(stats: Stats, batch: Batch) -> dict[str, jax.Array]:
  """Token averages of the policy that is being differentiated.

  Nobody sampled recorded responses, and they have no gap to a sampler.
  """
  share, mask = batch.share, batch.share > 0

  def mean(x):
    return jnp.sum(share * jnp.where(mask, x, 0))

  def divergence(x):
    x = jnp.where(mask, x, 0)
    return mean(numerics.bounded_exp(-x) - 1 + x)

  metrics = {
    'policy/entropy': mean(stats.entropy),
    'policy/kl': divergence(batch.old_logp - stats.logp),
    'tokens/learned': jnp.sum(mask) * 1.0,
  }
  extras = batch.rollouts.extras
  # Rows of a sampler have its mass, unless it says on what it drew.
  if 'recorded' not in extras or 'log_mass' in extras:
    sampled = batch.rollouts.logp
    if 'support' not in extras:
      sampled = sampled + extras.get('log_mass', 0)
    # What an earlier policy sampled has no gap to this one's sampler.
    own = mask & ~extras.get('earlier', jnp.zeros_like(mask))
    if 'recorded' in extras:
      own = own & ~extras['recorded'][:, None]
    gap = jnp.where(own, jnp.abs(batch.old_logp - sampled), 0)
    metrics['sampler/gap_mean'] = mean(gap)
    metrics['sampler/gap_max'] = jnp.max(gap)
  if 'ref_logp' in extras:
    metrics['reference/kl'] = divergence(stats.logp - extras['ref_logp'])
  if stats.values is not None:
    error = stats.values - batch.credit.targets
    metrics['critic/error'] = mean(jnp.abs(error))
  return jax.lax.stop_gradient(metrics)


def rating(
  stats: Stats, ref_logp: Array | None, mask: Array
) -> tuple[Array, Array]:
  """How high a policy, or a reward model, rates responses, and their log-prob.

  A response's rating is what the head `after_values` says of its last token,
  where there is one; else its log-ratio to the reference, where there is one;
  else its log-prob.

  Args:
    mask: bool[N, T], tokens that count.

  Returns:
    Two arrays f32[N], 0 for a row without tokens.
  """
  logp = numerics.masked_sum(stats.logp, mask, axis=-1)
  if stats.after_values is not None:
    ratings = last_value(
      stats.logp, None, mask, after_values=stats.after_values
    )
    return ratings, logp
  if ref_logp is not None:
    return numerics.masked_sum(stats.logp - ref_logp, mask, axis=-1), logp
  return logp, logp


def compared(
  ratings: ArrayLike,
  logp: ArrayLike,
  rewards: ArrayLike,
  live: ArrayLike,
  *,
  samples: int,
) -> dict[str, Array]:
  """Ratings of better responses against those of worse ones, f32[B] each.

  preference/accuracy       pairs rated in their order; equal ratings are 1/2
  preference/margin         rating of the better less that of the worse
  preference/chosen_logp    sequence log-prob of the better, nats
  preference/rejected_logp  of the worse
  preference/information    sum_i w_i log(n w_i), w ~ e^rating

  The means over the pairs of a group of which one row is better. Where none
  is, each row is compared with each other, both ways: accuracy 1/2, margin 0.
  The last is of all n rows of a group, in nats: 0 where all are rated alike,
  log n where one has all weight. Of log-ratios to the reference it is what the
  policy adds to it, as DID (arXiv 2505.23761) estimates it.

  Args:
    ratings, logp, rewards: f32[N]. live: bool[N]. samples: G, rows of a group.
  """
  ratings, logp, rewards, live = (
    jnp.reshape(x, (-1, samples)) for x in (ratings, logp, rewards, live)
  )
  ordered = pairs.better(ratings, rewards, live)
  found = jnp.any(ordered > 0, axis=(-2, -1), keepdims=True)
  weights = jnp.where(found, ordered, pairs.every(ratings, rewards, live))

  def mean(x):
    return jnp.sum(weights * x, axis=(-2, -1))

  margin = ratings[:, :, None] - ratings[:, None, :]
  count = jnp.sum(live, axis=-1)
  # A group without rows adds nothing, and has nothing to normalise.
  rated = jnp.where(live | (count == 0)[:, None], ratings, -jnp.inf)
  entropy = information.entropy(jax.nn.log_softmax(rated))
  gained = jnp.log(jnp.maximum(count, 1)) - entropy
  return {
    'preference/accuracy': 0.5 + 0.5 * mean(jnp.sign(margin)),
    'preference/margin': mean(margin),
    'preference/chosen_logp': mean(logp[:, :, None]),
    'preference/rejected_logp': mean(logp[:, None, :]),
    'preference/information': jnp.where(count > 0, gained, 0.0),
  }


def of_pairs(
  stats: Stats,
  batch: Batch,
  *,
  samples: int,
  microbatches: int,
  counted: ArrayLike = True,
) -> dict[str, Array]:
  """`compared` of the rows that are being learned, averaged over groups.

  Single responses, with one of which a prompt comes, are compared with those
  to the other prompts of their microbatch.

  Args:
    counted: bool[N] of whole groups, those that are not of another microbatch.

  Raises:
    ValueError: a microbatch that cuts a group.
  """
  live = batch.rollouts.loss_mask
  if 'recorded' in batch.rollouts.extras:
    # Rows of the policy's own may stand beside them.
    live = live & batch.rollouts.extras['recorded'][:, None]
  rows = live.shape[0]
  samples = rows if samples == 1 else samples
  if rows % samples:
    raise ValueError(
      f'microbatches of {rows} rows cut groups of {samples}; use fewer '
      'learn.microbatches'
    )
  found = compared(
    *rating(stats, batch.rollouts.extras.get('ref_logp'), live),
    batch.credit.rewards,
    jnp.any(live, axis=-1),
    samples=samples,
  )
  groups = microbatches * rows // samples
  # Of single responses those here are a part of their one group.
  part = jnp.broadcast_to(counted, rows).reshape(-1, samples).mean(axis=1)
  sums = {name: jnp.sum(part * x) / groups for name, x in found.items()}
  return jax.lax.stop_gradient(sums)


def of_iteration(
  rollouts: Rollouts, credit: Credit, weights: Array
) -> dict[str, jax.Array]:
  """Row averages of what was sampled and what it earned.

  `scores` is f32[K], the mean of every component as its verifier gave it.

  Args:
    weights: f32[K], of the components in the run's reward.
  """
  valid, components = rollouts.valid, credit.components
  metrics = {
    'scores': numerics.masked_mean(components, valid[:, None], axis=0),
    'reward/shaped': numerics.masked_mean(credit.rewards, valid),
    'response/length': jnp.mean(rollouts.length * 1.0),
    'response/truncated': jnp.mean(rollouts.truncated * 1.0),
    'rows/valid': jnp.mean(valid * 1.0),
    'tokens/sampled': jnp.sum(rollouts.action_mask) * 1.0,
  }
  if components.shape[1]:
    rewards, right = components @ weights, (components[:, 0] > 0.5) * 1.0
    metrics |= {
      'reward/mean': numerics.masked_mean(rewards, valid),
      'reward/std': jnp.sqrt(numerics.masked_variance(rewards, valid)),
      'reward/low': _extreme(jnp.min, rewards, valid, jnp.inf),
      'reward/high': _extreme(jnp.max, rewards, valid, -jnp.inf),
      'accuracy': numerics.masked_mean(right, valid),
    }
  return metrics


def _extreme(of, x: Array, mask: Array, neutral: float) -> Array:
  """The least or the greatest of the True entries; 0 where there is none."""
  found = of(jnp.where(mask, x, neutral))
  return jnp.where(jnp.any(mask), found, 0)


def of_sources(
  names: Sequence[str],
  domain: np.ndarray,
  components: np.ndarray,
  weights: np.ndarray,
  valid: np.ndarray,
) -> dict[str, float]:
  """What the rows of every source earned, on the host.

  Args:
    names: of D sources. domain: i32[N]. components: f32[N, K].
    weights: f32[K], of the components. valid: bool[N].

  Returns:
    `source/NAME/share`, of all rows; `reward` and `accuracy`, NaN for a source
    without a valid row, absent without verifiers.
  """
  found = {}
  for number, name in enumerate(names):
    own = domain == number
    found[f'source/{name}/share'] = float(own.mean())
    own = own & valid
    if components.shape[1]:
      rows = components[own].astype(np.float64)
      there = len(rows) > 0
      reward = (rows @ weights).mean() if there else math.nan
      right = (rows[:, 0] > 0.5).mean() if there else math.nan
      found[f'source/{name}/reward'] = float(reward)
      found[f'source/{name}/accuracy'] = float(right)
  return found


def by_group(x: Array, group: Array, count: int) -> Array:
  """f32[count]: the largest x >= 0 of the rows of each group, 0 of others.

  Args:
    x: f32[N]. group: i32[N], ids in [0, count).
  """
  return jnp.zeros(count, x.dtype).at[group].max(x)


# What is kept of each token of a row that people will read.
SEEN = ('logp', 'entropy', 'ratio', 'weight')


def of_shown(stats: Stats, batch: Batch, count: int) -> Array:
  """f32[count, T, 4], what the learner saw of the rows that are shown, `SEEN`.

  Log-prob and entropy under the policy being differentiated, its ratio to the
  old one, and the token's weight beside that of the step's average token. 0 for
  tokens without weight, and for rows that are elsewhere.

  Args:
    batch: with `shown` i32[N] among the extras, the place of each row in
      [0, count), negative for one that is not shown.
  """
  mask = batch.share > 0
  moved = jnp.where(mask, stats.logp - batch.old_logp, 0)
  seen = (
    stats.logp,
    stats.entropy,
    numerics.bounded_exp(moved),
    batch.weights / jnp.where(mask, batch.share, 1),
  )
  # Apart from the arithmetic of the loss, which must not depend on `count`.
  table = jax.lax.optimization_barrier(
    jax.lax.stop_gradient(jnp.stack(seen, axis=-1))
  )
  table = jnp.where(mask[..., None], table, 0)
  here = batch.rollouts.extras['shown'] == jnp.arange(count)[:, None]
  rows = table[jnp.argmax(here, axis=1)]
  return jnp.where(jnp.any(here, axis=1)[:, None, None], rows, 0)


def live_groups(slopes: Array, group: Array) -> Array:
  """The share of groups that have a slope, more than rounding leaves of 0.

  Args:
    slopes: f32[N], the largest of each group, at the group's id.
    group: i32[N] of all rows of the iteration.
  """
  there = jnp.zeros(group.shape, bool).at[group].set(True)
  live = there & numerics.beyond_rounding(slopes)
  return jnp.sum(live) / jnp.sum(there)
