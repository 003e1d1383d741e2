"""Advantages token by token, and what refines them.

    estimate_tokens   f(rewards f32[N], rollouts) -> f32[N, T]
    refine            f(advantages f32[N, T], rollouts) -> f32[N, T]

Tokens that the policy did not choose are skipped: a value passes over a
tool's output undiscounted.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxrl_llm import grouping, numerics
from jaxrl_llm.advantages import group
from jaxrl_llm.credit import Memoryless, earned
from jaxrl_llm.reads import reads


@reads('old_logp', 'ref_logp')
def kl_reward_to_go(rewards, rollouts, *, kl_weight=0.0, decay=1.0):
  """Reward to go with a per-token KL penalty inside the reward.

      q_t = earned_t - kl_weight * (old_logp_t - ref_logp_t)
      A_t = sum_{u >= t} decay^(u - t) q_u

  earned_t is the reward at the last token, or as it was paid on the way, see
  `credit.earned`. With decay 1 the score function times A_t is an unbiased
  estimate of the gradient of E[r] - kl_weight * KL(policy || reference) over
  sequences: each token answers for the penalties after it.

  Args:
    rewards: f32[N]. rollouts: reads extras `old_logp` and `ref_logp` [N, T].
    kl_weight: reward units per nat. decay: per chosen token, in [0, 1].

  Returns:
    f32[N, T], reward units.

  Source: REINFORCE++, arXiv 2501.03262, equations 4 and 5.
  """
  mask = rollouts.loss_mask
  kl = rollouts.extras['old_logp'] - rollouts.extras['ref_logp']
  penalty = kl_weight * jnp.where(mask, kl, 0)
  outcome = earned(rewards, rollouts)
  return numerics.discounted_sum(outcome - penalty, mask, decay=decay)


@reads('old_logp', 'ref_logp')
def penalised_leave_one_out(rewards, rollouts, *, kl_weight=0.05):
  """Leave-one-out of rewards that hold the KL of the whole response.

      R_i = r_i - kl_weight sum_t (old_logp_t - ref_logp_t)
      A_i = R_i - mean_{j != i} R_j

  The score function times A_i is an unbiased estimate of the gradient of
  E[r] - kl_weight KL(policy || reference) over sequences. `kl_reward_to_go`
  has the same expectation: here a token also answers for what came before it.

  Args:
    kl_weight: reward units per nat; 0 is `group.leave_one_out`.

  Returns:
    f32[N, T], reward units; 0 for a row alone in its group.

  Source: RLOO, arXiv 2402.14740; TRL, whose weight is the default.
  """
  mask = rollouts.loss_mask
  kl = rollouts.extras['old_logp'] - rollouts.extras['ref_logp']
  penalised = rewards - kl_weight * numerics.masked_sum(kl, mask, axis=-1)
  rows = group.leave_one_out(penalised, rollouts.group, rollouts.valid)
  return jnp.where(mask, rows[:, None], 0.0)


@reads('old_logp', 'ref_logp')
def leave_one_out_to_go(rewards, rollouts, *, kl_weight=0.01):
  """Leave-one-out of rewards, and the KL that is still to come.

      A_it = r_i - mean_{j != i} r_j
             - kl_weight sum_{u >= t} (old_logp_u - ref_logp_u)

  The baseline is of rewards alone: the penalty has none.

  Args:
    kl_weight: reward units per nat; 0 is `group.leave_one_out`.

  Returns:
    f32[N, T], reward units.

  Source: RLOO in OpenRLHF, whose weight is the default.
  """
  mask = rollouts.loss_mask
  kl = rollouts.extras['old_logp'] - rollouts.extras['ref_logp']
  to_go = numerics.discounted_sum(jnp.where(mask, kl, 0.0), mask)
  rows = group.leave_one_out(rewards, rollouts.group, rollouts.valid)
  return jnp.where(mask, rows[:, None] - kl_weight * to_go, 0.0)


def whiten_batch(advantages, rollouts, *, epsilon=1e-8):
  """Zero mean and unit variance over all chosen tokens of the iteration.

      (A_t - mean) / sqrt(var + epsilon)       var divides by n - 1

  Source: REINFORCE++, arXiv 2501.03262, equation 6; the same step is usual
    in PPO, arXiv 2005.12729, section 3.
  """
  return numerics.whiten(advantages, rollouts.loss_mask, epsilon=epsilon)


@reads('earlier')
def whiten_new(advantages, rollouts, *, epsilon=1e-8):
  """`whiten_batch` over tokens of this iteration, 0 on those of earlier ones.

  Args:
    rollouts: reads the extra `earlier` bool[N, T], tokens that an earlier
      iteration sampled, and learned from.

  An advantage of 0 teaches a policy nothing, so each token trains it once.

  Source: T-PPO, arXiv 2506.15050; that it whitens among those tokens is ours.
  """
  mask = rollouts.loss_mask & ~rollouts.extras['earlier']
  return numerics.whiten(advantages, mask, epsilon=epsilon)


def clip_advantages(advantages, rollouts, *, bound=math.inf):
  """clip(A_t, -bound, bound).

  Args:
    bound: of advantages, in their unit; math.inf leaves them.

  Source: PPO-max, arXiv 2307.04964, section 4.2, whose code has 0.5 after
    whitening.
  """
  del rollouts
  return jnp.clip(advantages, -bound, bound)


def whiten_rows(advantages, rollouts, *, epsilon=1e-8):
  """Zero mean and unit spread over the rows of the iteration.

      (A_t - mean) / (std + epsilon)

  where a row counts once, with the mean over its chosen tokens, and std
  divides by n - 1. A single row is centred and no more, to 0.

  Source: Single-stream PO, arXiv 2509.13232, section 3.2; GDPO, arXiv
    2601.05242, equation 6, in the form of TRL.
  """
  mask = rollouts.loss_mask
  counts = jnp.any(mask, axis=-1)
  row = numerics.masked_mean(advantages, mask, axis=-1)
  everyone = grouping.whole(rollouts.group)
  mean = numerics.group_mean(row, everyone, counts)
  std = numerics.group_std(row, everyone, counts, ddof=1)
  centred = advantages - mean[:, None]
  return jnp.where(mask, centred / (std[:, None] + epsilon), 0)


def less_others(advantages, rollouts):
  """Returns minus what the group's other rows return on average.

      A_it - mean_{j != i} A_j,first

  A row's return is that at its first token. The baseline does not depend on
  the row itself, so the policy gradient stays unbiased.

  Args:
    advantages: f32[N, T], returns from each token to the end.

  Returns:
    f32[N, T]; 0 for a row alone in its group.

  Source: RLOO, arXiv 2402.14740, section 2.2, of returns token by token.
  """
  mask = rollouts.loss_mask
  counts = jnp.any(mask, axis=-1)
  first = jnp.argmax(mask, axis=-1)
  whole = jnp.take_along_axis(advantages, first[:, None], axis=-1)[:, 0]
  mean = numerics.group_mean(whole, rollouts.group, counts)
  others = numerics.group_count(rollouts.group, counts) - 1
  baseline = mean + numerics.safe_divide(mean - whole, jnp.maximum(others, 0))
  peers = mask & (others > 0)[:, None]
  return jnp.where(peers, advantages - baseline[:, None], 0)


def norm_by_tokens(rewards, rollouts, *, epsilon=1e-6, most=5.0):
  """Reward minus its group's mean, both as seen from a token of the group.

      mean_g = sum_i len_i r_i / sum_i len_i
      std_g  = sqrt(sum_i len_i (r_i - mean_g)^2 / sum_i len_i)
      A_i    = (r_i - mean_g) / (std_g + epsilon)

  so that the advantages of a group's tokens add up to 0. A group in which
  some |A_i| reaches `most` has GRPO's `group.norm` instead.

  Args:
    rewards: f32[N]. epsilon: reward units. most: in spreads.

  Returns:
    f32[N, T], without unit; 0 in a group of equal rewards.

  Source: HAPO, arXiv 2509.16591, its token-level group average, and its code.
  """
  ids, mask = rollouts.group, rollouts.loss_mask
  length = jnp.sum(mask, axis=-1) * 1.0
  valid = rollouts.valid & (length > 0)
  low = numerics.group_min(rewards, ids, valid)
  low = jnp.where(valid, low, 0.0)
  total = numerics.group_sum(length, ids, valid)

  def mean(x):
    weighed = numerics.group_sum(length * x, ids, valid)
    return numerics.safe_divide(weighed, total)

  # Differences to the least reward keep equal rewards equal exactly.
  centred = rewards - low
  centred = jnp.where(valid, centred - mean(centred), 0.0)
  variance = mean(centred**2)
  std = jnp.sqrt(variance)
  ours = jnp.where(variance > 0, centred / (std + epsilon), 0.0)
  plain = group.norm(rewards, ids, valid, epsilon=epsilon)
  extreme = numerics.group_max(jnp.abs(ours), ids, valid) >= most
  rows = jnp.where(extreme, plain, ours)
  return jnp.where(mask, rows[:, None], 0.0)


def centre_by_tokens(rewards, rollouts):
  """Reward minus the mean reward of its group's tokens.

      A_i = r_i - sum_j len_j r_j / sum_j len_j

  The baseline of least variance where the score of a token has one size. For
  one optimizer step an iteration, as published; `group.centre` where all
  responses are equally long.

  Returns:
    f32[N, T], reward units; 0 in a group of equal rewards.

  Source: OPO, arXiv 2505.23585; verl's `opo`.
  """
  ids, mask = rollouts.group, rollouts.loss_mask
  length = jnp.sum(mask, axis=-1) * 1.0
  valid = rollouts.valid & (length > 0)
  low = numerics.group_min(rewards, ids, valid)
  # Differences to the least reward keep equal rewards equal exactly.
  above = jnp.where(valid, rewards - jnp.where(valid, low, 0.0), 0.0)
  total = numerics.group_sum(length, ids, valid)
  mean = numerics.group_sum(length * above, ids, valid)
  mean = numerics.safe_divide(mean, total)
  return jnp.where(mask, (above - mean)[:, None], 0.0)


@reads('old_entropy')
def by_entropy_if_uniform(
  rewards, rollouts, *, strength=0.1, correct=0.5, epsilon=1e-6
):
  """GRPO's advantages, and signed entropies where a group teaches nothing.

      rewards of a group differ:  group.norm
      all right:                  strength H_t
      all wrong:                  -strength (max_u H_u - H_t)

  with H of the old policy and the maximum over the tokens of the response. The
  opposite of dropping such groups: not together with a filter of them.

  Args:
    rewards: f32[N]. strength: alpha, per nat.
    correct: a reward above it is right.

  Returns:
    f32[N, T].

  Source: RL-ZVP, arXiv 2509.21880, read in a third party's code.
  """
  ids, mask, valid = rollouts.group, rollouts.loss_mask, rollouts.valid
  entropy = jnp.where(mask, rollouts.extras['old_entropy'], 0.0)
  low = numerics.group_min(rewards, ids, valid)
  high = numerics.group_max(rewards, ids, valid)
  most = jnp.max(entropy, axis=-1, keepdims=True)
  right = (rewards > correct)[:, None]
  signed = strength * jnp.where(right, entropy, entropy - most)
  rows = group.norm(rewards, ids, valid, epsilon=epsilon)
  mixed = (high > low)[:, None]
  return jnp.where(mask, jnp.where(mixed, rows[:, None], signed), 0.0)


def generalized_advantage(
  token_rewards, values, mask, last_value=0.0, *, discount=1.0, trace=0.95
):
  """Generalised advantage estimation over chosen tokens.

      delta_t = q_t + discount * V_next(t) - V_t
      A_t     = delta_t + discount * trace * A_next(t)

  Masked tokens are passed over.

  Args:
    token_rewards: f32[N, T], q_t, see `credit.earned`.
    values: f32[N, T], V(s_t) before token t is chosen. mask: bool[N, T].
    last_value: f32[N], V after the last token; 0 where the row has ended.
    discount: gamma in [0, 1], or f32[N, T], that of leaving each token.
    trace: lambda in [0, 1], or f32[N], one for each row.

  Returns:
    advantages f32[N, T] and critic targets A_t + V_t f32[N, T], both 0 off
    mask.

  Source: Schulman et al. 2016, arXiv 1506.02438, equation 16.
  """

  def step(carry, column):
    following, next_value = carry
    reward, value, here, gamma = column
    delta = reward + gamma * next_value - value
    advantage = delta + gamma * trace * following
    carry = (
      jnp.where(here, advantage, following),
      jnp.where(here, value, next_value),
    )
    return carry, advantage

  zeros = jnp.zeros(values.shape[0], values.dtype)
  start = zeros, zeros + last_value
  discount = jnp.broadcast_to(discount, values.shape)
  columns = (token_rewards.T, values.T, mask.T, discount.T)
  _, advantages = jax.lax.scan(step, start, columns, reverse=True)
  advantages = jnp.where(mask, advantages.T, 0)
  return advantages, jnp.where(mask, advantages + values, 0)


@reads('old_values')
@dataclasses.dataclass(frozen=True)
class GAE(Memoryless):
  """Stage: advantages and critic targets from the old policy's values.

  Rewards are those that each decision earned, see `credit.earned`. A row that
  was cut off goes on with the value after its last decision, where the policy
  gives one.

  Attributes:
    discount: gamma. trace: lambda.
  """

  discount: float = 1.0
  trace: float = 0.95

  def apply(self, credit, rollouts):
    advantages, targets = generalized_advantage(
      earned(credit.rewards, rollouts),
      rollouts.extras['old_values'],
      rollouts.loss_mask,
      rollouts.extras.get('old_last_value', 0.0),
      discount=self.discount,
      trace=self.trace,
    )
    return credit.replace(advantages=advantages, targets=targets)


@reads('old_values')
@dataclasses.dataclass(frozen=True)
class AdaptiveGAE(Memoryless):
  """Stage: GAE whose trace grows with the response, apart from the critic's.

      lambda_i = max(1 - 1 / (decay len_i), 0)    of the advantages
      lambda   = value_trace                      of the critic's targets

  so that what is discounted away of a response does not grow with its length.

  Attributes:
    decay: alpha, per token. value_trace: of the targets. discount: gamma.

  Source: VAPO, arXiv 2504.05118, recalled; the two traces read in NeMo-RL.
  """

  decay: float = 0.05
  value_trace: float = 1.0
  discount: float = 1.0

  def apply(self, credit, rollouts):
    length = jnp.sum(rollouts.loss_mask, axis=-1)
    reach = jnp.maximum(self.decay * length, 1e-6)
    arrays = (
      earned(credit.rewards, rollouts),
      rollouts.extras['old_values'],
      rollouts.loss_mask,
      rollouts.extras.get('old_last_value', 0.0),
    )
    advantages, _ = generalized_advantage(
      *arrays, discount=self.discount, trace=jnp.maximum(1 - 1 / reach, 0.0)
    )
    _, targets = generalized_advantage(
      *arrays, discount=self.discount, trace=self.value_trace
    )
    return credit.replace(advantages=advantages, targets=targets)
