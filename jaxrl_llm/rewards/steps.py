"""Rewards of single steps, where a row is one step of a trajectory.

Every row comes with the reward R of its whole trajectory, and with what the
environment paid for its step, p_h, the extra `step_reward`. What was paid is
part of R, as it is of the score `returned`. Each of these is

    f(rewards f32[N], rollouts) -> f32[N]

What is left of R without what was paid is known to 5 decimals: more is rounding
of sums, by which steps that earned the same would differ, and a norm divides by
how much they do.
"""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm import grouping, numerics
from jaxrl_llm.reads import reads


@reads('trajectory', 'step', 'step_reward')
def apart(rewards, rollouts):
  """What each step earned; that of a trajectory adds up to its reward.

      r_h = p_h + [h is last] (R - sum_k p_k)

  As `credit.earned`, with steps in place of tokens: a trajectory that was
  judged as a whole earns all of it with its last step.

  Args:
    rewards: f32[N], of trajectories. rollouts: reads the three extras.

  Returns:
    f32[N], 0 in rows that do not count.
  """
  paid, key, total = _paid(rollouts)
  step, valid = rollouts.extras['step'] * 1.0, rollouts.valid
  latest = numerics.group_max(step, key, valid)
  last = grouping.representatives(key, valid & (step == latest))
  return jnp.where(valid, paid + last * _left(rewards - total), 0.0)


@reads('trajectory', 'step_reward')
def shared(rewards, rollouts, *, weight=1.0):
  """What each step was paid, beside the outcome that all of them share.

      r_h = R + weight (p_h - sum_k p_k)

  With weight 1 the outcome is what of R was not paid on the way.

  Args:
    rewards: f32[N], of trajectories. rollouts: reads the two extras.
    weight: 0 leaves R to all steps alike.

  Returns:
    f32[N], 0 in rows that do not count.
  """
  paid, _, total = _paid(rollouts)
  outcome = _left(rewards - weight * total)
  return jnp.where(rollouts.valid, outcome + weight * paid, 0.0)


def _left(difference):
  return jnp.round(difference, 5)


def _paid(rollouts):
  """f32[N]: of each step; i32[N]: its trajectory; f32[N]: of all of that."""
  key = grouping.joint(rollouts.group, rollouts.extras['trajectory'])
  paid = jnp.where(rollouts.valid, rollouts.extras['step_reward'], 0.0)
  return paid, key, numerics.group_sum(paid, key, rollouts.valid)
