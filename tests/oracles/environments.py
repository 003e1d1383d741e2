"""Environments in NumPy float64, from their formulas."""

from __future__ import annotations

import itertools

import numpy as np


def least_cost(respond, size, start, *, steps):
  """The least cost of a linear system without noise, over all its actions.

  The costs of a run are the squared length of a vector that is affine in the
  actions, so the best actions are a least-squares solution.

  Args:
    respond: f(start, actions [steps, size]) -> that vector.
  """
  none = np.zeros((steps, size))
  constant = respond(start, none)
  columns = []
  for index in np.ndindex(steps, size):
    one = none.copy()
    one[index] = 1.0
    columns.append(respond(start, one) - constant)
  matrix = np.stack(columns, axis=1)
  best = np.linalg.lstsq(matrix, -constant, rcond=None)[0]
  return np.sum((constant + matrix @ best) ** 2)


def quadratic_response(environment):
  """`respond` of a `Quadratic`, of any number of steps."""
  a, b = np.array(environment.dynamics), np.array(environment.control)
  roots = [
    np.linalg.cholesky(np.array(cost)).T
    for cost in (
      environment.state_cost,
      environment.action_cost,
      environment.final_cost,
    )
  ]

  def respond(x, actions):
    out = []
    for u in actions:
      out += [roots[0] @ x, roots[1] @ u]
      x = a @ x + b @ u
    return np.concatenate([*out, roots[2] @ x])

  return respond


def point_mass_path(environment, start, actions, noise):
  """Positions relative to the goal and velocities after each action."""
  position, velocity = np.array(start[:2]), np.array(start[2:])
  path = []
  for push, shake in zip(actions, noise):
    velocity = velocity - environment.drag * environment.interval * velocity
    velocity = velocity + environment.interval * push
    velocity = velocity + environment.noise * shake
    position = position + environment.interval * velocity
    path.append(np.concatenate([position, velocity]))
  return np.array(path)


def point_mass_response(environment):
  """`respond` of a `PointMass`, of any number of steps."""

  def respond(start, actions):
    quiet = np.zeros_like(actions)
    path = point_mass_path(environment, start, actions, quiet)
    efforts = np.sqrt(environment.effort) * actions
    return np.concatenate([efforts.ravel(), path[-1]])

  return respond


def pendulum_step(angle, speed, torque):
  """Gymnasium's Pendulum-v1, one row: the new angle, speed, and the reward."""
  torque = np.clip(torque, -2.0, 2.0)
  wrapped = ((angle + np.pi) % (2 * np.pi)) - np.pi
  cost = wrapped**2 + 0.1 * speed**2 + 0.001 * torque**2
  gravity = 3 * 10.0 / (2 * 1.0) * np.sin(angle)
  speed = speed + (gravity + 3.0 / (1.0 * 1.0**2) * torque) * 0.05
  speed = np.clip(speed, -8, 8)
  return angle + speed * 0.05, speed, -cost


def pendulum_optimum(starts, *, steps, angles=121, speeds=81, torques=9):
  """The best mean return, about: backward induction between grid points."""
  angle, speed = np.meshgrid(
    np.linspace(-np.pi, np.pi, angles),
    np.linspace(-8, 8, speeds),
    indexing='ij',
  )

  def corners(angle, speed):
    """The four grid points around each place, and their weights."""
    wrapped = ((angle + np.pi) % (2 * np.pi)) / (2 * np.pi) * (angles - 1)
    fast = (speed + 8) / 16 * (speeds - 1)
    i = np.minimum(wrapped.astype(int), angles - 2)
    j = np.minimum(fast.astype(int), speeds - 2)
    a, b = wrapped - i, fast - j
    return [
      (i, j, (1 - a) * (1 - b)),
      (i + 1, j, a * (1 - b)),
      (i, j + 1, (1 - a) * b),
      (i + 1, j + 1, a * b),
    ]

  moves = []
  for torque in np.linspace(-2, 2, torques):
    new_angle, new_speed, reward = pendulum_step(angle, speed, torque)
    moves.append((reward, corners(new_angle, new_speed)))
  values = np.zeros(angle.shape)
  for _ in range(steps):
    values = np.max(
      [r + sum(w * values[i, j] for i, j, w in near) for r, near in moves],
      axis=0,
    )
  near = corners(*np.asarray(starts).T)
  return np.mean(sum(w * values[i, j] for i, j, w in near))


def grid_return(environment, policy, start, steps):
  """The expected return of a policy, by following every branch."""
  rows = environment.rows

  def moved(place, move):
    i, j = place[0] + (-1, 0, 1, 0)[move], place[1] + (0, 1, 0, -1)[move]
    outside = not (0 <= i < len(rows) and 0 <= j < len(rows[0]))
    return place if outside or rows[i][j] == '#' else (i, j)

  def value(place, steps):
    if rows[place[0]][place[1]] in 'XG' or steps == 0:
      return 0.0
    total = 0.0
    for move, turn in itertools.product(range(4), (0, 1, -1)):
      slip = environment.slip
      chance = policy[place[0] * len(rows[0]) + place[1]][move]
      chance *= slip / 2 if turn else 1 - slip
      if chance:
        there = moved(place, (move + turn) % 4)
        kind = rows[there[0]][there[1]]
        paid = environment.step_reward + (kind == 'G') - (kind == 'X')
        total += chance * (paid + value(there, steps - 1))
    return total

  return value(divmod(start, len(rows[0])), steps)
