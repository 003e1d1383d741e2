"""An environment that shows more than matters: distracting dimensions.

    d_{t+1} = spread sin(gain W d_t)        W_ij ~ N(0, 1 / n), fixed

beside what another environment shows. They depend on no action and pay
nothing, move by a law that a large network could learn, and never settle. A
model that is fitted to all that is seen spends itself on them.
"""

from __future__ import annotations

import dataclasses
from typing import cast

import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl_llm.environments.base import Box, Environment, uids_of
from jaxrl_llm.types import Array, PyTree


class State(struct.PyTreeNode):
  """Where each row is.

  Attributes:
    plain: of the environment within. distraction: f32[N, n]. uid: i32[N].
  """

  plain: PyTree
  distraction: Array
  uid: Array


@dataclasses.dataclass(frozen=True)
class Distracted:
  """Observations of `environment`, and behind them n distracting numbers.

  Attributes:
    environment: what is acted in; it shows vectors.
    dimensions: n. spread: their largest size. gain: how wild they are, about
      2 and more for chaos. seed: of W, and of where each task begins.

  It is the nonlinear wrapper of VaGraM, arXiv 2204.01464, section 5.2, whose
  published law, d + sin, is not bounded by itself; this one is ours.
  """

  environment: Environment
  dimensions: int
  spread: float = 2.0
  gain: float = 2.0
  seed: int = 0

  def __post_init__(self):
    space = self.environment.spec.observation
    if not isinstance(space, Box) or len(space.shape) != 1:
      raise ValueError(
        f'numbers are set behind vectors, and what is seen here is {space}; '
        'use an environment that shows a Box of one axis'
      )

  @property
  def spec(self):
    spec = self.environment.spec
    (seen,) = cast(Box, spec.observation).shape
    return dataclasses.replace(spec, observation=Box((seen + self.dimensions,)))

  def reset(self, tasks, key, uids=None):
    uids = uids_of(tasks, uids)
    shape = self.environment.spec.tasks, self.dimensions
    starts = self.spread * np.random.default_rng(self.seed).normal(size=shape)
    return State(
      plain=self.environment.reset(tasks, key, uids),
      distraction=jnp.asarray(starts, jnp.float32)[tasks],
      uid=uids,
    )

  def observe(self, state):
    plain = self.environment.observe(state.plain)
    return jnp.concatenate([plain, state.distraction], axis=1)

  def legal(self, state):
    return self.environment.legal(state.plain)

  def step(self, state, action, key):
    plain, outcome = self.environment.step(state.plain, action, key)
    size = self.dimensions
    drawn = np.random.default_rng(self.seed).normal(size=(size, size))
    mixing = jnp.asarray(self.gain * drawn / size**0.5, jnp.float32)
    mixed = jnp.sum(mixing * state.distraction[:, None, :], axis=-1)
    moved = self.spread * jnp.sin(mixed)
    return State(plain, moved, state.uid), outcome
