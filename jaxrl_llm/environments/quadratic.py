"""The linear-quadratic regulator over a finite horizon.

    x_{t+1} = A x_t + B u_t + G z_t        z_t ~ N(0, I)
    return  = -sum_{t < T} (x_t' Q x_t + u_t' R u_t) - x_T' F x_T

Its optimum is linear, u_t = -K_t x_t, by the Riccati recursion:

    P_T = F      K_t = (R + B' P_{t+1} B)^-1 B' P_{t+1} A
    P_t = Q + A' P_{t+1} (A - B K_t)

Source: Bertsekas, Dynamic Programming and Optimal Control, vol. I, third
  edition, section 4.1.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl_llm.environments.base import Box, Outcome, Spec, row_keys, uids_of
from jaxrl_llm.types import Array

Matrix = tuple[tuple[float, ...], ...]


class State(struct.PyTreeNode):
  """Where each row is.

  Attributes:
    x: f32[N, n]. time: i32[N], steps taken. uid: i32[N].
  """

  x: Array
  time: Array
  uid: Array


@dataclasses.dataclass(frozen=True)
class Quadratic:
  """A linear system with quadratic costs, as rows of numbers.

  The final cost belongs to the last action, with which the row is terminated:
  the problem has an end, it is not cut off there.

  Attributes:
    dynamics: A [n, n]. control: B [n, m]. noise: G [n, k].
    state_cost: Q [n, n]. action_cost: R [m, m], positive definite.
    final_cost: F [n, n]. Costs are symmetric.
    starts: [tasks, n], x_0 of each task. horizon: T.
  """

  dynamics: Matrix
  control: Matrix
  noise: Matrix
  state_cost: Matrix
  action_cost: Matrix
  final_cost: Matrix
  starts: Matrix
  horizon: int

  def __post_init__(self):
    n, m = np.shape(self.control)
    for name, rows, columns in (
      ('dynamics', n, n),
      ('noise', n, None),
      ('state_cost', n, n),
      ('action_cost', m, m),
      ('final_cost', n, n),
      ('starts', None, n),
    ):
      shape = np.shape(getattr(self, name))
      wanted = (rows or shape[0], columns or shape[-1])
      if shape != wanted:
        raise ValueError(
          f'{name} is {shape} where control is {(n, m)}; make it {wanted}'
        )
    for name in ('state_cost', 'action_cost', 'final_cost'):
      cost = np.asarray(getattr(self, name))
      if not np.array_equal(cost, cost.T):
        raise ValueError(f'{name} is not symmetric; give (C + C^T) / 2')
    least = np.linalg.eigvalsh(np.asarray(self.action_cost)).min()
    if least <= 0:
      raise ValueError(
        f'action_cost has the eigenvalue {least:.4g}; without a positive '
        'price of every action there is no single optimum'
      )

  @property
  def spec(self) -> Spec:
    n, m = np.shape(self.control)
    return Spec(self.horizon, len(self.starts), Box((n,)), Box((m,)))

  def reset(self, tasks, key, uids=None):
    del key
    return State(
      x=jnp.asarray(self.starts, jnp.float32)[tasks],
      time=jnp.zeros(tasks.shape, jnp.int32),
      uid=uids_of(tasks, uids),
    )

  def observe(self, state):
    return state.x

  def legal(self, state):
    del state
    return None

  def step(self, state, action, key):
    size = np.shape(self.noise)[1]
    keys = row_keys(key, state.uid)
    drawn = jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys)
    x = (
      _times(self.dynamics, state.x)
      + _times(self.control, action)
      + _times(self.noise, drawn)
    )
    time = state.time + 1
    last = time >= self.horizon
    cost = _square(self.state_cost, state.x) + _square(self.action_cost, action)
    cost += jnp.where(last, _square(self.final_cost, x), 0.0)
    outcome = Outcome(
      reward=-cost,
      terminated=last,
      truncated=jnp.zeros_like(last),
      agent=jnp.zeros_like(time),
    )
    return State(x, time, state.uid), outcome

  @functools.cached_property
  def optimal_gains(self) -> np.ndarray:
    """f64[T, m, n]: K_t of the best policy u_t = -K_t x_t."""
    return riccati(
      self.dynamics,
      self.control,
      self.state_cost,
      self.action_cost,
      self.final_cost,
      self.horizon,
    )[0]

  @functools.cached_property
  def optimal_return(self) -> np.ndarray:
    """f64[tasks]: the largest expected return of any policy."""
    return self.expected_return(self.optimal_gains)

  def expected_return(self, gains, spread: float = 0.0) -> np.ndarray:
    """f64[tasks]: the exact expected return of a linear policy.

        u_t = -K_t x_t + spread e_t        e_t ~ N(0, I)
        E return = -x_0' P_0 x_0 - c_0
        P_t = Q + K' R K + (A - B K)' P_{t+1} (A - B K)
        c_t = c_{t+1} + tr(P_{t+1} (G G' + spread^2 B B')) + spread^2 tr R

    Args:
      gains: [T, m, n], K_t. spread: of the actions around it.
    """
    a, b, g = map(np.asarray, (self.dynamics, self.control, self.noise))
    q, r, p = map(
      np.asarray, (self.state_cost, self.action_cost, self.final_cost)
    )
    moved = g @ g.T + spread**2 * b @ b.T
    constant = 0.0
    for gain in np.asarray(gains, np.float64)[::-1]:
      constant += np.trace(p @ moved) + spread**2 * np.trace(r)
      closed = a - b @ gain
      p = q + gain.T @ r @ gain + closed.T @ p @ closed
    starts = np.asarray(self.starts)
    return -np.einsum('ai,ij,aj->a', starts, p, starts) - constant


def riccati(dynamics, control, state_cost, action_cost, final_cost, steps):
  """Gains f64[T, m, n] and cost matrices P f64[T + 1, n, n], see the module."""
  a, b, q, r, p = (
    np.asarray(x, np.float64)
    for x in (dynamics, control, state_cost, action_cost, final_cost)
  )
  gains, costs = [], [p]
  for _ in range(steps):
    gain = np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
    p = q + a.T @ p @ (a - b @ gain)
    p = (p + p.T) / 2
    gains.append(gain)
    costs.append(p)
  return np.stack(gains[::-1]), np.stack(costs[::-1])


def double_integrator(
  *,
  interval: float = 0.5,
  noise: float = 0.1,
  action_cost: float = 0.1,
  horizon: int = 20,
) -> Quadratic:
  """A cart on rails, to be brought to rest in the middle.

  Position and speed, pushed and shaken in speed. The final cost is the fixed
  point of the recursion, so the optimum is one gain for all times, and a
  policy needs no clock to reach it.

  Args:
    interval: seconds of a step. noise: spread of the speed, a step.
    action_cost: of a squared push, where a squared deviation costs 1.
  """
  a = np.array([[1.0, interval], [0.0, 1.0]])
  b = np.array([[interval**2 / 2], [interval]])
  q, r = np.eye(2), action_cost * np.eye(1)
  # Each step shrinks what is left by the square of the slowest mode.
  stationary = riccati(a, b, q, r, q, 1000)[1][0]
  return Quadratic(
    dynamics=_rows(a),
    control=_rows(b),
    noise=((0.0,), (noise,)),
    state_cost=_rows(q),
    action_cost=_rows(r),
    final_cost=_rows(stationary),
    starts=((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)),
    horizon=horizon,
  )


def _rows(matrix) -> Matrix:
  return tuple(map(tuple, np.asarray(matrix).tolist()))


def _times(matrix, x):
  """f32[N, n]: the matrix times each row.

  Column by column: the same to the last bit for any N. Two sums of products
  would also be the shorter program, but that of jaxlib 0.10.2 on CPU adds
  them up wrongly from row 8192 on.
  """
  columns = jnp.asarray(matrix, jnp.float32).T
  return sum(x[:, i, None] * column for i, column in enumerate(columns))


def _square(matrix, x):
  """f32[N]: x' M x of each row."""
  return sum((x * _times(matrix, x)).T)
