"""Actions and values read off features on a hyperboloid.

Features h of d numbers are brought to a bounded length, whatever theirs was,

    u = tanh(rms(h)) / sqrt(d)
    x = sigmoid(w . u + b) atanh(0.95) u / sqrt(c)

lifted onto the hyperboloid of curvature -c, whose points have X_0^2 = |X|^2 +
1 / c,

    X = sinh(sqrt(c) |x|) / (sqrt(c) |x|) x,        X_0 = sqrt(|X|^2 + 1 / c)

and read by hyperplanes, each with a normal z_k and an offset r_k:

    m_k = z_k . X / |z_k| cosh(sqrt(c) r_k) - X_0 sinh(sqrt(c) r_k)
    logit_k = |z_k| asinh(sqrt(c) m_k) / sqrt(c)

Of a tree's leaves, exponentially many are far from each other there. Lengths
that grow as a policy learns make slopes explode in such spaces; here slopes of
the features' scale are 0, and of all else bounded.

Source: Hyper++, arXiv 2512.14202, and its published code, for features of
  convolutions; there the argument of asinh has a smooth bound that float32 does
  not reach with these lengths, and the manifold is computed in float64.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxrl_llm.policies import network
from jaxrl_llm.policies.categorical import Softmax
from jaxrl_llm.policies.protocol import Param

# Features stay within this part of the ball of radius 1 / sqrt(c).
_INSIDE = math.atanh(0.95)
_EPSILON = 1e-6  # Of the mean square.


def bounded(params, features, *, curvature=1.0):
  """x, f32[..., d] with sqrt(c) |x| < atanh(0.95), of features f32[..., d].

  Args:
    params: `kernel` f32[d], w, and `bias` f32[], b.
  """
  square = jnp.mean(features**2, axis=-1, keepdims=True)
  unit = jnp.tanh(features * jax.lax.rsqrt(square + _EPSILON))
  unit /= math.sqrt(features.shape[-1])
  gate = jax.nn.sigmoid(unit @ params['kernel'] + params['bias'])
  return gate[..., None] * _INSIDE / math.sqrt(curvature) * unit


def lifted(x, *, curvature=1.0):
  """The point (X_0, X) of f32[..., d], f32[...] and f32[..., d]."""
  square = curvature * jnp.sum(x**2, axis=-1, keepdims=True)
  far = square > 0
  # The double where: a root of 0 has no slope.
  length = jnp.sqrt(jnp.where(far, square, 1.0))
  space = jnp.where(far, jnp.sinh(length) / length, 1.0) * x
  return jnp.sqrt(jnp.sum(space**2, axis=-1) + 1 / curvature), space


def logits(params, time, space, *, curvature=1.0):
  """f32[..., K] of points on the hyperboloid.

  Args:
    params: `kernel` f32[d, K], normals, and `bias` f32[K], offsets.
    time: X_0. space: X.
  """
  root = math.sqrt(curvature)
  size = _lengths(params['kernel'])
  along = space @ (params['kernel'] / size)
  turn = root * params['bias']
  margin = along * jnp.cosh(turn) - time[..., None] * jnp.sinh(turn)
  return size * jnp.arcsinh(root * margin) / root


def ball_logits(params, x, *, curvature=1.0):
  """f32[..., K] of points in the Poincare ball, |x| < 1 / sqrt(c).

      l = 2 / (1 - c |x|^2)
      2 |z| asinh((1 - l) sinh(2 s r) + s l cosh(2 s r) x . z / |z|) / s

  with s = sqrt(c): the form of earlier hyperbolic networks, whose slopes grow
  without bound towards the rim. The point X / (1 + s X_0), normals and offsets
  halved, has the logits of the hyperboloid.

  Source: Hyperbolic Neural Networks++, arXiv 2006.08210, equation 6, as in
    Hyper++.
  """
  root = math.sqrt(curvature)
  size = _lengths(params['kernel'])
  along = x @ (params['kernel'] / size)
  turn = 2 * root * params['bias']
  swell = 2 / (1 - curvature * jnp.sum(x**2, axis=-1, keepdims=True))
  margin = (1 - swell) * jnp.sinh(turn)
  margin += root * swell * jnp.cosh(turn) * along
  return 2 * size * jnp.arcsinh(margin) / root


def _lengths(normals):
  return jnp.sqrt(jnp.sum(normals**2, axis=0) + 1e-12)


@dataclasses.dataclass(frozen=True)
class Hyperbolic(Softmax):
  """`Softmax` whose last layers are hyperplanes of a hyperboloid.

  With `critics.Categorical`, as in the recipe `categorical_critic`, it is the
  agent Hyper++.

  Attributes:
    curvature: c > 0.
  """

  curvature: float = 1.0

  def table(self):
    found = {**self._head('logits', self.actions)}
    if self.critic:
      found |= self._head('value', math.prod(self.answers))
    return found

  def _head(self, name, outputs):
    """A network whose last width is that of the features, and its planes."""
    features = self.widths[-1]
    zeros = jax.nn.initializers.zeros
    small = jax.nn.initializers.normal(features**-0.5)
    found = network.table(f'{name}_features', (self.states, *self.widths))
    return {
      **found,
      (name, 'gate', 'kernel'): Param((features,), (None,), zeros),
      (name, 'gate', 'bias'): Param((), (), zeros),
      (name, 'planes', 'kernel'): Param(
        (features, outputs), (None, None), small
      ),
      (name, 'planes', 'bias'): Param((outputs,), (None,), zeros),
    }

  def read(self, params, name, observation):
    features = network.apply(params[f'{name}_features'], observation)
    x = bounded(params[name]['gate'], features, curvature=self.curvature)
    point = lifted(x, curvature=self.curvature)
    planes = params[name]['planes']
    return logits(planes, *point, curvature=self.curvature)
