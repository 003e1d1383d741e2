"""Advantages of a tempered policy, whose temperature steers the entropy.

A policy sampled hotter and rewarded for its successes becomes more random,
one sampled colder less so: entropy is held at a target by choosing between
the two, without an entropy bonus.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.advantages import group
from jaxrl_llm.credit import Memoryless
from jaxrl_llm.digests import Digest, at
from jaxrl_llm.reads import reads


def steering_temperature(entropy, target, *, hot=1.2, cold=0.8):
  """Hot while the entropy is at most its target, else cold.

  Args:
    entropy, target: nats per token.

  Source: AEPO, arXiv 2510.08141; the code of DCPO.
  """
  return jnp.where(entropy <= target, hot, cold)


def tempered(log_probs, seen, *, temperatures=(1.2, 0.8)):
  """log policy^T(y) - log policy(y) for each temperature T, [..., K]."""
  logp = at(log_probs, seen.token)
  heated = [jax.nn.log_softmax(log_probs / heat) for heat in temperatures]
  return jnp.stack([at(x, seen.token) - logp for x in heated], axis=-1)


@dataclasses.dataclass(frozen=True)
class TemperedMix:
  """Stage: advantages mixed with those of the tempered policy's successes.

      T    = steering_temperature(H, target)
      x    = min(|target - H|, most) / share of correct rows
      a    = x / (1 + x)
      A_t <- (1 - a) A_t + a [row is correct] policy^T(y_t) / policy(y_t)

  H is the mean of -log policy over the tokens of the iteration before, 0 at
  first. Times the score function, the last term estimates E[r grad log policy]
  under the tempered policy, token by token, on the samples at hand. policy^T
  is the softmax of the log-probs over T.

  Without a correct row nothing changes, where the published code divides by
  0. Without a token H stays.

  Attributes:
    target: nats per token. hot, cold: temperatures. most: nats.
    correct: a reward above it is a success.

  Source: DCPO, arXiv 2601.12730, and its code.
  """

  target: float = 0.3
  hot: float = 1.2
  cold: float = 0.8
  most: float = 0.1
  correct: float = 0.05

  @property
  def move(self) -> Digest:
    """How much likelier the hot and the cold policy find each token."""
    return Digest(tempered, temperatures=(self.hot, self.cold)).old

  @property
  def reads(self) -> frozenset[str]:
    return frozenset({'old_logp', self.move})

  def init(self, spec):
    del spec
    return jnp.float32(0)

  def update(self, credit, rollouts, state):
    mask = rollouts.loss_mask
    logp = rollouts.extras['old_logp']
    move = rollouts.extras[self.move]
    # The first is that of the hot policy, the second of the cold one.
    place = steering_temperature(state, self.target, hot=0, cold=1)
    move = jnp.where(mask, jnp.take(move, place, axis=-1), 0.0)
    good = rollouts.valid & (credit.rewards > self.correct)
    rate = numerics.masked_mean(good * 1.0, rollouts.valid)
    gap = jnp.minimum(jnp.abs(self.target - state), self.most)
    x = numerics.safe_divide(gap, rate)
    share = x / (1 + x)
    earned = jnp.where(good[:, None], numerics.bounded_exp(move), 0.0)
    mixed = (1 - share) * credit.advantages + share * earned
    advantages = jnp.where(mask, mixed, 0.0)
    entropy = numerics.masked_mean(-logp, mask)
    state = jnp.where(jnp.any(mask), entropy, state)
    return credit.replace(advantages=advantages), state


@reads('tempered')
@dataclasses.dataclass(frozen=True)
class TemperedSuccesses(Memoryless):
  """Stage: GRPO, beside rows sampled at another temperature that succeeded.

      own rows:       (r - mean) / (std + epsilon) among the group's own rows
      tempered rows:  1 where their own such advantage, among the group's
                      tempered rows, is above `least`; others are dropped

  Times the score function at temperature 1, tempered rows are REINFORCE on
  the successes of the tempered policy.

  Attributes:
    epsilon: reward units. least: in spreads.

  Source: AEPO, arXiv 2510.08141, and its code.
  """

  epsilon: float = 1e-6
  least: float = 0.05

  def apply(self, credit, rollouts):
    tempered = rollouts.extras['tempered'].astype(bool)

    def among(rows):
      where = rollouts.valid & rows
      return group.norm(
        credit.rewards, rollouts.group, where, epsilon=self.epsilon
      )

    success = among(tempered) > self.least
    row = jnp.where(tempered, success * 1.0, among(~tempered))
    advantages = jnp.where(rollouts.loss_mask, row[:, None], 0.0)
    keep = jnp.where(tempered & ~success, 0.0, credit.keep)
    return credit.replace(advantages=advantages, keep=keep)
