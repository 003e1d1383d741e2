"""Optax transformations, by the names that settings give them.

They compose with `optax.chain` like any other. Gradients are those of a loss,
so steps descend.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from jaxrl_llm import in_place
from jaxrl_llm.schedules import (
  Schedule,
  decaying_momentum,
  inverse_momentum,
  rate_of,
)


def chain(
  name: str = 'adamw',
  *,
  learning_rate: float,
  schedule: str = 'constant',
  warmup: int = 0,
  total: int = 1,
  norms: str = '',
  b1: float = 0.9,
  b2: float = 0.95,
  epsilon: float = 1e-8,
  moment_dtype: str = 'float32',
  weight_decay: float = 0.0,
  clip_norm: float = 1.0,
  seed: int = 0,
) -> optax.GradientTransformation | in_place.Separable:
  """Global-norm clipping, then the named optimizer under a schedule.

  Args:
    name: 'adamw', whose decay spares norms and biases; 'muon', see there;
      'adafactor', which keeps a row and a column of squares for a matrix and
      no first moment; 'sgd', which takes the step of a rule such as
      `update.trust_region` as it is, at rate 1; 'implicit_transport' or
      'hessian_aided', whose rate is the length of a step. `READS` says which
      of them read b1, b2, epsilon, moment_dtype and weight_decay.
    schedule, warmup, total, norms: see `schedules.rate_of`.
    moment_dtype: of the first moment as it is kept; sums are in float32.
    weight_decay: per unit of learning rate, on kernels alone.
    clip_norm: the largest gradient norm; math.inf turns clipping off.
    seed: of the points at which `hessian_aided` takes products.

  Raises:
    ValueError: an unknown name or dtype, or clipping before an optimizer
      whose momentum holds sums of gradients that must be whole.
  """
  if moment_dtype not in ('float32', 'bfloat16'):
    raise ValueError(
      f'optimizer.moment_dtype is {moment_dtype!r}; use float32 or bfloat16'
    )
  rate = rate_of(
    schedule,
    learning_rate=learning_rate,
    warmup=warmup,
    total=total,
    norms=norms,
    adaptive=name in READS,
  )

  def decaying(direction):
    return optax.chain(
      direction,
      optax.add_decayed_weights(weight_decay, _decays),
      optax.scale_by_learning_rate(rate),
    )

  adam = optax.scale_by_adam(b1, b2, epsilon, mu_dtype=moment_dtype)
  known = {
    'adamw': lambda: decaying(adam),
    'muon': lambda: decaying(muon(adam, moment_dtype=moment_dtype)),
    'adafactor': lambda: decaying(adafactor()),
    'sgd': lambda: optax.sgd(rate),
    'implicit_transport': lambda: implicit_transport(rate),
    'hessian_aided': lambda: hessian_aided(rate, jax.random.key(seed)),
  }
  if name not in known:
    raise ValueError(
      f'unknown optimizer.name {name!r}; known: {", ".join(known)}'
    )
  if name in _OWN_LENGTH and clip_norm != math.inf:
    raise ValueError(
      f'optimizer.clip_norm is {clip_norm}, and {name!r} needs gradients as '
      'they are: its steps have a length of their own, and a clipped gradient '
      'does not go with the others in its momentum. Set it to inf'
    )
  if name in _SEPARABLE:
    return in_place.separable(known[name](), clip_norm)
  return optax.chain(optax.clip_by_global_norm(clip_norm), known[name]())


# What the adaptive optimizers read of the settings that are not everybody's.
READS = {
  'adamw': ('b1', 'b2', 'epsilon', 'moment_dtype', 'weight_decay'),
  'muon': ('b1', 'b2', 'epsilon', 'moment_dtype', 'weight_decay'),
  'adafactor': ('weight_decay',),
}
# Those that move each number by itself.
_SEPARABLE = ('adamw', 'sgd')
# Optimizers that normalise their direction.
_OWN_LENGTH = ('implicit_transport', 'hessian_aided')
# Linear maps by the last word of their paths, or the last two.
_MAPS = ('kernel', 'lora_a', 'lora_b')
_EXPERTS = (('experts', 'gate'), ('experts', 'up'), ('experts', 'down'))


def _is_map(path) -> bool:
  return path[-1] in _MAPS or path[-2:] in _EXPERTS


def _decays(params):
  """True for kernels: their names say so, whatever axes they have."""
  return _by_path(lambda path, leaf: _is_map(path), params)


def _by_path(f, params):
  """`f(path, leaf)` of every leaf, a path being a tuple of words."""
  return jax.tree_util.tree_map_with_path(
    lambda path, leaf: f(tuple(key.key for key in path), leaf), params
  )


def matrix_axes(path: tuple[str, ...], ndim: int):
  """Which axes of a layer's parameter are a matrix's inputs, and outputs.

  Args:
    path: as `policies.language.parameters.table` and `lora.table` name it.
    ndim: of the parameter; axes before its inputs count layers and experts.

  Returns:
    (inputs, outputs), or None for embeddings, heads, norms and biases.
  """
  if path[0] != 'layers' or not _is_map(path):
    return None
  first = 2 if 'experts' in path else 1
  # The output of attention is a map from heads and their dimensions.
  heads = path[-2].split('_')[-1] == 'o' and path[-1] != 'lora_b'
  last = first + (2 if heads else 1)
  return tuple(range(first, last)), tuple(range(last, ndim))


def muon(
  adam: optax.GradientTransformation,
  *,
  momentum: float = 0.95,
  size: float = 0.2,
  moment_dtype: str = 'float32',
) -> optax.GradientTransformation:
  """Orthogonal steps for the matrices of layers, `adam` for all others.

      m_t = momentum m_{t-1} + (1 - momentum) g_t
      n_t = momentum m_t + (1 - momentum) g_t        both without their bias
      direction = size sqrt(max(inputs, outputs)) orthogonal(n_t)

  `orthogonal(U S V')` is about U V': five Newton-Schulz steps bring the
  singular values to 0.7 to 1.2. A matrix is that of one layer, and of one
  expert; heads are columns of their projection. So an entry of a direction is
  about `size`, as Adam's are, and one learning rate does for both. Factors of
  LoRA are matrices of layers, too. Half the moments of Adam are kept.

  Args:
    adam: the direction of embeddings, heads, norms and biases.
    momentum, size: the published values. moment_dtype: of m as it is kept.

  Raises:
    ValueError: at `init`, of parameters without layers.

  Source: Jordan et al., Muon, kellerjordan.github.io/posts/muon, whose code is
    Optax's; size and its purpose: arXiv 2502.16982, equation 4. LoRA: Qu et
    al., Can Muon Fine-tune Adam-Pretrained Models.
  """

  def numbers(updates):
    def of(path, leaf):
      axes = matrix_axes(path, leaf.ndim)
      return axes and contrib.MuonDimensionNumbers(*axes)

    # Leaves of others are no leaves here.
    return _by_path(of, updates)

  def labels(params):
    found = _by_path(
      lambda path, leaf: 'muon' if matrix_axes(path, leaf.ndim) else 'adam',
      params,
    )
    if 'muon' not in jax.tree.leaves(found):
      raise ValueError(
        'optimizer.name=muon moves the matrices of layers, and this policy has '
        f'none among {sorted(params)}; use adamw'
      )
    return found

  def scaled(updates, params):
    del params

    def of(path, x):
      inputs, outputs = matrix_axes(path, x.ndim)
      longest = max(
        math.prod(x.shape[axis] for axis in axes) for axes in (inputs, outputs)
      )
      return size * math.sqrt(longest) * x

    return _by_path(of, updates)

  matrices = optax.chain(
    contrib.scale_by_muon(
      beta=momentum, mu_dtype=moment_dtype, weight_dimension_numbers=numbers
    ),
    optax.stateless(scaled),
  )
  return optax.partition({'muon': matrices, 'adam': adam}, labels)


def adafactor() -> optax.GradientTransformation:
  """Adafactor's direction, of steps as large as Adam's and without a momentum.

      v = R C' / mean(R),   u = g / sqrt(v),   u / max(1, rms(u))

  R and C are the means of g^2 over the rows and the columns of a matrix, each
  averaged over time with the weight 1 - t^-0.8, so that a state is about a
  sum of two sides where Adam's is twice their product. A matrix has 128 rows
  and columns or more; of other arrays all of g^2 is kept. Of an array with
  more axes the two longest are the matrix. The mean square of u is that of
  all layers together, since they are one array.

  Source: arXiv 1804.04235, algorithms 4 and 5, without its step sizes that are
    relative to the parameters.
  """
  return optax.chain(
    optax.scale_by_factored_rms(), optax.clip_by_block_rms(1.0)
  )


def _normalised(tree, length):
  """`length` along the tree's direction; 0 where it has none."""
  norm = optax.tree.norm(tree)
  scale = jnp.where(norm > 0, length / jnp.where(norm > 0, norm, 1.0), 0.0)
  return jax.tree.map(lambda x: scale * x, tree)


def _copied(tree):
  """In buffers of its own: a state next to its parameters may be donated."""
  return jax.tree.map(jnp.copy, tree)


class TransportState(NamedTuple):
  """Of `implicit_transport`: the iterate, the direction and the count."""

  point: optax.Params
  direction: optax.Updates
  # As in optax; nobody counts in these tuples.
  count: jax.Array  # type: ignore[assignment]


def implicit_transport(
  length: float | Schedule, *, momentum: Schedule = decaying_momentum
) -> optax.GradientTransformation:
  """Normalised momentum whose gradients are taken ahead of the iterate.

      d_t = (1 - eta_t) d_{t-1} + eta_t g(ahead_t)
      theta_{t+1} = theta_t - length_t d_t / |d_t|
      ahead_{t+1} = theta_{t+1}
                    + (1 - eta) / eta (theta_{t+1} - theta_t), eta = eta_{t+1}

  Gradients ahead cancel the staleness of the momentum to first order: on a
  quadratic, d_t is the exact gradient at theta_t. The parameters that the
  optimiser hands back are the points ahead, because that is where the next
  gradient, and for a policy the next samples, must come from; the iterate
  itself is `state.point`.

  Args:
    length: of a step, a number or a schedule. momentum: eta_t in (0, 1];
      constantly 1 it is normalised descent.

  Source: N-PG-IGT, arXiv 2302.01734, algorithm 1, after arXiv 2002.03305.
    The exponent of `decaying_momentum` is recalled.
  """
  rate = length if callable(length) else lambda step: length

  def init(params):
    zeros = jax.tree.map(jnp.zeros_like, params)
    return TransportState(_copied(params), zeros, jnp.int32(0))

  def update(gradients, state, params=None):
    if params is None:
      raise ValueError('implicit_transport needs params: the point ahead')
    eta, following = momentum(state.count), momentum(state.count + 1)
    direction = jax.tree.map(
      lambda d, g: (1 - eta) * d + eta * g, state.direction, gradients
    )
    move = _normalised(direction, -rate(state.count))
    point = optax.apply_updates(state.point, move)
    lead = (1 - following) / following
    updates = jax.tree.map(
      lambda new, m, old: new + lead * m - old, point, move, params
    )
    return updates, TransportState(point, direction, state.count + 1)

  return optax.GradientTransformation(init, update)


class HessianAidedState(NamedTuple):
  """Of `hessian_aided`: the last iterate, the direction and the count."""

  last: optax.Params
  direction: optax.Updates
  # As in optax; nobody counts in these tuples.
  count: jax.Array  # type: ignore[assignment]


def hessian_aided(
  length: float | Schedule,
  key: jax.Array,
  *,
  momentum: Schedule = inverse_momentum,
) -> optax.GradientTransformationExtraArgs:
  """Normalised momentum carried to the new iterate by a Hessian product.

      d_t = (1 - eta_t) (d_{t-1} + H(u theta_t + (1 - u) theta_{t-1})
                                   (theta_t - theta_{t-1})) + eta_t g_t
      theta_{t+1} = theta_t - length_t d_t / |d_t|,     u uniform on [0, 1]

  The random point makes a product with a stochastic Hessian an unbiased
  estimate of the change of the gradient. `update` takes
  `hessian_product(point, vector)` as an extra argument, which
  `jaxrl_llm.update.single` gives: the paper samples trajectories at the random
  point, `single` weighs those of the present policy by their ratio.

  Args:
    length: of a step, a number or a schedule. key: of the u.
    momentum: eta_t in (0, 1]; that of the paper is 2 / (t + 2).

  Source: N-HARPG, arXiv 2302.01734, algorithm 2. Recalled.
  """
  rate = length if callable(length) else lambda step: length

  def init(params):
    zeros = jax.tree.map(jnp.zeros_like, params)
    return HessianAidedState(_copied(params), zeros, jnp.int32(0))

  def update(gradients, state, params=None, *, hessian_product, **_):
    if params is None:
      raise ValueError('hessian_aided needs params: the present iterate')
    eta = momentum(state.count)
    u = jax.random.uniform(jax.random.fold_in(key, state.count))
    between = jax.tree.map(lambda a, b: u * a + (1 - u) * b, params, state.last)
    moved = jax.tree.map(jnp.subtract, params, state.last)
    change = hessian_product(between, moved)
    direction = jax.tree.map(
      lambda d, c, g: (1 - eta) * (d + c) + eta * g,
      state.direction,
      change,
      gradients,
    )
    updates = _normalised(direction, -rate(state.count))
    count = state.count + 1
    return updates, HessianAidedState(params, direction, count)

  return optax.GradientTransformationExtraArgs(init, update)
