"""Two sides show evidence in turns, and a judge says whose decision it favours.

A case is a state of F features, each -1 or 1, and two decisions. The sides take
turns to show one feature each, L in all; the judge, who sees these alone, gives
each decision a score. The side whose decision has the higher one earns 1, the
other -1. The judge is logistic in single features and pairs of them that were
shown, and was fitted to pairs of decisions, of which one is right, beside L
features shown at random.

Source: Reward Design for Justifiable Sequential Decision-Making, arXiv
2402.15826, sections 4.2 and 4.3, and its code.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools

import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl_llm.environments.base import Discrete, Outcome, Spec, uids_of
from jaxrl_llm.types import Array

# Of the judge: steps of gradient descent, their size, and the decay to 0.
_STEPS, _RATE, _DECAY = 300, 2.0, 1e-3


class State(struct.PyTreeNode):
  """Where each debate is.

  Attributes:
    task: i32[N]. shown: i32[N], the features shown, as bits.
    time: i32[N], how many. uid: i32[N].
  """

  task: Array
  shown: Array
  time: Array
  uid: Array


@dataclasses.dataclass(frozen=True)
class Debate:
  """Debates of recorded states, of which a task is one with two decisions.

  The first side begins, for the first decision of the task. What a run calls
  return is the first side's. An observation is the number of (task, shown), as
  both sides know who they are by how much was shown.

  Attributes:
    states: recorded. features: F <= 8. decisions: D, of which one is right.
    arguments: L, even where two sides argue. alone: the first side shows all.
    seed: of the states, and of what is right.

  Raises:
    ValueError: more to be shown than there is, or sides of unequal turns.
  """

  states: int = 16
  features: int = 6
  decisions: int = 3
  arguments: int = 4
  alone: bool = False
  seed: int = 0

  def __post_init__(self):
    if not 0 < self.arguments <= self.features <= 8:
      raise ValueError(
        f'{self.arguments} arguments of {self.features} features; show at '
        'least 1 and at most all, of at most 8'
      )
    if self.arguments % 2 and not self.alone:
      raise ValueError(
        f'{self.arguments} arguments are shown by two sides in turns; use an '
        'even number'
      )

  @functools.cached_property
  def pairs(self) -> np.ndarray:
    """i[tasks, 3]: the state, the first side's decision and the other's."""
    two = itertools.permutations(range(self.decisions), 2)
    found = itertools.product(range(self.states), two)
    return np.array([(state, *both) for state, both in found])

  @property
  def spec(self) -> Spec:
    tasks = len(self.pairs)
    return Spec(
      horizon=self.arguments,
      tasks=tasks,
      observation=Discrete(tasks << self.features),
      action=Discrete(self.features),
      seats=1 if self.alone else 2,
    )

  @functools.cached_property
  def world(self) -> tuple[np.ndarray, np.ndarray]:
    """States f[S, F] of -1 and 1, and what is right in each, i[S]."""
    rng = np.random.default_rng(self.seed)
    seen = rng.choice([-1.0, 1.0], (self.states, self.features))
    everything = evidence(seen, np.full(self.states, self.all_shown))
    weights = rng.normal(size=(everything.shape[1], self.decisions))
    return seen, np.argmax(everything @ weights, axis=1)

  @property
  def all_shown(self) -> int:
    return (1 << self.features) - 1

  @functools.cached_property
  def scores(self) -> np.ndarray:
    """f32[S, 2^F, D]: what the judge gives decisions where so much is shown."""
    seen, right = self.world
    sets = [s for s in range(1 << self.features)]
    some = np.array([s for s in sets if s.bit_count() == self.arguments])
    state, shown = map(np.ravel, np.meshgrid(range(self.states), some))
    weights = fitted(evidence(seen[state], shown), right[state], self.decisions)
    each = evidence(seen.repeat(len(sets), axis=0), np.tile(sets, self.states))
    table = each @ weights
    return table.reshape(self.states, len(sets), -1).astype(np.float32)

  @functools.cached_property
  def margins(self) -> np.ndarray:
    """f32[tasks, 2^F]: by how much the first decision has the higher score."""
    state, first, other = self.pairs.T
    return self.scores[state, :, first] - self.scores[state, :, other]

  @property
  def optimal_return(self) -> float:
    """Of the first side, where both play their best."""
    return float(np.mean(self._values(lambda v, side, shown: _best(v, side))))

  def reset(self, tasks, key, uids=None):
    del key
    nothing = jnp.zeros_like(tasks)
    return State(tasks, nothing, nothing, uids_of(tasks, uids))

  def observe(self, state):
    return (state.task << self.features) + state.shown

  def legal(self, state):
    bits = 1 << jnp.arange(self.features)
    return (state.shown[:, None] & bits) == 0

  def step(self, state, action, key):
    del key
    shown, time = state.shown | (1 << action), state.time + 1
    last = time >= self.arguments
    margin = jnp.asarray(self.margins)[state.task, shown]
    won = jnp.where(last, jnp.sign(margin), 0.0)
    outcome = Outcome(
      reward=won,
      terminated=last,
      truncated=jnp.zeros_like(last),
      agent=jnp.zeros_like(time) if self.alone else time % 2,
      seats=None if self.alone else jnp.stack([won, -won], axis=1),
    )
    return state.replace(shown=shown, time=time), outcome

  def best_replies(self, chances) -> tuple[float, float]:
    """What the first side earns at most and at least against the other's play.

    Args:
      chances: f64[observations, F], of the policy that plays both sides.
    """
    shape = len(self.pairs), 1 << self.features, self.features
    chances = np.asarray(chances, np.float64).reshape(shape)
    most, least = (
      np.mean(self.replied(chances, fixed=side)) for side in (1, 0)
    )
    return float(most), float(least)

  def replied(self, chances, *, fixed: int) -> np.ndarray:
    """f64[tasks]: what the first side earns where one of them replies best.

    Args:
      chances: f64[tasks, 2^F, F], of the side that plays by them.
      fixed: which it is, 0 or 1.
    """

    def choose(values, side, shown):
      if side != fixed:
        return _best(values, side)
      # What may not be shown has no chance, and no value.
      return np.nansum(chances[:, shown] * values, axis=1)

    return self._values(choose)

  def _values(self, choose) -> np.ndarray:
    """f64[tasks]: what the first side earns, worked back from all endings.

    Args:
      choose: f(values f64[tasks, F], side, shown) -> f64[tasks], NaN where a
        feature has been shown.
    """
    found = np.sign(self.margins.astype(np.float64))
    order = sorted(range(1 << self.features), key=lambda s: -s.bit_count())
    for shown in order:
      turn = shown.bit_count()
      if turn < self.arguments:
        values = np.full((len(found), self.features), np.nan)
        for feature in range(self.features):
          if not shown >> feature & 1:
            values[:, feature] = found[:, shown | 1 << feature]
        side = 0 if self.alone else turn % 2
        found[:, shown] = choose(values, side, shown)
    return found[:, 0]


def _best(values, side):
  """What the best move of a side makes of the first side's values."""
  return (np.nanmax if side == 0 else np.nanmin)(values, axis=1)


def evidence(seen: np.ndarray, shown: np.ndarray) -> np.ndarray:
  """What a judge reads: which features were shown, their values, and products.

  Args:
    seen: f[N, F]. shown: i[N], as bits.

  Returns:
    f[N, 1 + 2 F + F (F - 1) / 2].
  """
  count = seen.shape[1]
  mask = (np.asarray(shown)[:, None] >> np.arange(count)) & 1
  told = seen * mask
  one, other = np.triu_indices(count, 1)
  always = np.ones((len(seen), 1))
  return np.hstack([always, mask, told, told[:, one] * told[:, other]])


def fitted(read: np.ndarray, right: np.ndarray, decisions: int) -> np.ndarray:
  """The judge's weights f64[K, D], by gradient descent.

      loss = mean over rows and wrong d of log(1 + exp(J_d - J_right))
             + decay / 2 |weights|^2

  Args:
    read: f[N, K], the evidence of each row. right: i[N], of D decisions.
  """
  weights = np.zeros((read.shape[1], decisions))
  row = np.arange(len(read))
  for _ in range(_STEPS):
    scores = read @ weights
    pull = 1 / (1 + np.exp(scores[row, right][:, None] - scores))
    pull[row, right] = 0.0
    pull[row, right] = -pull.sum(axis=1)
    slope = read.T @ pull / (len(read) * (decisions - 1))
    weights -= _RATE * (slope + _DECAY * weights)
  return weights
