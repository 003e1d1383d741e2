"""Bandits: one choice among K arms, and the row has ended.

A task is an instance, with an expected reward for each of its arms. The
observation is the number of the instance, for those who look at it.
"""

from __future__ import annotations

import abc
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl_llm.environments.base import (
  Discrete,
  Outcome,
  Spec,
  row_keys,
  uids_of,
)
from jaxrl_llm.types import Array


class State(struct.PyTreeNode):
  """Which instance each row plays.

  Attributes:
    task: i32[N]. uid: i32[N].
  """

  task: Array
  uid: Array


@dataclasses.dataclass(frozen=True)
class Bandit(abc.ABC):
  """Arms whose rewards differ in nothing but their mean.

  Attributes:
    means: [tasks, K], the expected reward of each arm.
  """

  means: tuple[tuple[float, ...], ...]

  def __post_init__(self):
    if len({len(row) for row in self.means}) != 1:
      raise ValueError(
        f'instances have {[len(row) for row in self.means]} arms; give all '
        'of them as many'
      )

  @property
  def spec(self) -> Spec:
    tasks, arms = np.shape(self.means)
    return Spec(1, tasks, Discrete(tasks), Discrete(arms))

  def reset(self, tasks, key, uids=None):
    del key
    return State(tasks, uids_of(tasks, uids))

  def observe(self, state):
    return state.task

  def legal(self, state):
    del state
    return None

  def step(self, state, action, key):
    mean = jnp.asarray(self.means, jnp.float32)[state.task, action]
    ended = jnp.ones(mean.shape, bool)
    outcome = Outcome(
      reward=jax.vmap(self.draw)(mean, row_keys(key, state.uid)),
      terminated=ended,
      truncated=~ended,
      agent=jnp.zeros_like(state.task),
    )
    return state, outcome

  @abc.abstractmethod
  def draw(self, mean: Array, key: Array) -> Array:
    """f32[]: a reward of that mean; with one key, more for a higher mean."""

  @property
  def best(self) -> np.ndarray:
    """i64[tasks]: the arm of the largest mean, the first of equal ones."""
    return np.argmax(self.means, axis=1)

  @property
  def optimal_return(self) -> np.ndarray:
    """f64[tasks]: the largest mean."""
    return np.max(self.means, axis=1)

  @property
  def gaps(self) -> np.ndarray:
    """f64[tasks, K]: what a pull of each arm gives away."""
    return self.optimal_return[:, None] - np.asarray(self.means)

  def regret(self, tasks, actions) -> np.ndarray:
    """f64[..., steps, N]: what has been given away up to each step.

    Args:
      tasks: i32[N]. actions: i32[..., steps, N].
    """
    lost = self.gaps[np.asarray(tasks), np.asarray(actions)]
    return np.cumsum(lost, axis=-2)


@dataclasses.dataclass(frozen=True)
class Bernoulli(Bandit):
  """Rewards of 0 or 1."""

  def __post_init__(self):
    super().__post_init__()
    if not all(0 <= mean <= 1 for row in self.means for mean in row):
      raise ValueError(f'means {self.means} are chances; give each in [0, 1]')

  def draw(self, mean, key):
    return (jax.random.uniform(key) < mean).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Gaussian(Bandit):
  """Normal rewards.

  Attributes:
    spread: standard deviation of every arm.
  """

  spread: float = 1.0

  def draw(self, mean, key):
    return mean + self.spread * jax.random.normal(key)
