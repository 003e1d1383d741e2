"""Combiners: several verifier scores to one reward.

f(components f32[N, K], weights f32[K], rollouts) -> f32[N]
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm import numerics


def weighted_sum(components, weights, rollouts):
  """r_i = sum_k w_k s_ik.

  Args:
    components: f32[N, K], raw scores. weights: f32[K]. rollouts: unused.

  Returns:
    f32[N], reward units.

  Example:
    >>> scores = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> print(weighted_sum(scores, jnp.array([1.0, 0.25]), None))
    [1.   0.25]
  """
  del rollouts
  chex.assert_rank(components, 2)
  chex.assert_shape(weights, (components.shape[1],))
  return jnp.sum(components * weights, axis=-1)


def scaled(components, weights, rollouts, *, weight=1.0):
  """`weighted_sum` times a weight, beside a loss that has a scale of its own.

  Args:
    weight: 0 learns nothing from rewards.
  """
  return weight * weighted_sum(components, weights, rollouts)


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
  each = jax.vmap(fn, in_axes=(1, None, None), out_axes=1)
  return weighted_sum(
    each(components, rollouts.group, rollouts.valid), weights, rollouts
  )


def least_served(components, weights, rollouts):
  """The reward of the group of people that the batch serves worst.

      r_i = s_ik,   k = argmin_u mean_i s_iu

  Args:
    components: f32[N, K], one reward model for each group of people.
    weights: f32[K]; groups of weight 0 are left out.
    rollouts: for `valid`.

  Source: MaxMin-RLHF, arXiv 2402.08925: the KL is common, so
    the index is that of the least mean reward.
  """
  chex.assert_shape(weights, (components.shape[1],))
  mean = numerics.masked_mean(components, rollouts.valid[:, None], axis=0)
  index = jnp.argmin(jnp.where(weights != 0, mean, jnp.inf))
  return components[:, index]


def worst_model(components, weights, rollouts):
  """min_k s_ik: worst-case optimisation over an ensemble of reward models.

  Args:
    components: f32[N, K]. weights: f32[K]; models of weight 0 are left out.

  Source: arXiv 2310.02743 (WCO).
  """
  del rollouts
  chex.assert_shape(weights, (components.shape[1],))
  return jnp.min(jnp.where(weights != 0, components, jnp.inf), axis=-1)


def any_judge(components, weights, rollouts):
  """max_k s_ik: right if any judge says so, such as a rule or a model.

  Args:
    components: f32[N, K]. weights: f32[K]; judges of weight 0 are left out.

  Source: QwenLong-L1, arXiv 2505.17667, section 3.3, and its code.
  """
  del rollouts
  chex.assert_shape(weights, (components.shape[1],))
  return jnp.max(jnp.where(weights != 0, components, -jnp.inf), axis=-1)


def certain_models(components, weights, rollouts, *, penalty=0.1, ddof=1):
  """mean_k s_ik - penalty var_k s_ik: rewards that an ensemble agrees on.

  Args:
    components: f32[N, K]. weights: f32[K]; models of weight 0 are left out.
    penalty: lambda >= 0, per reward unit. ddof: 1 divides by K - 1, as the
      published PPO does, 0 by K, as its best-of-n does.

  Returns:
    f32[N]; a single model has no variance.

  Source: arXiv 2310.02743 (UWO).
  """
  del rollouts
  chex.assert_shape(weights, (components.shape[1],))
  counted = jnp.broadcast_to(weights != 0, components.shape)
  mean = numerics.masked_mean(components, counted, axis=-1)
  spread = numerics.masked_variance(components, counted, axis=-1, ddof=ddof)
  return mean - penalty * spread


def one_of(components, weights, rollouts, *, objective=0):
  """s_ik of the component k = `objective` alone."""
  del weights, rollouts
  return components[:, objective]
