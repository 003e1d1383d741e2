"""Losses of whole responses that regress log-ratios on advantages.

f(logp, old_logp, advantages, mask) -> f32[N], a loss for each response
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.reads import reads


@reads('group', 'valid')
def normalised_log_ratio(
  logp, old_logp, advantages, mask, *, group, valid, epsilon=1e-4
):
  """The group's normalised log-ratios regressed on its advantages.

      loss_i = (A_i - z_i)^2      z_i = (l_i - mean_g l) / sqrt(var_g l + eps)
      l_i = sum_t m_t (logp_t - old_logp_t)

  which is 2 (1 - corr(r, l)) on average for advantages z(r) and epsilon -> 0.
  Nothing clips: a ratio past the wanted one is pulled back.

  Args:
    group: i32[N]. valid: bool[N].
    epsilon: nats^2. On policy every l is 0 and the paper's 0 / 0 becomes
      the gradient -2 A_i / sqrt(epsilon), GRPO's direction.

  Returns:
    f32[N]; 0 for rows that do not count or stand alone.

  Source: Reg-GRPO, DeepVideo-R1, arXiv 2506.07464, equation 9; var divides
    by n - 1, as the advantages do.
  """
  chex.assert_equal_shape([logp, old_logp, advantages, mask])
  log_ratio = numerics.masked_sum(logp - old_logp, mask, axis=-1)
  centred = log_ratio - numerics.group_mean(log_ratio, group, valid)
  count = numerics.group_count(group, valid)
  squares = numerics.group_sum(centred**2, group, valid)
  variance = numerics.safe_divide(squares, jnp.maximum(count - 1, 0))
  low = jnp.min(advantages, axis=-1, where=mask, initial=jnp.inf)
  wanted = jnp.where(jnp.any(mask, axis=-1), low, 0.0)
  error = jax.lax.stop_gradient(wanted) - centred / jnp.sqrt(variance + epsilon)
  return jnp.where(valid & (count > 1), error**2, 0.0)
