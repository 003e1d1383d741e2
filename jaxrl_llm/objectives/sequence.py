"""Surrogates whose ratio is that of the whole response.

Same signature as the token surrogates; rows are independent of each other.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm import numerics


def sequence_clip(logp, old_logp, advantages, mask, *, low=3e-4, high=4e-4):
  """PPO's clip on the length-normalised ratio of the sequence.

      s_i  = exp(sum_t m_t (logp_t - old_logp_t) / len_i)
      s_it = sg(s_i) exp(logp_t - sg(logp_t))
      max(-s_it A_it, -clip(s_it, 1 - low, 1 + high) A_it)

  The token form: under `sequence_mean` its gradient is that of the sequence
  form -s_i A_i, and it also takes advantages that differ between tokens.

  Args:
    low, high: half-widths; small, because s_i is a geometric mean.

  Returns:
    f32[N, T]; every token of a clipped row has zero gradient. A row without
    tokens has s_i = 1.

  Source: GSPO, arXiv 2507.18071, equations 7 and 13-14.
  """
  chex.assert_equal_shape([logp, old_logp, advantages, mask])
  log_ratio = numerics.masked_mean(logp - old_logp, mask, axis=-1)
  sequence = jax.lax.stop_gradient(log_ratio)[:, None]
  ratio = numerics.bounded_exp(sequence + logp - jax.lax.stop_gradient(logp))
  clipped = jnp.clip(ratio, 1 - low, 1 + high)
  return jnp.maximum(-ratio * advantages, -clipped * advantages)
