"""Advantages from a critic: rewards on every token, rows that were cut off."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.advantages import group
from jaxrl_llm.advantages.tokens import generalized_advantage
from jaxrl_llm.credit import Memoryless, earned
from jaxrl_llm.reads import reads


@reads('old_values', 'unfinished')
@dataclasses.dataclass(frozen=True)
class ExtendedGAE(Memoryless):
  """Stage: advantages of rows that go on in the next iteration, too.

  A finished row ends at value 0 with its reward. An unfinished one has only
  what it was paid so far, and the value after its last token is taken to be
  that before it, so that being cut off is neither good nor bad news. Critic
  targets are the discounted rewards; those of unfinished rows mean nothing, see
  `costs.finished_value_error`.

  Attributes:
    discount: gamma. trace: lambda.

  Source: EGAE of Truncated PPO, arXiv 2506.15050, read at second hand.
  """

  discount: float = 1.0
  trace: float = 0.95

  def apply(self, credit, rollouts):
    mask, values = rollouts.loss_mask, rollouts.extras['old_values']
    cut = rollouts.extras['unfinished']
    paid = jnp.sum(rollouts.paid, axis=1, where=mask)
    outcome = earned(jnp.where(cut, paid, credit.rewards), rollouts)
    end = numerics.last_index(mask)[:, None]
    last = jnp.take_along_axis(values, jnp.maximum(end, 0), axis=1)[:, 0]
    advantages, _ = generalized_advantage(
      outcome,
      values,
      mask,
      jnp.where(cut, last, 0.0),
      discount=self.discount,
      trace=self.trace,
    )
    targets = numerics.discounted_sum(outcome, mask, decay=self.discount)
    return credit.replace(advantages=advantages, targets=targets)


@reads('old_values', 'old_logp', 'ref_logp')
@dataclasses.dataclass(frozen=True)
class PenalisedGAE(Memoryless):
  """Stage: advantages with a KL penalty on every token's reward.

      q_t = earned_t - kl_weight (old_logp_t - ref_logp_t)

  Attributes:
    discount: gamma. trace: lambda. kl_weight: reward units per nat.

  Source: PPO-max, arXiv 2307.04964, section 5.
  """

  discount: float = 1.0
  trace: float = 0.95
  kl_weight: float = 0.05

  def apply(self, credit, rollouts):
    mask, extras = rollouts.loss_mask, rollouts.extras
    kl = jnp.where(mask, extras['old_logp'] - extras['ref_logp'], 0.0)
    advantages, targets = generalized_advantage(
      self.gained(credit.rewards, rollouts) - self.kl_weight * kl,
      extras['old_values'],
      mask,
      extras.get('old_last_value', 0.0),
      discount=self.discount,
      trace=self.trace,
    )
    return credit.replace(advantages=advantages, targets=targets)

  def gained(self, rewards, rollouts):
    """f32[N, T]: what decisions get before the penalty, 0 off the loss mask."""
    return earned(rewards, rollouts)


@dataclasses.dataclass(frozen=True)
class SteeredGAE(PenalisedGAE):
  """Stage: `PenalisedGAE` whose weight steers the KL to a target.

      kl_weight <- kl_weight (1 + gain clip(KL / target - 1, -0.2, 0.2))

  KL is the mean of old_logp - ref_logp over the tokens of the iteration, which
  still uses the weight from before; without a token the weight stays.

  Attributes:
    target: nats per token, > 0. gain: of a correction.

  Source: NLPO, arXiv 2210.01241, and its published code; Ziegler et al. 2019,
    arXiv 1909.08593, section 2.2.
  """

  target: float = 1.0
  gain: float = 0.1

  def init(self, spec):
    del spec
    return jnp.float32(self.kl_weight)

  def update(self, credit, rollouts, state):
    held = dataclasses.replace(self, kl_weight=state)
    kl = rollouts.extras['old_logp'] - rollouts.extras['ref_logp']
    mean, gain = self.measured(kl, rollouts)
    error = jnp.clip(mean / self.target - 1, -0.2, 0.2)
    return held.apply(credit, rollouts), state * (1 + gain * error)

  def measured(self, kl, rollouts):
    """The KL that is steered, of f32[N, T], and how much of a correction."""
    mask = rollouts.loss_mask
    gain = jnp.where(jnp.any(mask), self.gain, 0.0)
    return numerics.masked_mean(kl, mask), gain


@reads('span_reward')
@dataclasses.dataclass(frozen=True)
class KeywordGAE(SteeredGAE):
  """Stage: `SteeredGAE` of a response whose parts earn something besides.

      q_t = earned_t + weight span_reward_t
            - kl_weight (old_logp_t - ref_logp_t)

  Attributes:
    weight: reward units per unit of `span_reward`.

  Source: Directional Stimulus Prompting, arXiv 2302.11520, and its code.
  """

  weight: float = 1.0

  def gained(self, rewards, rollouts):
    besides = self.weight * rollouts.extras['span_reward']
    besides = jnp.where(rollouts.loss_mask, besides, 0.0)
    return earned(rewards, rollouts) + besides


@reads('span_reward')
@dataclasses.dataclass(frozen=True)
class SpanGAE(SteeredGAE):
  """Stage: advantages of what feedback says of spans, less a KL penalty.

      q_t = span_reward_t - kl_weight (old_logp_t - ref_logp_t)

  The reward of the row does not enter. The KL that is steered is the sum over a
  response, on average.

  Attributes:
    discount: gamma. trace: lambda. kl_weight: reward units per nat. target:
      nats of a response. gain: of a correction, for each response.

  Source: Text2Grad, arXiv 2505.22338, and its code, with TRL's controller.
  """

  target: float = 3.0
  gain: float = 1e-4

  def gained(self, rewards, rollouts):
    del rewards
    return jnp.where(rollouts.loss_mask, rollouts.extras['span_reward'], 0.0)

  def measured(self, kl, rollouts):
    total = jnp.sum(jnp.where(rollouts.loss_mask, kl, 0.0), axis=1)
    count = jnp.sum(rollouts.valid)
    return numerics.masked_mean(total, rollouts.valid), self.gain * count


@reads('old_values', 'old_after_values')
@dataclasses.dataclass(frozen=True)
class PostDecision(Memoryless):
  """Stage: normalised returns minus the lower of two critics.

      G_t = sum_{u >= t} discount^(u - t) q_u,   R = (G - mean) / (std + e)
      A_t = R_t - min(V(s_t), V^x(s^x_t))

  V values the prefix before token t, V^x the prefix with it, before a tool
  or a verifier answers. Mean and std (n - 1) are over the chosen tokens of
  the iteration. R is also the target of both critics.

  Attributes:
    discount: per chosen token. epsilon: e, reward units.

  Source: PDPPO, arXiv 2504.05150, and its published code, which takes the
    minimum of the critics where the abstract speaks of the larger.
  """

  discount: float = 1.0
  epsilon: float = 1e-7

  def apply(self, credit, rollouts):
    mask, extras = rollouts.loss_mask, rollouts.extras
    outcome = earned(credit.rewards, rollouts)
    returns = numerics.discounted_sum(outcome, mask, decay=self.discount)
    spread = jnp.sqrt(numerics.masked_variance(returns, mask, ddof=1))
    centred = returns - numerics.masked_mean(returns, mask)
    targets = jnp.where(mask, centred / (spread + self.epsilon), 0.0)
    lower = jnp.minimum(extras['old_values'], extras['old_after_values'])
    advantages = jnp.where(mask, targets - lower, 0.0)
    return credit.replace(advantages=advantages, targets=targets)


@reads('old_after_values', 'single')
@dataclasses.dataclass(frozen=True)
class StepValues(Memoryless):
  """Stage: what a step is worth beside the other steps of its group.

      A_i = v_i - mean_g v,   v = sigmoid(V^x after the last token of the row)

  Rows of more than a single step have A = 0; their reward, held to [0, 1], is
  the target of the critic, a chance.

  Source: Direct Advantage Policy Optimization, arXiv 2412.18279.
  """

  def apply(self, credit, rollouts):
    mask, single = rollouts.loss_mask, rollouts.extras['single']
    end = numerics.last_index(mask)[:, None]
    logits = rollouts.extras['old_after_values']
    last = jnp.take_along_axis(logits, jnp.maximum(end, 0), axis=1)[:, 0]
    spoken = rollouts.valid & jnp.any(mask, axis=1)
    steps = group.centre(jax.nn.sigmoid(last), rollouts.group, spoken)
    rows = jnp.where(single, steps, 0.0)[:, None]
    chance = jnp.clip(credit.rewards, 0, 1)[:, None]
    return credit.replace(
      advantages=jnp.where(mask, rows, 0.0),
      targets=jnp.where(mask, chance, 0.0),
    )


@reads('old_values', 'recorded')
@dataclasses.dataclass(frozen=True)
class Leftover(Memoryless):
  """Stage: how much better a recorded response is than the reference's are.

      A_i = r_i - V(x_i)                 recorded rows, 0 on the reference's
      keep_i = max(A_i, 0) n / sum_j max(A_j, 0)       over the n recorded rows

  V is the critic at the first token; its targets are the rewards.

  Source: A-LoL, arXiv 2305.14718, sections 3.2 and 3.3, and its published code,
    which draws responses in proportion to max(A, 0) and weighs them by A again.
  """

  def apply(self, credit, rollouts):
    recorded = rollouts.extras['recorded']
    mask = rollouts.loss_mask
    # The first token that is chosen, of rows that have one.
    place = jnp.argmax(mask, axis=1)[:, None]
    values = rollouts.extras['old_values']
    value = jnp.take_along_axis(values, place, axis=1)[:, 0]
    live = recorded & jnp.any(mask, axis=1)
    gained = jnp.where(live, credit.rewards - value, 0.0)
    share = jnp.maximum(gained, 0.0)
    mean = numerics.masked_mean(share, live)
    drawn = jnp.where(recorded, numerics.safe_divide(share, mean), 1.0)
    targets = jnp.where(mask, credit.rewards[:, None], 0.0)
    return credit.replace(
      advantages=jnp.where(mask, gained[:, None], 0.0),
      targets=targets,
      keep=credit.keep * drawn,
    )


@dataclasses.dataclass(frozen=True)
class ScaledReward:
  """Stage: rewards in units of their running spread, clipped.

      r <- clip((r - mean) / (std + epsilon), -bound, bound)

  Mean and spread are those of all valid rows so far, the present ones
  included.

  Attributes:
    bound: in spreads. epsilon: reward units.

  Source: PPO-max, arXiv 2307.04964, section 5.
  """

  bound: float = 10.0
  epsilon: float = 1e-8

  def init(self, spec):
    del spec
    zero = jnp.float32(0)
    return {'count': zero, 'mean': zero, 'squares': zero}

  def update(self, credit, rollouts, state):
    valid, rewards = rollouts.valid, credit.rewards
    number = jnp.sum(valid) * 1.0
    mean = numerics.masked_mean(rewards, valid)
    squares = numerics.masked_sum((rewards - mean) ** 2, valid)
    # Chan's update: sums of squares of large rewards would lose the spread.
    count = state['count'] + number
    shift = mean - state['mean']
    share = numerics.safe_divide(number, count)
    state = {
      'count': count,
      'mean': state['mean'] + shift * share,
      'squares': state['squares'] + squares + shift**2 * state['count'] * share,
    }
    std = jnp.sqrt(numerics.safe_divide(state['squares'], count))
    scaled = (rewards - state['mean']) / (std + self.epsilon)
    scaled = jnp.clip(scaled, -self.bound, self.bound)
    return credit.replace(rewards=jnp.where(valid, scaled, 0.0)), state
