"""Gradients through the answer of an inner problem."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.sparse import linalg


def hypergradient(outer, inner, upper, lower, *, solves=50, damping=0.0):
  """d outer(upper, lower*(upper)) / d upper by the implicit function theorem.

      d_u G - (d2V / dl du)' (d2V / dl2)^-1 d_l G,   lower* = argmax_l V

  The inverse is applied by conjugate gradients with products of the Hessian,
  so the lower variables may be many.

  Args:
    outer: G(upper, lower) -> f32[]. inner: V(upper, lower) -> f32[],
      concave in `lower` at its maximum, which `lower` is.
    damping: added to the curvature, for a maximum that is flat.

  Source: PARL, arXiv 2308.02585. Recalled.
  """
  direct, through = jax.grad(outer, argnums=(0, 1))(upper, lower)

  def slope(lower):
    return jax.grad(inner, argnums=1)(upper, lower)

  def curvature(vector):
    product = jax.jvp(slope, (lower,), (vector,))[1]
    # -V is convex, as conjugate gradients want it.
    return jax.tree.map(lambda h, v: damping * v - h, product, vector)

  solved, _ = linalg.cg(curvature, through, maxiter=solves)

  def coupled(upper):
    slopes = jax.grad(inner, argnums=1)(upper, lower)
    pairs = zip(jax.tree.leaves(slopes), jax.tree.leaves(solved))
    return sum(jnp.vdot(a, b) for a, b in pairs)

  return jax.tree.map(jnp.add, direct, jax.grad(coupled)(upper))
