"""Advantages that aim at something beside the group's mean reward.

estimate_tokens   f(rewards f32[N], rollouts) -> f32[N, T]
"""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.advantages import group
from jaxrl_llm.reads import reads


def _over_tokens(rows, rollouts):
  return jnp.where(rollouts.loss_mask, rows[:, None], 0.0)


@reads('old_logp', 'ref_logp')
def tilted_target(rewards, rollouts, *, weight=0.1):
  """Importance of a response under the reward-tilted reference, less 1.

      target(y) = ref(y) e^(r / weight) / Z
      A_i = w_i / mean_g w - 1,   w = e^(r / weight) ref(y) / old(y)

  Times the score function this descends KL(target || policy), where a KL
  penalty on the reward descends KL(policy || target): both have the same
  optimum. Z is estimated by the group's mean, so each prompt has its own.

  Args:
    weight: beta > 0, reward units per nat.

  Returns:
    f32[N, T]; 0 in a group of one row or of equal w.

  Source: GDC, arXiv 2112.00791, with its baseline of 1; read as KL-control
    in arXiv 2205.11275.
  """
  mask, extras = rollouts.loss_mask, rollouts.extras
  log_ratio = extras['ref_logp'] - extras['old_logp']
  score = rewards / weight + numerics.masked_sum(log_ratio, mask, axis=-1)
  valid = rollouts.valid
  top = numerics.group_max(score, rollouts.group, valid)
  score = jnp.where(valid, score - jnp.where(valid, top, 0.0), 0.0)
  importance = jnp.exp(score)
  mean = numerics.group_mean(importance, rollouts.group, valid)
  return _over_tokens(numerics.safe_divide(importance, mean) - 1, rollouts)


@reads('quality')
def distinct(rewards, rollouts, *, gap=0.1, epsilon=1e-6):
  """`group.norm` of which pairs that are too alike take no part.

      A_i = mean_j [|q_i - q_j| >= gap] (r_i - r_j) / (std_g + epsilon)

  over the rows of a group, i itself among them. Two answers that are nearly the
  same and have opposite outcomes would pull against each other on the words
  that they share.

  Args:
    rewards: f32[N]. rollouts: reads the extra `quality` f32[N], a fine score of
      a response.
    gap: tau >= 0, in units of quality; 0 compares all.

  Returns:
    f32[N, T], without unit; 0 for a row that is like all others, for equal
    rewards, and for a row alone.

  Source: DaGRPO, arXiv 2512.06337, reconstructed from its abstract, which masks
    sample pairs of low distinctiveness; the gap is ours.
  """
  quality, index = rollouts.extras['quality'], rollouts.group
  both = rollouts.valid[:, None] & rollouts.valid
  peers = both & (index[:, None] == index)
  # The double where: a failed judge may have left NaN.
  quality = jnp.where(rollouts.valid, quality, 0.0)
  rewards = jnp.where(rollouts.valid, rewards, 0.0)
  # Of scores in tenths differences are equal only to rounding.
  counted = peers & (jnp.abs(quality[:, None] - quality) > gap - 1e-5)
  above = jnp.where(counted, rewards[:, None] - rewards, 0.0)
  total = jnp.sum(above, axis=1)
  mean = numerics.safe_divide(total, jnp.sum(peers, axis=1) * 1.0)
  std = numerics.group_std(rewards, index, rollouts.valid)
  return _over_tokens(mean / (std + epsilon), rollouts)


@reads('offline')
def switched(rewards, rollouts, *, gate=0.0, weight=1.0, correct=0.5):
  """Imitation where the policy fails, reinforcement where it succeeds.

      p = share of a group's own rows that are correct
      own rows:      r - mean of own rows     if p > gate, else 0
      offline rows:  weight                   if p <= gate, else 0

  Times the score function: offline rows become supervised learning. A group
  without a valid offline row is reinforced whatever p is.

  Args:
    rollouts: reads extras `offline` bool[N], rows that another policy wrote.
    gate: in [0, 1]. weight: of imitation. correct: reward of a success.

  Source: HPT, arXiv 2509.04419.
  """
  offline = rollouts.extras['offline']
  own = rollouts.valid & ~offline
  good = (rewards > correct) * 1.0
  rate = numerics.group_mean(good, rollouts.group, own)
  taught = numerics.group_count(rollouts.group, rollouts.valid & offline) > 0
  able = (rate > gate) | ~taught
  centred = rewards - numerics.group_mean(rewards, rollouts.group, own)
  reinforced = jnp.where(own & able, centred, 0.0)
  imitated = jnp.where(rollouts.valid & offline & ~able, weight, 0.0)
  return _over_tokens(reinforced + imitated, rollouts)


@reads('tool_start')
def timed_tools(
  rewards, rollouts, *, delta=-2.0, bound=0.7, epsilon=1e-6, correct=0.5
):
  """GRPO's advantages, shifted by when a good response first used its tool.

      A_i + clip(delta (p_i - mean p) / mean L, -bound |A_i|, bound |A_i|)

  over the group's correct rows that use a tool; p is the place of its first
  token, L the length. With bound < 1 no advantage changes its sign.

  Args:
    rollouts: reads extras `tool_start` i32[N], -1 for rows without a tool.
    delta: < 0 rewards early use.

  Source: ASPO, arXiv 2508.19201, equation 2.
  """
  where = rollouts.extras['tool_start']
  ids = rollouts.group
  advantages = group.norm(rewards, ids, rollouts.valid, epsilon=epsilon)
  used = rollouts.valid & (where >= 0) & (rewards > correct)
  place = where * 1.0
  early = place - numerics.group_mean(place, ids, used)
  length = numerics.group_mean(rollouts.length * 1.0, ids, used)
  shift = delta * numerics.safe_divide(early, length)
  most = bound * jnp.abs(advantages)
  shifted = advantages + jnp.clip(shift, -most, most)
  return _over_tokens(jnp.where(used, shifted, advantages), rollouts)


def longer_failures(
  rewards, rollouts, *, base=1.00001, epsilon=1e-6, correct=0.5
):
  """GRPO's advantages, larger for failures longer than the group's successes.

      A_i (2 - base^-(len_i - L))   of wrong rows with len_i > L,
      L the mean length of the group's correct rows

  Args:
    base: > 1, by how much each further token weighs.

  Returns:
    f32[N, T]; GRPO's in a group without a correct row.

  Source: STCR of APO, arXiv 2506.21655.
  """
  ids, valid = rollouts.group, rollouts.valid
  advantages = group.norm(rewards, ids, valid, epsilon=epsilon)
  good = valid & (rewards > correct)
  length = rollouts.length * 1.0
  excess = length - numerics.group_mean(length, ids, good)
  solved = numerics.group_count(ids, good) > 0
  long = valid & ~good & solved & (excess > 0)
  scale = jnp.where(long, 2 - base ** -jnp.maximum(excess, 0.0), 1.0)
  return _over_tokens(advantages * scale, rollouts)
