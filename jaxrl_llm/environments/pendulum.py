"""The swing-up of a pendulum whose motor cannot lift it at once.

    w' = clip(w + (3 g / (2 l) sin(theta) + 3 / (m l^2) u) dt, -8, 8)
    theta' = theta + w' dt
    reward = -(theta^2 + 0.1 w^2 + 0.001 u^2)      theta in [-pi, pi), 0 is up

with u = clip(action, -2, 2), g = 10, m = l = 1 and dt = 0.05, as Gymnasium's
Pendulum-v1. There the angle begins anywhere and the speed in [-1, 1]; here the
tasks cover these values evenly, and a task begins where it always does.

Source: Farama-Foundation/Gymnasium, envs/classic_control/pendulum.py.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl_llm.environments.base import Box, Outcome, Spec, returns, uids_of
from jaxrl_llm.types import Array

GRAVITY, INTERVAL = 10.0, 0.05
MAX_SPEED, MAX_TORQUE = 8.0, 2.0
# 1 / x and 1 / x^2 with x^3 = x + 1: the additive sequence that fills a square
# most evenly (Roberts, The Unreasonable Effectiveness of Quasirandom
# Sequences, 2018).
STRIDE = (0.7548776662466927, 0.5698402909980532)


class State(struct.PyTreeNode):
  """Where each row is.

  Attributes:
    angle: f32[N], radians from upright, not wrapped. speed: f32[N], rad / s.
    time: i32[N], steps taken. uid: i32[N].
  """

  angle: Array
  speed: Array
  time: Array
  uid: Array


@dataclasses.dataclass(frozen=True)
class Pendulum:
  """Gymnasium's Pendulum-v1, truncated after `horizon` steps.

  The observation is f32[N, 3]: cos, sin and speed. Nothing in it is random.

  Attributes:
    tasks: places to begin at. horizon: T.
  """

  tasks: int = 64
  horizon: int = 200

  @property
  def spec(self) -> Spec:
    action = Box((1,), -MAX_TORQUE, MAX_TORQUE)
    return Spec(self.horizon, self.tasks, Box((3,)), action)

  @property
  def starts(self) -> np.ndarray:
    """f64[tasks, 2]: angle and speed at which each task begins."""
    place = np.arange(1, self.tasks + 1)[:, None] * np.array(STRIDE)
    return (2 * ((0.5 + place) % 1) - 1) * np.array([np.pi, 1.0])

  def reset(self, tasks, key, uids=None):
    del key
    angle, speed = jnp.asarray(self.starts, jnp.float32)[tasks].T
    time = jnp.zeros(tasks.shape, jnp.int32)
    return State(angle, speed, time, uids_of(tasks, uids))

  def observe(self, state):
    return jnp.stack(
      [jnp.cos(state.angle), jnp.sin(state.angle), state.speed], axis=1
    )

  def legal(self, state):
    del state
    return None

  def step(self, state, action, key):
    del key
    torque = jnp.clip(action[:, 0], -MAX_TORQUE, MAX_TORQUE)
    angle = (state.angle + jnp.pi) % (2 * jnp.pi) - jnp.pi
    cost = angle**2 + 0.1 * state.speed**2 + 0.001 * torque**2
    push = 1.5 * GRAVITY * jnp.sin(state.angle) + 3 * torque
    speed = jnp.clip(state.speed + push * INTERVAL, -MAX_SPEED, MAX_SPEED)
    time = state.time + 1
    outcome = Outcome(
      reward=-cost,
      terminated=jnp.zeros(time.shape, bool),
      truncated=time >= self.horizon,
      agent=jnp.zeros_like(time),
    )
    angle = state.angle + speed * INTERVAL
    return State(angle, speed, time, state.uid), outcome

  @functools.cached_property
  def reference_return(self) -> np.ndarray:
    """f32[tasks]: what `swing_up` gets; no bound, others may get more."""
    tasks = jnp.arange(self.tasks)

    def choose(state, key):
      del key
      return swing_up(self.observe(state))

    play = jax.jit(lambda key: returns(self, choose, tasks, key))
    return np.asarray(play(jax.random.key(0)))


def swing_up(observation, *, pump=5.0, catch=0.4, stiffness=8.0, damping=2.0):
  """f32[N, 1]: torque that brings the energy to that of rest at the top.

      u = -pump E sign(w)                           away from the top
      u = -stiffness theta - damping w              within `catch` of it
      E = w^2 / 6 + g / 2 (cos(theta) - 1)

  with E in units of m l^2. The motor's bounds hold, so most of it is full
  torque. Its gains are ours.

  Args:
    observation: f32[N, 3], cos, sin and speed.

  Source: Astrom and Furuta, Swinging up a pendulum by energy control,
    Automatica 36, 2000.
  """
  cos, sin, speed = observation.T
  energy = speed**2 / 6 + GRAVITY / 2 * (cos - 1)
  angle = jnp.arctan2(sin, cos)
  pumped = -pump * energy * jnp.where(speed >= 0, 1.0, -1.0)
  held = -stiffness * angle - damping * speed
  torque = jnp.where(jnp.abs(angle) < catch, held, pumped)
  return jnp.clip(torque, -MAX_TORQUE, MAX_TORQUE)[:, None]
