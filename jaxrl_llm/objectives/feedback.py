"""A score whose slope dies out whether a response gains or loses.

f(logp, old_logp, mask) -> f32[N]
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.digests import Digest, at
from jaxrl_llm.reads import reads


def others(log_probs, seen):
  """sum_v sg(p_v) log p_v over all entries but the token, [..., 1]."""
  chance = jnp.exp(jax.lax.stop_gradient(log_probs))
  terms = jnp.where(chance > 0, chance * log_probs, 0.0)
  return (jnp.sum(terms, axis=-1) - at(terms, seen.token))[..., None]


OTHERS = Digest(others)


@reads(OTHERS, 'ref_logp', 'group', 'valid')
def bounded_by_reference(
  logp,
  old_logp,
  mask,
  *,
  ref_logp,
  group,
  valid,
  epsilon=1e-6,
  **arrays,
):
  """Likelihood towards targets that stop at the reference, over the shortest.

      s = sum_t (b_t logp_t + o_t sum_{v != y_t} sg(p_v) log p_v) / L
      b_t = min(p_t / (p_ref,t + epsilon), 1)
      o_t = (1 - b_t + epsilon) / (1 - p_t + epsilon),   both held constant

  With z the logits, ds/dz_y = b_t - p_t where epsilon is nothing: 1 - p_t of a
  token that is at least as likely as under the reference, which is the slope
  of likelihood, and p_t (1 / p_ref,t - 1) below, which dies out as p_t does.
  L is the number of tokens of the shortest row of the group.

  Args:
    epsilon: > 0, a chance.

  Returns:
    f32[N], nats; 0 for a row without tokens.

  Source: BNF, arXiv 2410.04834, as `BNFLoss` of oat has it.
  """
  del old_logp
  p = jnp.exp(jax.lax.stop_gradient(jnp.where(mask, logp, 0.0)))
  p_ref = jnp.exp(jnp.where(mask, ref_logp, 0.0))
  target = jnp.minimum(p / (p_ref + epsilon), 1.0)
  rest = (1 - target + epsilon) / (1 - p + epsilon)
  terms = target * logp + rest * arrays[OTHERS][..., 0]
  length = jnp.sum(mask, axis=-1)
  shortest = numerics.group_min(length * 1.0, group, valid & (length > 0))
  total = numerics.masked_sum(terms, mask, axis=-1)
  return numerics.safe_divide(total, jnp.where(length > 0, shortest, 0.0))
