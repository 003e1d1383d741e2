"""Optax transformations and schedules, by the names that settings give them.

They compose with `optax.chain` like any other. Gradients are those of a loss,
so steps descend.
"""

from __future__ import annotations

import functools
import json
import math
import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

Schedule = Callable[[jax.Array], jax.Array]


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
  weight_decay: float = 0.0,
  clip_norm: float = 1.0,
  seed: int = 0,
) -> optax.GradientTransformation:
  """Global-norm clipping, then the named optimizer under a schedule.

  Args:
    name: 'adamw', whose decay spares norms and biases; 'sgd', which takes
      the step of a rule such as `update.trust_region` as it is, at rate 1;
      'implicit_transport' or 'hessian_aided', whose rate is the length of a
      step. Only the first reads b1, b2, epsilon and weight_decay.
    schedule, warmup, total, norms: see `rate_of`.
    weight_decay: per unit of learning rate, on kernels alone.
    clip_norm: the largest gradient norm; math.inf turns clipping off.
    seed: of the points at which `hessian_aided` takes products.

  Raises:
    ValueError: an unknown name, or clipping before an optimizer whose
      momentum holds sums of gradients that must be whole.
  """
  rate = rate_of(
    schedule,
    learning_rate=learning_rate,
    warmup=warmup,
    total=total,
    norms=norms,
    adaptive=name == 'adamw',
  )
  known = {
    'adamw': lambda: optax.adamw(
      rate, b1=b1, b2=b2, eps=epsilon, weight_decay=weight_decay, mask=_decays
    ),
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
  return optax.chain(optax.clip_by_global_norm(clip_norm), known[name]())


# Optimizers that normalise their direction.
_OWN_LENGTH = ('implicit_transport', 'hessian_aided')


def _decays(params):
  """True for kernels: their names say so, whatever axes they have."""

  def decays(path, leaf):
    del leaf
    return path[-1].key in ('kernel', 'lora_a', 'lora_b')

  return jax.tree_util.tree_map_with_path(decays, params)


def decaying_momentum(step, *, power: float = 0.8):
  """eta_t = (2 / (t + 2))^power: 1 at the start, so that d_0 = g_0."""
  return (2 / (step + 2)) ** power


# An exact correction leaves only noise to average: an exponent of 1 is best.
inverse_momentum = functools.partial(decaying_momentum, power=1.0)


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


def rate_of(
  name: str,
  *,
  learning_rate: float,
  warmup: int,
  total: int,
  norms: str | os.PathLike = '',
  adaptive: bool = True,
) -> optax.Schedule:
  """Linear warm-up to the learning rate, then what the name says.

  Args:
    name: 'constant'; 'linear', 'cosine' or 'rex' decay to 0 at `total`;
      'inverse' decay, 2 / (s + 2) after s steps; or 'refined', the schedule
      that an earlier run recommends.
    learning_rate: the peak. warmup, total: in optimizer steps.
    norms: the folder of that earlier run.
    adaptive: the optimizer is Adam's kind, see `refined`.

  Raises:
    ValueError: an unknown name, a warm-up that never ends, or 'refined'
      without a run that it can read.
  """
  if warmup and warmup >= total:
    raise ValueError(
      f'optimizer.warmup of {warmup} steps does not end within the run of '
      f'{total}; use at most {total - 1}'
    )
  rest = total - warmup

  def recommended():
    recorded = recorded_norms(norms, 'l1' if adaptive else 'l2')
    # The authors stretch the norms of a run to the steps of another too.
    places = np.linspace(0, 1, rest), np.linspace(0, 1, recorded.size)
    stretched = np.interp(*places, recorded)
    return refined(stretched, learning_rate, power=1.0 if adaptive else 2.0)

  known = {
    'constant': lambda: optax.constant_schedule(learning_rate),
    'linear': lambda: optax.linear_schedule(learning_rate, 0.0, rest),
    'cosine': lambda: optax.cosine_decay_schedule(learning_rate, rest),
    'rex': lambda: rex(learning_rate, rest),
    'inverse': lambda: lambda step: learning_rate * inverse_momentum(step),
    'refined': recommended,
  }
  if name not in known:
    raise ValueError(
      f'unknown optimizer.schedule {name!r}; known: {", ".join(known)}'
    )
  after = known[name]()
  if not warmup:
    return after
  # From 1 / warmup of the peak: a first step of 0 would learn nothing.
  rise = optax.linear_schedule(
    learning_rate / warmup, learning_rate, max(warmup - 1, 1)
  )
  return optax.join_schedules([rise, after], [warmup])


# The metrics of a run that hold its gradient norms.
_RECORDED = {'l1': 'grad/norm_l1', 'l2': 'grad/norm'}


def recorded_norms(folder: str | os.PathLike, kind: str) -> np.ndarray:
  """f64[T]: gradient norms of a finished run, one per iteration.

  Iterations whose gradient was not finite are left out.

  Args:
    folder: of the run. kind: 'l1' or 'l2'.

  Raises:
    ValueError: no folder, or one whose metrics hold no such norms.
  """
  name = _RECORDED[kind]
  path = pathlib.Path(folder) / 'metrics.jsonl'
  if not (folder and path.is_file()):
    raise ValueError(
      "optimizer.schedule 'refined' reads the gradient norms of an earlier "
      f'run, and optimizer.norms is {str(folder)!r}; name the folder of one, '
      'which holds its metrics.jsonl'
    )
  with path.open(encoding='utf-8') as lines:
    norms = [json.loads(line).get(name) for line in lines]
  norms = [norm for norm in norms if norm is not None]
  if not norms:
    raise ValueError(f'{path} holds no {name}; use a run that logs it')
  return np.array(norms, np.float64)


def rex(peak: float, total: int, *, beta: float = 1.0) -> Schedule:
  """The reflected exponential schedule.

      rate(s) = peak (1 - p) / (1/2 + (1 - beta p) / 2),   p = s / total

  Args:
    beta: 1 is the paper, 0.9 its code, 0 linear decay.

  Returns:
    A schedule that is 0 from `total` on.

  Source: REX, arXiv 2107.04197, section 3.
  """

  def schedule(step):
    p = jnp.minimum(step / total, 1.0)
    # At p = beta = 1 the denominator is 1/2, never 0.
    return peak * (1 - p) / (0.5 + (1 - beta * p) / 2)

  return schedule


def refined(gradient_norms, peak: float, *, power: float = 2.0) -> Schedule:
  """The schedule that a finished run's gradient norms recommend.

      w_t = G_t^-power,   rate_t = w_t sum_{s > t} w_s, scaled to `peak`

  G is smoothed by a median over about a tenth of the run, held to its edge
  value on the left and reflected on the right, where the last value is not
  repeated. Constant norms give linear decay, large early ones a warm-up.

  Args:
    gradient_norms: f[T] > 0, one per step of the earlier run.
    power: 2 for SGD and its l2 norms, 1 for Adam and its l1 norms, the sums
      of |g| over all parameters.

  Returns:
    A schedule over T steps; its last value is 0.

  Raises:
    ValueError: norms that are not positive and finite.

  Source: arXiv 2310.07831, algorithm 1, and its published code.
  """
  norms = np.asarray(gradient_norms, np.float64)
  if norms.ndim != 1 or not np.all(np.isfinite(norms) & (norms > 0)):
    raise ValueError('gradient norms must be one positive number per step')
  half = int(0.1 * norms.size) // 2
  held = np.pad(norms, (half, 0), mode='edge')
  padded = np.pad(held, (0, half), mode='reflect')
  windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
  weights = np.median(windows, axis=-1) ** -power
  rates = weights * (np.cumsum(weights[::-1])[::-1] - weights)
  table = jnp.asarray(peak * rates / np.max(rates), jnp.float32)
  return lambda step: table[jnp.clip(step, 0, table.size - 1)]
