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


@reads('heat')
@dataclasses.dataclass(frozen=True)
class TemperedSuccesses(Memoryless):
  """Stage: GRPO, in which successes at another temperature replace rows.

      A    = (r - mean) / (std + epsilon)   within each group
      S    = tempered rows with A > least,  n = min(most, |S|)
      rows of the run's temperature: A,     weighed by 1 - n / their number
      rows of S:                     1,     weighed by n / |S|

  with half as many, rounded down, while the temperature is low; other tempered
  rows are dropped. The weights are the chances of rows in a batch of which n
  drawn ones are replaced by n drawn successes. Times the score function at the
  run's temperature, these are REINFORCE on the tempered policy's successes.

  Attributes:
    epsilon: reward units. least: in spreads. most: rows.

  Source: AEPO, arXiv 2510.08141, and its code, which takes the first rows.
  """

  epsilon: float = 1e-6
  least: float = 0.05
  most: int = 60

  def apply(self, credit, rollouts):
    heat, valid = rollouts.extras['heat'], rollouts.valid
    row = group.norm(
      credit.rewards, rollouts.group, valid, epsilon=self.epsilon
    )
    own = valid & (heat == 1)
    success = valid & (heat != 1) & (row > self.least)
    found, others = (jnp.sum(x * 1.0) for x in (success, own))
    number = jnp.minimum(found, self.most)
    number = jnp.where(jnp.any(heat < 1), number // 2, number)
    stays = jnp.maximum(1 - numerics.safe_divide(number, others), 0.0)
    weight = jnp.where(success, numerics.safe_divide(number, found), 0.0)
    weight = jnp.where(own, stays, weight)
    row = jnp.where(heat == 1, row, success * 1.0)
    advantages = jnp.where(rollouts.loss_mask, row[:, None], 0.0)
    return credit.replace(advantages=advantages, keep=credit.keep * weight)
