"""Rewards under constraints: judges that must pass, and room for the KL.

f(rewards f32[N], passed bool[N], rollouts) -> f32[N]
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.credit import Memoryless, Stage
from jaxrl_llm.reads import reads
from jaxrl_llm.selection import pairs


def _divergence(rollouts):
  """sum_t (old_logp_t - ref_logp_t), f32[N]."""
  gap = rollouts.extras['old_logp'] - rollouts.extras['ref_logp']
  return numerics.masked_sum(gap, rollouts.loss_mask, axis=-1)


@reads('greedy_reward', 'old_logp', 'ref_logp')
def with_room(rewards, passed, rollouts, *, most=10.0):
  """v sigmoid(r - r_greedy) max(0, 1 - KL / most).

  Reads `greedy_reward`, that of the policy's greedy response, which stands
  for the paper's baseline response.

  Args:
    most: KL_max > 0, nats, of log(policy / reference) of a whole response.

  Source: CRPG in CGPO, arXiv 2409.20370, equation 14, as in a third party's
    code.
  """
  room = jnp.maximum(0.0, 1 - _divergence(rollouts) / most)
  gain = jax.nn.sigmoid(rewards - rollouts.extras['greedy_reward'])
  return jnp.where(passed, gain * room, 0.0)


@reads('greedy_reward', 'old_logp', 'ref_logp')
def within(rewards, passed, rollouts, *, most=10.0):
  """v sigmoid(r - r_greedy) [KL <= most].

  Source: CRRAFT in CGPO, arXiv 2409.20370, equation 18, as in a third
    party's code.
  """
  inside = passed & (_divergence(rollouts) <= most)
  gain = jax.nn.sigmoid(rewards - rollouts.extras['greedy_reward'])
  return jnp.where(inside, gain, 0.0)


@reads('old_logp', 'ref_logp')
@dataclasses.dataclass(frozen=True)
class BestAccepted(Memoryless):
  """Stage: keep <- keep on a group's best accepted rows, 0 on the others.

  By the rewards as they are before a sigmoid, in which large ones would be
  equal. Rows that tie are all kept.

  Attributes:
    most: KL_max, nats; rows further from the reference are not accepted.
  """

  most: float = 10.0

  def apply(self, credit, rollouts):
    passed = pairs.accepted(credit.components) & rollouts.valid
    passed = passed & (_divergence(rollouts) <= self.most)
    best = numerics.group_max(credit.rewards, rollouts.group, passed)
    chosen = passed & (credit.rewards == best)
    return credit.replace(keep=jnp.where(chosen, credit.keep, 0.0))


@dataclasses.dataclass(frozen=True)
class Constrained(Stage):
  """rewards <- fn(rewards, passed, rollouts).

  The judges are the verifiers but the first; see `pairs.accepted`.

  Attributes:
    fn: f(rewards, passed, rollouts) -> f32[N].
  """

  def apply(self, credit, rollouts):
    passed = pairs.accepted(credit.components)
    rewards = self.fn(credit.rewards, passed, rollouts)
    rewards = jnp.where(rollouts.valid, rewards, 0.0)
    return credit.replace(rewards=rewards)


def minus_batch_mean(rewards, group, valid):
  """r_i - mean over the whole batch.

  Source: CRPG in CGPO, arXiv 2409.20370.
  """
  del group
  return jnp.where(valid, rewards - numerics.masked_mean(rewards, valid), 0.0)
