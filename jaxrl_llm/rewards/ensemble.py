"""Several reward models to one reward, against those that are overrated.

f(scores f32[U, ...]) -> f32[...], U models over the first axis

Source of all: arXiv 2310.02743, section 3.2.
"""

from __future__ import annotations

import jax.numpy as jnp


def mean(scores):
  """The models' mean."""
  return jnp.mean(scores, axis=0)


def worst(scores):
  """WCO: the least that any model gives."""
  return jnp.min(scores, axis=0)


def uncertain(scores, *, weight=0.1):
  """UWO: mean_u r_u - weight var_u r_u.

  Args:
    weight: lambda, per reward unit; 0.1 is published for policy gradients and
      0.5 for the best of n.

  Returns:
    Of one model, its score: the variance divides by U, as in the published
    best-of-n code.
  """
  return jnp.mean(scores, axis=0) - weight * jnp.var(scores, axis=0)
