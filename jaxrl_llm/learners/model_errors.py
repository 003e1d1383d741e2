"""How wrong a learned model is, by what its errors do to a value.

Errors f32[..., B, n] of the predicted next state, e = s^ - s', of any number of
models; slopes f32[C, B, n] of C values at the true next state, dV_c / ds'. All
give f32[..., B].
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.types import Array

Error = Callable[[Array, Array], Array]


def squared(errors, slopes):
  """mean_j e_j^2: all that is seen matters alike."""
  del slopes
  return jnp.mean(errors**2, axis=-1)


def value_weighted(errors, slopes):
  """Squared errors, each weighed by how much a value depends on it.

      mean_{c, j} (dV_c / ds'_j)^2 e_j^2

  It bounds the error of a value to first order, |V(s^) - V(s')| = |slope . e|,
  as |slope . e|^2 <= n sum_j slope_j^2 e_j^2, and is 0 at the true state alone
  unless a slope is. `squared` where all slopes are 1.

  It is the loss of VaGraM, arXiv 2204.01464, for the state; that of the reward
  is squared in any case.
  """
  each = slopes[:, *(None,) * (errors.ndim - 2)]
  return jnp.mean((each * errors) ** 2, axis=(0, -1))


def taylor(errors, slopes):
  """mean_c (sum_j dV_c / ds'_j e_j)^2: the value's own error, to first order.

  Value-aware model learning by the Taylor expansion. Errors that cancel cost
  nothing, so a model may go anywhere along them: it is what `value_weighted`
  mends.

  It is `use_vaml` of VaGraM's published code.
  """
  each = slopes[:, *(None,) * (errors.ndim - 2)]
  return jnp.mean(jnp.sum(each * errors, axis=-1) ** 2, axis=0)


def clipped(slopes, quantile=0.95, *, where=True):
  """Slopes whose norms are at most that quantile of the norms of their value.

      slope * min(1, bound_c / |slope|)       bound_c = quantile_b |slope_cb|

  VaGraM's, arXiv 2204.01464. In its published code a second condition leaves
  norms below 100,000 as they are, so that it does nothing; that is 1 here.

  Args:
    slopes: f32[C, B, n]. where: bool[B], rows that the quantile is of; without
      any the bound is 0.
  """
  norms = jnp.linalg.norm(slopes, axis=-1, keepdims=True)
  counted = jnp.where(jnp.reshape(where, (-1, 1)), norms, jnp.nan)
  bound = jnp.nanquantile(counted, quantile, axis=1, keepdims=True)
  bound = jnp.where(jnp.any(where), bound, 0.0)
  return slopes * jnp.minimum(1.0, numerics.safe_divide(bound, norms, 1.0))
