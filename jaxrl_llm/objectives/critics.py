"""What a critic answers to a state, and what that says about its value.

    shape            of one answer; () is a number
    values(answers)  f32[N, T, *shape] -> f32[N, T], value units

Some critics classify returns into bins instead of regressing on them: a
target becomes a distribution over K bins, the critic's K logits are trained
on it by cross-entropy, and its value is the mean of the bins. Targets outside
[low, high] are held to its ends.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import chex
import jax
import jax.numpy as jnp


class Critic(Protocol):
  """How the answers of a value head are read.

  Attributes:
    shape: of one answer.
  """

  @property
  def shape(self) -> tuple[int, ...]: ...

  def values(self, answers: jax.Array) -> jax.Array:
    """f32[...], the values that answers f32[..., *shape] stand for."""


@dataclasses.dataclass(frozen=True)
class Scalar:
  """A critic whose answer is the value."""

  shape = ()

  def values(self, answers):
    return answers


@dataclasses.dataclass(frozen=True)
class Labels:
  """K scores of several kinds at once, of which the value is the mean.

  Attributes:
    labels: K, the scores of each response.

  Source: Multi-Objective GRPO, arXiv 2503.21819, whose one reward model
    regresses all labels and adds them up.
  """

  labels: int = 2

  @property
  def shape(self):
    return (self.labels,)

  def values(self, answers):
    return jnp.mean(answers, axis=-1)


def edges(*, low=-10.0, high=10.0, bins=51):
  """f32[bins + 1]: borders of equal bins of [low, high]."""
  return jnp.linspace(low, high, bins + 1)


def centres(*, low=-10.0, high=10.0, bins=51):
  """f32[bins]: middles of equal bins of [low, high]."""
  borders = edges(low=low, high=high, bins=bins)
  return (borders[:-1] + borders[1:]) / 2


def atoms(*, low=-10.0, high=10.0, bins=51):
  """f32[bins]: equally spaced points with low and high among them."""
  return jnp.linspace(low, high, bins)


def gaussian_bins(targets, *, low=-10.0, high=10.0, bins=51, width=0.75):
  """The mass of a Gaussian around the target in each bin (HL-Gauss).

      p_k ~ Phi((e_{k+1} - y) / sigma) - Phi((e_k - y) / sigma)
      sigma = width (high - low) / bins,   normalised over the bins

  Args:
    targets: f32[...], value units. width: sigma in bins, > 0.

  Returns:
    f32[..., bins]; their mean over `centres` is the target but near the ends.

  Source: "Stop Regressing", arXiv 2403.03950, section 3.1.
  """
  chex.assert_type(targets, float)
  y = jnp.clip(targets, low, high)[..., None]
  sigma = width * (high - low) / bins
  borders = edges(low=low, high=high, bins=bins)
  below = jax.scipy.special.ndtr((borders - y) / sigma)
  mass = below[..., 1:] - below[..., :-1]
  # At least half of the mass lies within [low, high].
  return mass / (below[..., -1:] - below[..., :1])


def two_hot(targets, *, low=-10.0, high=10.0, bins=51):
  """Linear weights on the two atoms around the target.

  Args:
    targets: f32[...], value units.

  Returns:
    f32[..., bins], whose mean over `atoms` is the target exactly.

  Source: arXiv 2403.03950, section 3.1, after arXiv 1707.06887.
  """
  chex.assert_type(targets, float)
  place = (jnp.clip(targets, low, high) - low) * (bins - 1) / (high - low)
  distance = jnp.abs(place[..., None] - jnp.arange(bins))
  return jnp.maximum(1 - distance, 0.0)


@dataclasses.dataclass(frozen=True)
class _Bins:
  """What critics of logits over K places of a range have in common."""

  low: float = -10.0
  high: float = 10.0
  bins: int = 51

  @property
  def shape(self):
    return (self.bins,)

  @property
  def _range(self):
    return {'low': self.low, 'high': self.high, 'bins': self.bins}


@dataclasses.dataclass(frozen=True)
class Categorical(_Bins):
  """A critic of logits over bins, read as the mean of their middles.

  Attributes:
    low, high: value units. bins: K. width: of the Gaussian, in bins.

  Source: HL-Gauss, arXiv 2403.03950, section 3.1.
  """

  width: float = 0.75

  def values(self, answers):
    return expectation(answers, centres(**self._range))

  def distribution(self, targets):
    """f32[..., K] of targets f32[...]: see `gaussian_bins`."""
    return gaussian_bins(targets, width=self.width, **self._range)


@dataclasses.dataclass(frozen=True)
class TwoHot(_Bins):
  """A critic of logits over atoms, read as their mean.

  Attributes:
    low, high: value units. bins: K.

  Source: arXiv 2403.03950, section 3.1, after arXiv 1707.06887.
  """

  def values(self, answers):
    return expectation(answers, atoms(**self._range))

  def distribution(self, targets):
    """f32[..., K] of targets f32[...]: see `two_hot`."""
    return two_hot(targets, **self._range)


def expectation(logits, support):
  """sum_k softmax(logits)_k support_k: the value of a critic of bins."""
  chex.assert_axis_dimension(support, 0, logits.shape[-1])
  return jnp.sum(jax.nn.softmax(logits) * support, axis=-1)


def cross_entropy(logits, distribution):
  """-sum_k p_k log softmax(logits)_k, nats, f32[...]."""
  chex.assert_equal_shape([logits, distribution])
  return -jnp.sum(distribution * jax.nn.log_softmax(logits), axis=-1)


def pessimistic_error(state_values, after_values, targets):
  """Half the squared error of the lower of two critics.

      (min(V(s), V^x(s^x)) - target)^2 / 2

  V values the state before the action, V^x the state that the action leads
  to before anything random happens. Equal values share the gradient.

  Source: PDPPO, arXiv 2504.05150, and its published code.
  """
  chex.assert_equal_shape([state_values, after_values, targets])
  lower = jnp.minimum(state_values, after_values)
  return (lower - targets) ** 2 / 2
