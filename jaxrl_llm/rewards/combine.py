"""Combiners: several verifier scores to one reward.

f(components f32[N, K], weights f32[K], rollouts) -> f32[N]
"""

from __future__ import annotations

import chex
import jax
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


def decoupled(components, weights, rollouts, *, fn):
  """Each component compared within its group before they are added.

      r_i = sum_k w_k fn(s_k)_i

  Adding raw scores lets the widest drown the others, and maps different
  mixtures of outcomes to one advantage.

  Args:
    components: f32[N, K], raw scores. weights: f32[K].
    rollouts: for `group` and `valid`.
    fn: f(scores f32[N], group i32[N], valid bool[N]) -> f32[N].

  Returns:
    f32[N]. A constant component contributes 0.

  Source: GDPO, arXiv 2601.05242, equation 4; BNPO, arXiv 2506.02864,
    section 3.3.
  """
  chex.assert_rank(components, 2)
  chex.assert_shape(weights, (components.shape[1],))
  each = jax.vmap(fn, in_axes=(1, None, None), out_axes=1)
  return weighted_sum(
    each(components, rollouts.group, rollouts.valid), weights, rollouts
  )
