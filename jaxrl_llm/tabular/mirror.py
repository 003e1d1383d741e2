"""Closed-form policy steps on tables: mirror descent and its kin.

Policies are rows of log-probabilities f32[..., A]; q are values of the same
shape. Everything is computed on logs, so an action of probability 0 stays.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp


def magnetic_step(log_policy, log_magnet, q, *, step_size, weight):
  """One step of magnetic mirror descent.

      argmax_p <q, p> - weight KL(p || magnet) - KL(p || policy) / step_size
        ~ (policy magnet^(weight step_size) e^(step_size q))
          ^(1 / (1 + weight step_size))

  Args:
    step_size: eta > 0. weight: alpha >= 0; 0 is mirror descent, in a
      matrix game multiplicative weights.

  Returns:
    Log-probabilities f32[..., A]. The fixed point is magnet e^(q / weight).

  Source: MMD, arXiv 2206.05825, and its authors' code (ssokota/mmd); used for
    planning in arXiv 2304.13138.
  """
  chex.assert_equal_shape([log_policy, log_magnet, q])
  pull = weight * step_size
  logits = (log_policy + pull * log_magnet + step_size * q) / (1 + pull)
  return jax.nn.log_softmax(logits)


def mirror_step(log_policy, q, *, step_size):
  """policy e^(step_size q), normalised: mirror descent under the KL.

  Also the natural gradient step of a tabular softmax policy.
  """
  chex.assert_equal_shape([log_policy, q])
  return jax.nn.log_softmax(log_policy + step_size * q)


def soft_mirror_step(log_policy, q, *, kl_weight, entropy_weight):
  """The off-policy step of mirror descent policy optimisation.

      argmin_p E_p[kl_weight log p
                   + (entropy_weight - kl_weight) log policy - q]
        ~ policy^((kl_weight - entropy_weight) / kl_weight) e^(q / kl_weight)

  Args:
    kl_weight: > 0. entropy_weight: 0 is `mirror_step` of size 1 / kl_weight;
      equal to `kl_weight` it is SAC's softmax(q / entropy_weight).

  Source: MDPO, arXiv 2005.09814, its off-policy loss.
  """
  chex.assert_equal_shape([log_policy, q])
  kept = (kl_weight - entropy_weight) / kl_weight
  return jax.nn.log_softmax(kept * log_policy + q / kl_weight)


def cloned(counts):
  """log (n(s, a) + 1) / (N(s) + A): a policy cloned from demonstrations.

  Args:
    counts: f32[..., A], how often each action was demonstrated.

  Returns:
    Log-probabilities; uniform where nothing was demonstrated.

  Source: Demonstration-Regularized RL, arXiv 2310.17303. Recalled.
  """
  actions = counts.shape[-1]
  total = jnp.sum(counts, axis=-1, keepdims=True)
  return jnp.log(counts + 1) - jnp.log(total + actions)


def soft_value(q, log_reference, *, weight):
  """V = weight log sum_a reference e^(q / weight): the regularised optimum.

  Its policy is reference e^((q - V) / weight), whose distance to that of
  another q' is at most |q - q'|_inf / weight in l1, where a greedy policy
  would jump.

  Source: arXiv 2310.17303 for the value; "The Policy Cliff", arXiv
    2507.20150, for the continuity.
  """
  chex.assert_equal_shape([q, log_reference])
  return weight * jax.nn.logsumexp(log_reference + q / weight, axis=-1)
