"""Balances of generative flow networks over the steps of an environment.

A step is a turn of the policy: a thought and an action. The flow into what it
read is the value head's, in logs, at the first token that it says.

    row loss    f(logp, old_logp, advantages, mask) -> f32[N]
"""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.objectives import gflownet
from jaxrl_llm.reads import reads


def by_step(logp, mask, turn, thought, thought_weight):
  """log P_F of each step at its first token f32[N, T], and those tokens.

  log P_F = sum_action logp_t + thought_weight sum_thought logp_t
  """
  both = mask[:, :, None] & mask[:, None, :]
  same = both & (turn[:, :, None] == turn[:, None, :])
  first = mask & ~jnp.any(jnp.tril(same, -1), axis=2)
  weighted = jnp.where(thought, thought_weight, 1.0) * logp
  total = numerics.masked_sum(weighted[:, None, :], same, axis=2)
  return jnp.where(first, total, 0.0), first


def _residuals(
  logp, mask, turn, thought, values, rewards, weight, thought_weight
):
  step, first = by_step(logp, mask, turn, thought, thought_weight)
  delta = gflownet.residuals(step, values, rewards / weight, first)
  return delta, first


@reads('turn', 'thought', 'values', 'rewards')
def step_balance(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  turn,
  thought,
  values,
  rewards,
  weight=1.0,
  thought_weight=0.4,
):
  """Detailed balance: the mean of delta_k^2 over the steps of a row.

      delta_k = log F_k + log P_F(step k) - log F_{k + 1},  log F_K = r / weight

  Args:
    turn: i32[N, T]. thought: bool[N, T]. values: log flows f32[N, T].
    weight: beta > 0, reward units per nat.
    thought_weight: of the tokens of a thought, in [0, 1].

  Returns:
    f32[N]; 0 for a row without tokens.

  Source: GFlowVLM, arXiv 2503.06514, its DB. The weight is recalled.
  """
  del old_logp, advantages
  delta, first = _residuals(
    logp, mask, turn, thought, values, rewards, weight, thought_weight
  )
  return numerics.masked_mean(delta**2, first, axis=-1)


@reads('turn', 'thought', 'values', 'rewards')
def sub_step_balance(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  turn,
  thought,
  values,
  rewards,
  weight=1.0,
  thought_weight=0.4,
  decay=1.0,
):
  """`gflownet.sub_trajectories` of the delta_k of `step_balance`.

  Args:
    turn, thought, values, weight, thought_weight: of `step_balance`.
    decay: lambda > 0 of runs of steps.

  Source: GFlowVLM, arXiv 2503.06514, its SubTB. Recalled.
  """
  del old_logp, advantages
  delta, first = _residuals(
    logp, mask, turn, thought, values, rewards, weight, thought_weight
  )
  return gflownet.sub_trajectories(delta, first, decay=decay)
