"""Shapers that price the length of a response.

f(rewards f32[N], rollouts) -> f32[N]
"""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm.reads import reads


def overlong(rewards, rollouts, *, buffer, factor=1.0):
  """A soft penalty on the last `buffer` tokens of the response budget.

      r_i + factor * min(0, (T - buffer - len_i) / buffer)

  so that the penalty falls linearly from 0 at T - buffer tokens to -factor
  at T tokens, T being the budget of the run.

  Args:
    rewards: f32[N]. rollouts: for lengths and T.
    buffer: in tokens; 0 turns the penalty off.
    factor: in reward units.

  Returns:
    f32[N].

  Raises:
    ValueError: the buffer is longer than the budget.

  Source: DAPO, arXiv 2503.14476, equation 13.
  """
  budget = rollouts.response_mask.shape[1]
  if buffer > budget:
    raise ValueError(
      f'the overlong buffer of {buffer:g} tokens exceeds the response budget '
      f'of {budget}; set recipe.buffer to at most {budget}'
    )
  if buffer == 0:
    return rewards
  excess = rollouts.length - (budget - buffer)
  return rewards - factor * jnp.clip(excess / buffer, 0.0, 1.0)


@reads('budget')
def triangular(rewards, rollouts, *, accuracy_weight=0.6, length_weight=0.3):
  """A bonus for the length that was allowed, less for any other.

      accuracy_weight r_i + length_weight max(0, 1 - |len_i - b_i| / b_i)

  so that it rises to the budget, falls to 0 at twice of it, and does not ask
  whether the response is right.

  Args:
    rewards: f32[N]. rollouts: for lengths, and the extra `budget` f32[N], b > 0
      tokens. accuracy_weight, length_weight: lambda_c and lambda_l.

  Source: Train Long, Think Short, arXiv 2508.08940, equations 2 and 3.
  """
  budget = rollouts.extras['budget']
  apart = jnp.abs(rollouts.length - budget) / budget
  bonus = jnp.maximum(0.0, 1 - apart)
  return accuracy_weight * rewards + length_weight * bonus
