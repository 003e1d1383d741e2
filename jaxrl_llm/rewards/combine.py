"""Combiners: several verifier scores to one reward.

f(components f32[N, K], weights f32[K], rollouts) -> f32[N]
"""

from __future__ import annotations

import chex
import jax.numpy as jnp


def weighted_sum(components, weights, rollouts):
  """r_i = sum_k w_k s_ik.

  Args:
    components: f32[N, K], raw scores. weights: f32[K]. rollouts: unused.

  Returns:
    f32[N], reward units.
  """
  del rollouts
  chex.assert_rank(components, 2)
  chex.assert_shape(weights, (components.shape[1],))
  return jnp.sum(components * weights, axis=-1)
