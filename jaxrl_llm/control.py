"""Controllers: coefficients that are data, so that changing one never retraces.

    init() -> state        value(state, step) -> f32[]
    update(state, metrics) -> state

A controller is a frozen dataclass; its state is a pytree that is checkpointed
with the parameters. `metrics` are the means over the iteration just learned
from, by the names they are logged under.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import jax
import jax.numpy as jnp

Array = jax.Array


class Controller(Protocol):
  """What a coefficient answers to."""

  def init(self):
    """The state before the first iteration."""

  def value(self, state, step: Array) -> Array:
    """f32[], the coefficient of the iteration `step`."""

  def update(self, state, metrics: Mapping[str, Array]):
    """The state after an iteration with these metrics."""


@dataclasses.dataclass(frozen=True)
class Constant:
  """coef = weight."""

  weight: float

  def init(self):
    return ()

  def value(self, state, step):
    del state, step
    return jnp.float32(self.weight)

  def update(self, state, metrics):
    del metrics
    return state


@dataclasses.dataclass(frozen=True)
class AdaptiveKL:
  """A KL coefficient that steers the measured KL to a target.

      coef <- coef * (1 + clip(kl / target - 1, -0.2, 0.2) / horizon)

  Attributes:
    initial: first coefficient. target: KL in nats per token, > 0.
    horizon: iterations over which a full correction is spread.
    metric: the logged name of the KL it reads.

  Source: Ziegler et al. 2019, arXiv 1909.08593, section 2.2, where the
    horizon is counted in samples.
  """

  initial: float
  target: float
  horizon: float = 10.0
  metric: str = 'reference/kl'

  def init(self):
    return jnp.float32(self.initial)

  def value(self, state, step):
    del step
    return state

  def update(self, state, metrics):
    error = jnp.clip(metrics[self.metric] / self.target - 1, -0.2, 0.2)
    return state * (1 + error / self.horizon)


@dataclasses.dataclass(frozen=True)
class DualAscent:
  """The multiplier of a constraint `metric <= limit`.

      coef <- max(0, coef + rate * (metric - limit))

  Attributes:
    initial: first multiplier, >= 0. limit: in the metric's unit.
    rate: step of the dual variable. metric: the logged name it reads.
  """

  initial: float
  limit: float
  rate: float
  metric: str

  def init(self):
    return jnp.float32(self.initial)

  def value(self, state, step):
    del step
    return state

  def update(self, state, metrics):
    slack = metrics[self.metric] - self.limit
    return jnp.maximum(0.0, state + self.rate * slack)


@dataclasses.dataclass(frozen=True)
class TargetEntropy:
  """An entropy coefficient that holds the policy's entropy at a target.

      log coef <- clip(log coef + rate * (target - entropy), low, high)

  Attributes:
    initial: first coefficient, > 0. target: nats per token. rate: step of
    the log coefficient. low, high: bounds of the coefficient.

  Source: the temperature update of soft actor-critic, arXiv 1812.05905,
    section 5, with the entropy measured in place of estimated.
  """

  initial: float
  target: float
  rate: float = 0.1
  low: float = 1e-6
  high: float = 1.0

  def init(self):
    return jnp.log(jnp.float32(self.initial))

  def value(self, state, step):
    del step
    return jnp.exp(state)

  def update(self, state, metrics):
    moved = state + self.rate * (self.target - metrics['policy/entropy'])
    return jnp.clip(moved, jnp.log(self.low), jnp.log(self.high))


@dataclasses.dataclass(frozen=True)
class SteppedEntropy:
  """An entropy coefficient of even steps, which rests above its target.

      coef <- clip(coef + step, 0, most) if entropy <= target, else less step
      value = coef if the last entropy <= target, else 0

  0 until an entropy has been measured, in an iteration.

  Attributes:
    target: nats per token. step: of the coefficient. most: bound of it.

  Source: Skywork-OR1, arXiv 2505.22312, which steps after every optimizer step.
  """

  target: float = 0.2
  step: float = 0.005
  most: float = 1.0

  def init(self):
    return {'coefficient': jnp.float32(0), 'low': jnp.bool_(False)}

  def value(self, state, step):
    del step
    return jnp.where(state['low'], state['coefficient'], 0.0)

  def update(self, state, metrics):
    low = metrics['policy/entropy'] <= self.target
    moved = state['coefficient'] + jnp.where(low, self.step, -self.step)
    return {'coefficient': jnp.clip(moved, 0.0, self.most), 'low': low}


@dataclasses.dataclass(frozen=True)
class Vee:
  """A coefficient that falls to its least and rises to its most.

      middle - (middle - least) s / turn               s <= turn
      least + (most - least) (s - turn) / (end - turn) s > turn

  with middle = (least + most) / 2 and s held to [0, end].

  Attributes:
    least, most: bounds of the coefficient. end: iterations. turn: the share
      of them after which it rises, in (0, 1).

  Source: OThink-MR1, arXiv 2503.16081, equation 3.
  """

  least: float
  most: float
  end: int
  turn: float = 0.3

  def init(self):
    return ()

  def value(self, state, step):
    del state
    s = jnp.clip(step / self.end, 0.0, 1.0)
    middle = (self.least + self.most) / 2
    falling = middle - (middle - self.least) * s / self.turn
    risen = (s - self.turn) / (1 - self.turn)
    rising = self.least + (self.most - self.least) * risen
    return jnp.asarray(jnp.where(s <= self.turn, falling, rising), jnp.float32)

  def update(self, state, metrics):
    del metrics
    return state


@dataclasses.dataclass(frozen=True)
class Linear:
  """coef = first + (last - first) min(step / iterations, 1).

  Attributes:
    first, last: the coefficient at the start, and from `iterations` on.
    iterations: > 0.
  """

  first: float
  last: float
  iterations: int

  def init(self):
    return ()

  def value(self, state, step):
    del state
    done = jnp.minimum(step / self.iterations, 1.0)
    return jnp.asarray(
      self.first + (self.last - self.first) * done, jnp.float32
    )

  def update(self, state, metrics):
    del metrics
    return state


@dataclasses.dataclass(frozen=True)
class Shared:
  """The weight of a term whose share of the loss rises, then falls.

      mu   = most s / rise                                              s < rise
             least + (most - least) (1 + cos(pi (s - rise) / fall)) / 2
             least                                           s >= rise + fall
      coef = mu / (1 - mu)

  so that loss + coef term is (1 - mu) loss + mu term, over 1 - mu.

  Attributes:
    most: mu at its highest, in [0, 1).
    least: mu at the end, in [0, 1).
    rise: iterations from 0 to `most`, >= 0.
    fall: iterations from `most` to `least`, >= 0.

  Source: CHORD, arXiv 2508.11408, and its code in Trinity-RFT.
  """

  most: float
  least: float
  rise: int = 0
  fall: int = 0

  def __post_init__(self):
    if not (0 <= self.most < 1 and 0 <= self.least < 1):
      raise ValueError(
        f'shares of {self.most:g} and {self.least:g} leave nothing of the loss '
        'they stand beside; use shares in [0, 1)'
      )

  def init(self):
    return ()

  def value(self, state, step):
    del state
    rising = self.most * step / max(self.rise, 1)
    done = jnp.minimum((step - self.rise) / max(self.fall, 1), 1.0)
    left = (1 + jnp.cos(jnp.pi * done)) / 2 if self.fall else 0.0
    falling = self.least + (self.most - self.least) * left
    share = jnp.where(step < self.rise, rising, falling)
    return jnp.asarray(share / (1 - share), jnp.float32)

  def update(self, state, metrics):
    del metrics
    return state


@dataclasses.dataclass(frozen=True)
class Annealed:
  """The inverse of a step size that anneals linearly to 0.

      coef = weight / (1 - min(step, iterations - 1) / iterations)

  Attributes:
    weight: the first coefficient. iterations: over which it grows, to
      `weight * iterations`, where it stays.

  Source: MDPO, arXiv 2005.09814: t_k = 1 - k / K.
  """

  weight: float
  iterations: int

  def init(self):
    return ()

  def value(self, state, step):
    del state
    done = jnp.minimum(step, self.iterations - 1) / self.iterations
    return jnp.asarray(self.weight / (1 - done), jnp.float32)

  def update(self, state, metrics):
    del metrics
    return state


def controller(coefficient: float | Controller) -> Controller:
  """A plain number stands for a constant coefficient.

  Example:
    >>> held = controller(0.04)
    >>> print(held.value(held.init(), step=3))
    0.04
  """
  if isinstance(coefficient, int | float):
    return Constant(float(coefficient))
  return coefficient
