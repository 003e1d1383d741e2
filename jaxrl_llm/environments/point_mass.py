"""A point mass in the plane, to be at its goal, at rest, when time is up.

    v_{t+1} = (1 - drag dt) v_t + dt u_t + noise z_t       z_t ~ N(0, I)
    p_{t+1} = p_t + dt v_{t+1}
    return  = -effort sum_t |u_t|^2 - |p_T - goal|^2 - |v_T|^2

All but the effort is paid at the end. How hard to push depends on the time
left, which the policy sees. The problem is linear with quadratic costs, so
its optimum is known (`quadratic`).
"""

from __future__ import annotations

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.environments.base import Box, Spec
from jaxrl_llm.environments.quadratic import Quadratic


@dataclasses.dataclass(frozen=True)
class PointMass:
  """Goals on a circle around the start.

  The observation is f32[N, 5]: the way to the goal, the velocity, and the
  share of time left.

  Attributes:
    goals: the number of tasks. distance: of the goals.
    interval: dt, seconds. drag: share of the speed lost in a second.
    noise: spread of the velocity in each direction, a step.
    effort: cost of a squared push, a step. horizon: T.
  """

  goals: int = 8
  distance: float = 1.0
  interval: float = 0.1
  drag: float = 0.5
  noise: float = 0.05
  effort: float = 0.01
  horizon: int = 20

  @functools.cached_property
  def plant(self) -> Quadratic:
    """The same problem in x = (p - goal, v)."""
    dt, eye, zero = self.interval, np.eye(2), np.zeros((2, 2))
    kept = 1 - self.drag * dt
    angle = 2 * np.pi * np.arange(self.goals) / self.goals
    away = -self.distance * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def rows(blocks):
      return tuple(map(tuple, np.block(blocks).tolist()))

    return Quadratic(
      dynamics=rows([[eye, dt * kept * eye], [zero, kept * eye]]),
      control=rows([[dt**2 * eye], [dt * eye]]),
      noise=rows([[dt * self.noise * eye], [self.noise * eye]]),
      state_cost=rows([[zero, zero], [zero, zero]]),
      action_cost=rows(self.effort * eye),
      final_cost=rows([[eye, zero], [zero, eye]]),
      starts=rows([[away, np.zeros_like(away)]]),
      horizon=self.horizon,
    )

  @property
  def spec(self) -> Spec:
    return Spec(self.horizon, self.goals, Box((5,)), Box((2,)))

  def reset(self, tasks, key, uids=None):
    return self.plant.reset(tasks, key, uids)

  def observe(self, state):
    left = (self.horizon - state.time) / self.horizon
    way = -state.x[:, :2]
    return jnp.concatenate([way, state.x[:, 2:], left[:, None]], axis=1)

  def legal(self, state):
    del state
    return None

  def step(self, state, action, key):
    return self.plant.step(state, action, key)

  def optimal_action(self, observation):
    """f32[N, 2]: the best push."""
    gains = jnp.asarray(self.plant.optimal_gains, jnp.float32)
    left = jnp.round(observation[:, 4] * self.horizon).astype(jnp.int32)
    x = jnp.concatenate([-observation[:, :2], observation[:, 2:4]], axis=1)
    return -jnp.sum(gains[self.horizon - left] * x[:, None, :], axis=-1)

  @property
  def optimal_return(self) -> np.ndarray:
    """f64[tasks]: the largest expected return of any policy."""
    return self.plant.optimal_return
