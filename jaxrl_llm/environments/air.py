"""Forecasts of a field of pollution, told by the class that it falls in.

    x_{t+1} = keep x_t + drift (upwind x_t - x_t) + noise z_t     z_t ~ N(0, I)

on a ring of stations, each fed by its neighbour upwind. Fields are recorded:
a task is a stretch of one, drawn once by `seed`. The policy sees the field as
it was, then its own forecasts, and a step is paid by the share of stations in
the right class, or by what each pair of classes is worth.
"""

from __future__ import annotations

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl_llm.environments.base import Box, Outcome, Spec, uids_of
from jaxrl_llm.types import Array


class State(struct.PyTreeNode):
  """Where each row is.

  Attributes:
    seen: f32[N, S], what is known or was foretold. task: i32[N].
    time: i32[N], steps taken. uid: i32[N].
  """

  seen: Array
  task: Array
  time: Array
  uid: Array


@dataclasses.dataclass(frozen=True)
class Air:
  """Recorded fields, to be foretold step by step.

  The observation is f32[N, S + 1]: the last forecast, or the field itself at
  first, and the share of steps left. Classes are told apart at `edges`, in
  units of the field's spread.

  Attributes:
    stations: S. records: the number of tasks. horizon: T.
    keep: of a deviation, a step. drift: share that the wind moves, a step.
    noise: spread of what is new, a step. edges: ascending.
    worth: [classes, classes], what saying a row's class is worth where a
      column's is true; () for 1 where they are the same.
    seed: of the records.

  Raises:
    ValueError: edges that do not ascend, or worths of another shape.
  """

  stations: int = 4
  records: int = 64
  horizon: int = 4
  keep: float = 0.95
  drift: float = 0.5
  noise: float = 0.1
  edges: tuple[float, ...] = (-0.7, 0.0, 0.7)
  worth: tuple[tuple[float, ...], ...] = ()
  seed: int = 0

  def __post_init__(self):
    if any(a >= b for a, b in zip(self.edges, self.edges[1:])):
      raise ValueError(f'edges {self.edges} do not ascend')
    classes = len(self.edges) + 1
    if self.worth and np.shape(self.worth) != (classes, classes):
      raise ValueError(
        f'worth has the shape {np.shape(self.worth)} for {classes} classes; '
        f'give {classes} rows of {classes} numbers'
      )

  @property
  def spec(self) -> Spec:
    seen, said = Box((self.stations + 1,)), Box((self.stations,))
    return Spec(self.horizon, self.records, seen, said)

  @functools.cached_property
  def fields(self) -> np.ndarray:
    """f32[tasks, T + 1, S] of spread 1: what was recorded."""
    rng = np.random.default_rng(self.seed)
    shape = self.records, self.stations
    settling, path = 50, []
    x = np.zeros(shape)
    for step in range(settling + self.horizon + 1):
      wind = self.drift * (np.roll(x, 1, axis=1) - x)
      x = self.keep * x + wind + self.noise * rng.standard_normal(shape)
      if step >= settling:
        path.append(x)
    recorded = np.stack(path, axis=1)
    return (recorded / recorded.std()).astype(np.float32)

  def classes(self, field):
    """i32[...]: the class of each number."""
    edges = jnp.asarray(self.edges, jnp.float32)
    return jnp.searchsorted(edges, field, side='right')

  def reset(self, tasks, key, uids=None):
    del key
    return State(
      seen=jnp.asarray(self.fields)[tasks, 0],
      task=tasks,
      time=jnp.zeros(tasks.shape, jnp.int32),
      uid=uids_of(tasks, uids),
    )

  def observe(self, state):
    left = 1 - state.time / self.horizon
    return jnp.concatenate([state.seen, left[:, None]], axis=1)

  def legal(self, state):
    del state
    return None

  def step(self, state, action, key):
    del key
    time = state.time + 1
    true = jnp.asarray(self.fields)[state.task, jnp.minimum(time, self.horizon)]
    worth = jnp.asarray(self.worth or np.eye(len(self.edges) + 1), jnp.float32)
    paid = jnp.mean(worth[self.classes(action), self.classes(true)], axis=1)
    last = time >= self.horizon
    outcome = Outcome(
      reward=paid,
      terminated=last,
      truncated=jnp.zeros_like(last),
      agent=jnp.zeros_like(time),
    )
    return state.replace(seen=action, time=time), outcome
