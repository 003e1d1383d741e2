"""Losses of responses that compare distributions over a step, not pairs.

f(logp, old_logp, advantages, mask) -> f32[N], a loss for each response

Of every group the best rows are chosen and the worst rejected; of rows that tie
the mean counts. What two sets of numbers are sorted by decides who is compared
with whom, which is the cheapest way to carry one to the other.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_llm import grouping, numerics
from jaxrl_llm.reads import reads


def sorted_gap(x, y, rows):
  """x_(k) - y_(k), the k-th least of each, 0 beyond those that count.

  Args:
    x, y: f32[N]. rows: bool[N], which of them count.

  Returns:
    f32[N], and bool[N] where it is one.
  """
  first, second = (jnp.sort(jnp.where(rows, z, jnp.inf)) for z in (x, y))
  some = jnp.arange(rows.shape[0]) < jnp.sum(rows)
  return jnp.where(some, first, 0.0) - jnp.where(some, second, 0.0), some


def _sides(scores, rewards, group, live):
  """Scores of a group's best and worst rows, and one row of each that has both.

  Args:
    scores: several f32[N], of which each is split.
  """
  high = numerics.group_max(rewards, group, live)
  low = numerics.group_min(rewards, group, live)
  best, worst = (live & (rewards == x) for x in (high, low))
  split = [
    [numerics.group_mean(x, group, rows) for rows in (best, worst)]
    for x in scores
  ]
  return split, grouping.representatives(group, live & (high > low))


def _logistic(gap, some, live, weight):
  """The mean over what was sorted, carried by every live row."""
  losses = -jax.nn.log_sigmoid(weight * gap)
  return jnp.where(live, numerics.masked_mean(losses, some), 0.0)


@reads('ref_logp', 'rewards', 'group', 'valid', 'share')
def paired_transport(
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
  weight=0.01,
):
  """Margins of the policy against those of the reference, each sorted.

      x = S_w - S_l,   y = the same of the reference,   over all pairs
      -mean_k log sigmoid(weight (x_(k) - y_(k))),   S = sum_t logp_t

  Least where the policy's margins are larger than the reference's at every
  rank. One pair is DPO.

  Args:
    weight: beta > 0, per nat.

  Returns:
    f32[N]; the mean, on rows with a token; 0 without any pair.

  Source: AOT, arXiv 2406.05882; TRL's `aot`.
  """
  del old_logp, advantages, share
  live = valid & jnp.any(mask, axis=-1)
  own, ref = (numerics.masked_sum(x, mask, axis=-1) for x in (logp, ref_logp))
  (first, second), rows = _sides([own, ref], rewards, group, live)
  gap, some = sorted_gap(first[0] - first[1], second[0] - second[1], rows)
  return _logistic(gap, some, live, weight)


@reads('ref_logp', 'rewards', 'group', 'valid', 'share')
def unpaired_transport(
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
  weight=0.01,
):
  """Log-ratios of chosen responses against those of rejected ones, sorted.

      -mean_k log sigmoid(weight (h_w(k) - h_l(k))),   h to the reference

  Which rejected response a chosen one came with does not matter.

  Args:
    weight: beta > 0, per nat.

  Source: AOT, arXiv 2406.05882; TRL's `aot_unpaired`.
  """
  del old_logp, advantages, share
  live = valid & jnp.any(mask, axis=-1)
  h = numerics.masked_sum(logp - ref_logp, mask, axis=-1)
  [(best, worst)], rows = _sides([h], rewards, group, live)
  gap, some = sorted_gap(best, worst, rows)
  return _logistic(gap, some, live, weight)
