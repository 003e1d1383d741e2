"""Walks on a grid with walls, pits and goals, whose values are solved exactly.

A move goes where it is meant to with chance 1 - slip, else to one side or the
other; what would leave the grid or hit a wall stays. Every step pays
`step_reward`, a step onto a goal 1 more and into a pit 1 less; both end the
row. Moves meant into a wall are not legal, though the dynamics know what
becomes of them.

The world drawn below is that of Russell and Norvig, Artificial Intelligence:
A Modern Approach, third edition, section 17.1; its values are their figure
17.3.
"""

from __future__ import annotations

import dataclasses
import functools

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

# Of a cell: start, free, wall, pit and goal.
START, FREE, WALL, PIT, GOAL = 'S.#XG'
# Row and column of up, right, down, left; the sides of one are its neighbours.
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
WORLD = (
  '...G',
  '.#.X',
  'S...',
)
# Beside a cliff the short way is the dangerous one (after Sutton and Barto,
# Reinforcement Learning, second edition, example 6.6).
CLIFF = (
  '......',
  '......',
  'SXXXXG',
)


class State(struct.PyTreeNode):
  """Where each row is.

  Attributes:
    cell: i32[N], row by row from the upper left. time: i32[N], steps taken.
    uid: i32[N].
  """

  cell: Array
  time: Array
  uid: Array


@dataclasses.dataclass(frozen=True)
class Grid:
  """A map, and how one walks on it.

  The observation is the number of the cell, i32[N]; actions are up, right,
  down and left. A row is truncated after `horizon` steps. Exact values are
  those of policies [S, 4] of probabilities, S cells in all.

  Attributes:
    rows: the map, rows of S . # X and G. slip: chance to go aside, in [0, 1).
    step_reward: of every step. horizon: T.
  """

  rows: tuple[str, ...] = WORLD
  slip: float = 0.2
  step_reward: float = -0.04
  horizon: int = 50

  def __post_init__(self):
    cells = ''.join(self.rows)
    if len({len(row) for row in self.rows}) != 1:
      raise ValueError(f'rows {self.rows} are not of one length; fill with #')
    unknown = sorted(set(cells) - {START, FREE, WALL, PIT, GOAL})
    if unknown or START not in cells:
      raise ValueError(
        f'rows {self.rows} have {unknown or "no start"}; a cell is one of '
        f'{START} {FREE} {WALL} {PIT} {GOAL}, and at least one is {START}'
      )
    if not 0 <= self.slip < 1:
      raise ValueError(f'slip is {self.slip}; give a chance in [0, 1)')

  @property
  def cells(self) -> np.ndarray:
    """[S]: the kind of each cell."""
    return np.array(list(''.join(self.rows)))

  @property
  def starts(self) -> np.ndarray:
    """i64[tasks]: the cell in which each task begins."""
    return np.flatnonzero(self.cells == START)

  @property
  def spec(self) -> Spec:
    size = self.cells.size
    return Spec(self.horizon, self.starts.size, Discrete(size), Discrete(4))

  @functools.cached_property
  def _ahead(self) -> np.ndarray:
    """i32[S, 4]: the cell that each move leads to if it does not slip."""
    height, width = len(self.rows), len(self.rows[0])
    ahead = np.empty((height, width, 4), np.int32)
    for i, j, move in np.ndindex(*ahead.shape):
      down, right = MOVES[move]
      row, column = i + down, j + right
      inside = 0 <= row < height and 0 <= column < width
      free = inside and self.rows[row][column] != WALL
      ahead[i, j, move] = (row * width + column) if free else (i * width + j)
    return ahead.reshape(-1, 4)

  @property
  def legal_moves(self) -> np.ndarray:
    """bool[S, 4]: moves that are not meant into a wall."""
    return self._ahead != np.arange(self.cells.size)[:, None]

  @property
  def ends(self) -> np.ndarray:
    """bool[S]: pits and goals."""
    return np.isin(self.cells, [PIT, GOAL])

  @property
  def _pay(self) -> np.ndarray:
    """f64[S]: what a step into each cell pays."""
    bonus = (self.cells == GOAL) * 1.0 - (self.cells == PIT)
    return self.step_reward + bonus

  def reset(self, tasks, key, uids=None):
    del key
    return State(
      cell=jnp.asarray(self.starts, jnp.int32)[tasks],
      time=jnp.zeros(tasks.shape, jnp.int32),
      uid=uids_of(tasks, uids),
    )

  def observe(self, state):
    return state.cell

  def legal(self, state):
    return jnp.asarray(self.legal_moves)[state.cell]

  def step(self, state, action, key):
    keys = row_keys(key, state.uid)
    drawn = jax.vmap(jax.random.uniform)(keys)
    # The lower half of the chance to slip is one side, the upper the other.
    aside = jnp.where(drawn < self.slip / 2, 1, -1)
    move = (action + jnp.where(drawn < self.slip, aside, 0)) % 4
    cell = jnp.asarray(self._ahead)[state.cell, move]
    state = State(cell, state.time + 1, state.uid)
    terminated = jnp.asarray(self.ends)[cell]
    outcome = Outcome(
      reward=jnp.asarray(self._pay, jnp.float32)[cell],
      terminated=terminated,
      truncated=~terminated & (state.time >= self.horizon),
      agent=jnp.zeros_like(cell),
      legal=self.legal(state),
    )
    return state, outcome

  @functools.cached_property
  def transitions(self) -> np.ndarray:
    """f64[S, 4, S]: chance of each next cell; who is in a pit stays there."""
    size = self.cells.size
    table = np.zeros((size, 4, size))
    for cell, move in np.ndindex(size, 4):
      if self.ends[cell]:
        table[cell, move, cell] = 1.0
        continue
      for turn, chance in (
        (0, 1 - self.slip), (1, self.slip / 2), (-1, self.slip / 2),
      ):  # fmt: skip
        table[cell, move, self._ahead[cell, (move + turn) % 4]] += chance
    return table

  @functools.cached_property
  def rewards(self) -> np.ndarray:
    """f64[S, 4]: expected reward of each move; 0 in pits and goals."""
    return np.where(self.ends[:, None], 0.0, self.transitions @ self._pay)

  def values(self, policy, *, discount: float = 1.0) -> np.ndarray:
    """f64[S]: V = r_pi + discount P_pi V, without a horizon.

    0 in pits, goals and walls.

    Args:
      policy: [S, 4], probabilities.

    Raises:
      ValueError: without discount, a policy that may never end.
    """
    live = ~self.ends & (self.cells != WALL)
    chances = np.einsum('sa,sat->st', policy, self.transitions)[live][:, live]
    reward = np.sum(policy * self.rewards, axis=1)[live]
    system = np.eye(len(chances)) - discount * chances
    if np.linalg.matrix_rank(system) < len(system):
      raise ValueError(
        'a policy walks for ever from some cell, and its value without '
        'discount is not finite; give a discount below 1'
      )
    found = np.zeros(self.cells.size)
    found[live] = np.linalg.solve(system, reward)
    return found

  def optimal(self, *, discount: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Values f64[S] of the best policy, and the policy f64[S, 4].

    Policy iteration from uniform legal moves, which equal ones remain.
    """
    legal = self.legal_moves
    policy = legal / np.maximum(legal.sum(axis=1, keepdims=True), 1)
    while True:
      values = self.values(policy, discount=discount)
      worth = self.rewards + discount * self.transitions @ values
      now = np.sum(policy * worth, axis=1)
      worth = np.where(legal, worth, -np.inf)
      # By more than rounding, or equal moves would take turns.
      better = worth.max(axis=1) > now + 1e-10
      if not better.any():
        return values, policy
      greedy = np.eye(4)[worth.argmax(axis=1)]
      policy = np.where(better[:, None], greedy, policy)

  def expected_return(self, policy) -> np.ndarray:
    """f64[tasks]: what the policy [S, 4] gets in `horizon` steps."""
    return self._backward(lambda worth: np.sum(policy * worth, axis=1))

  @functools.cached_property
  def optimal_return(self) -> np.ndarray:
    """f64[tasks]: the most that legal moves get in `horizon` steps."""
    moves = np.where(self.legal_moves, 0.0, -np.inf)
    return self._backward(lambda worth: (worth + moves).max(axis=1))

  def _backward(self, choose) -> np.ndarray:
    values = np.zeros(self.cells.size)
    for _ in range(self.horizon):
      found = choose(self.rewards + self.transitions @ values)
      values = np.where(self.ends | (self.cells == WALL), 0.0, found)
    return values[self.starts]
