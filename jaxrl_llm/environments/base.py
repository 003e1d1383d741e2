"""Environments: what a policy acts in, as pure functions over N rows.

    reset(tasks, key, uids) -> state
    observe(state) -> observation
    legal(state) -> bool[N, A] or None
    step(state, action, key) -> (state, outcome)

All are jittable. A row begins where its task says, so that rows of one task
can be compared. What is random in a row is a function of (key, its uid): it
depends on neither the number of rows nor their order. A step has its own key,
the row's uid is in its state.

A row that has ended is of no use until it is reset: what `step` makes of it
means nothing, and the caller masks it or takes `restarted` rows.

An environment is a frozen dataclass of plain values, so that equal ones are
one static argument. Exact values are computed on the host in float64.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl_llm.types import Array, PyTree


@dataclasses.dataclass(frozen=True)
class Discrete:
  """One of `count` numbers from 0 on: i32[N]."""

  count: int


@dataclasses.dataclass(frozen=True)
class Box:
  """Real numbers: f32[N, *shape], each in [low, high].

  An action beyond the bounds counts as the nearest one within.
  """

  shape: tuple[int, ...]
  low: float = -math.inf
  high: float = math.inf


@dataclasses.dataclass(frozen=True)
class Spec:
  """What is fixed of an environment, for `init` functions.

  Attributes:
    horizon: T, steps after which a row has ended at the latest.
    tasks: A, places to begin at, or instances of the problem.
    observation: what `observe` gives. action: what `step` takes.
    agents: how many of the observations, which are numbers, each agent sees,
      the first ones the first; () where one policy sees all.
    seats: S, players of a game, all of them played by one policy.
    judged: outcomes say what actions were worth by themselves, `Outcome.own`.
  """

  horizon: int
  tasks: int
  observation: Box | Discrete
  action: Box | Discrete
  agents: tuple[int, ...] = ()
  seats: int = 1
  judged: bool = False


class Outcome(struct.PyTreeNode):
  """What a step brings.

  Attributes:
    reward: f32[N], of the action.
    terminated: bool[N], the row ended by itself: nothing more can be had.
    truncated: bool[N], the horizon alone ended it; never where `terminated`.
    agent: i32[N], who acts next, where there are several; 0 acts first.
    legal: bool[N, A], what may be done next; None where everything may.
    own: f32[N], what a judge says of the action by itself, which is no part of
      the reward; None where nobody does, and the reward is what it earned.
    seats: f32[N, S], what each of several players is paid; None where there is
      one, who is paid the reward.
  """

  reward: Array
  terminated: Array
  truncated: Array
  agent: Array
  legal: Array | None = None
  own: Array | None = None
  seats: Array | None = None

  @property
  def ended(self) -> Array:
    """bool[N]: nothing follows."""
    return self.terminated | self.truncated


class Environment(Protocol):
  """What a policy acts in."""

  @property
  def spec(self) -> Spec:
    """Its sizes."""

  def reset(
    self, tasks: Array, key: Array, uids: Array | None = None
  ) -> PyTree:
    """The state in which each row begins, a struct with `uid` i32[N].

    Args:
      tasks: i32[N], in [0, A).
      key: of the call. uids: i32[N], the identity of each row; its number
        where None.
    """

  def observe(self, state: PyTree) -> Array:
    """What the policy sees, as the spec says."""

  def legal(self, state: PyTree) -> Array | None:
    """bool[N, A], what may be done; None where everything may.

    `Outcome.legal` says it of the state after a step.
    """

  def step(
    self, state: PyTree, action: Array, key: Array
  ) -> tuple[PyTree, Outcome]:
    """The state after each row's action, and what it brought."""


def row_keys(key: Array, uids: Array) -> Array:
  """[N] keys: of the call's and each row's uid."""
  return jax.vmap(jax.random.fold_in, (None, 0))(key, uids)


def uids_of(tasks: Array, uids: Array | None) -> Array:
  """i32[N]: the uids given, or the numbers of the rows."""
  return jnp.arange(tasks.shape[0], dtype=jnp.int32) if uids is None else uids


def restarted(
  environment: Environment,
  state: PyTree,
  ended: Array,
  tasks: Array,
  key: Array,
) -> PyTree:
  """The state with rows that ended reset to their tasks, uids kept.

  Args:
    ended: bool[N]. tasks: i32[N], where each row begins again.
  """
  fresh = environment.reset(tasks, key, state.uid)

  def choose(new, old):
    mask = ended.reshape(ended.shape + (1,) * (old.ndim - 1))
    return jnp.where(mask, new, old)

  return jax.tree.map(choose, fresh, state)


def returns(
  environment: Environment,
  choose: Callable[[PyTree, Array], Array],
  tasks: Array,
  key: Array,
) -> Array:
  """f32[N]: what one episode of each row pays, until it ends.

  Args:
    choose: f(state, key) -> action of every row.
  """
  start, acting, moving = jax.random.split(key, 3)
  state = environment.reset(tasks, start)

  def step(carry, time):
    state, live = carry
    action = choose(state, jax.random.fold_in(acting, time))
    moved = jax.random.fold_in(moving, time)
    state, outcome = environment.step(state, action, moved)
    reward = jnp.where(live, outcome.reward, 0.0)
    return (state, live & ~outcome.ended), reward

  first = state, jnp.ones(tasks.shape, bool)
  times = jnp.arange(environment.spec.horizon)
  return jnp.sum(jax.lax.scan(step, first, times)[1], axis=0)
