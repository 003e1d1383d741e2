"""Shapers that price the length of a response.

f(rewards f32[N], rollouts) -> f32[N]
"""

from __future__ import annotations

import jax.numpy as jnp


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
