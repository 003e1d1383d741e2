"""Surrogates whose ratio is that of one item of a list."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.reads import reads


@reads('item')
def item_clip(logp, old_logp, advantages, mask, *, item, low=0.06, high=0.08):
  """PPO's clip on the length-normalised ratio of the token's item.

      s_k = exp(mean over the tokens u of item k of logp_u - old_logp_u)
      max(-s_k A_it, -clip(s_k, 1 - low, 1 + high) A_it)    for t in item k

  Args:
    item: i32[N, T] in [0, T), the item a token belongs to.
    low, high: half-widths of the trust region.

  Returns:
    f32[N, T]. Tokens of an item share its slope, whichever of them it comes
    from. One item per response is `sequence_clip`, one token per item `clip`.

  Source: Rank-GRPO, arXiv 2510.20150, equation 9, in the token-weighted form
    of its code.
  """
  chex.assert_equal_shape([logp, old_logp, advantages, mask, item])
  log_ratio = jax.vmap(numerics.group_mean)(logp - old_logp, item, mask)
  ratio = numerics.bounded_exp(log_ratio)
  ratio = jnp.where(mask, ratio, 1.0)
  clipped = jnp.clip(ratio, 1 - low, 1 + high)
  return jnp.maximum(-ratio * advantages, -clipped * advantages)
