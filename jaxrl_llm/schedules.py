"""Schedules of the learning rate, by the names that settings give them."""

from __future__ import annotations

import functools
import json
import os
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

Schedule = Callable[[jax.Array], jax.Array]


def decaying_momentum(step, *, power: float = 0.8):
  """eta_t = (2 / (t + 2))^power: 1 at the start, so that d_0 = g_0."""
  return (2 / (step + 2)) ** power


# An exact correction leaves only noise to average: an exponent of 1 is best.
inverse_momentum = functools.partial(decaying_momentum, power=1.0)


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
