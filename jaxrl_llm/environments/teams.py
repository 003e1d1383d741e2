"""A team of agents that is built action by action, as a graph.

An action is a node and an edge: a role to add and the agent that feeds it,
`delete` of the agent added last, or `exit`. A query needs two roles of three,
the second fed by the first. An action that adds what the query needs is
rational; one that adds a role again, or a role or an edge that is not needed,
is worth -1 by itself, and so is a deletion of what is needed.

It is the search problem of MasHost, arXiv 2506.08507, with a query's needs in
place of answers that a team of language models gives.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl_llm.environments.base import Box, Discrete, Outcome, Spec, uids_of
from jaxrl_llm.types import Array

ROLES = 3
DELETE, EXIT = ROLES, ROLES + 1
NODES = ROLES + 2
# Of each query, the role that feeds and the one that is fed.
QUERIES = ((0, 1), (1, 2), (2, 0))


class State(struct.PyTreeNode):
  """Where each row is.

  Attributes:
    roles, feeder: i32[N, B], of the agents in their order, -1 where nobody is;
      the first agent is fed by itself.
    task: i32[N], the query. time: i32[N]. uid: i32[N].
  """

  roles: Array
  feeder: Array
  task: Array
  time: Array
  uid: Array


def _at(x, place):
  return jnp.take_along_axis(x, place[:, None], axis=1)[:, 0]


@dataclasses.dataclass(frozen=True)
class Teams:
  """Teams for queries; a task is a query.

  The action of a node n and an edge from the agent at place j is n B + j. What
  is seen is the query, the role of each of B places and who feeds it, ones
  among zeros: f32[Q + B (R + B)].

  Attributes:
    most: B, actions of a row, and so agents of a team.
  """

  most: int = 4

  # A team can always be right.
  optimal_return = 1.0

  @property
  def spec(self) -> Spec:
    return Spec(
      horizon=self.most,
      tasks=len(QUERIES),
      observation=Box((len(QUERIES) + self.most * (ROLES + self.most),), 0, 1),
      action=Discrete(NODES * self.most),
      judged=True,
    )

  def reset(self, tasks, key, uids=None):
    del key
    nobody = jnp.full((*tasks.shape, self.most), -1, jnp.int32)
    return State(
      roles=nobody,
      feeder=nobody,
      task=tasks,
      time=jnp.zeros_like(tasks),
      uid=uids_of(tasks, uids),
    )

  def observe(self, state):
    parts = (
      state.task[:, None] == jnp.arange(len(QUERIES)),
      state.roles[..., None] == jnp.arange(ROLES),
      state.feeder[..., None] == jnp.arange(self.most),
    )
    rows = state.task.shape[0]
    flat = [part.reshape(rows, -1) for part in parts]
    return jnp.concatenate(flat, axis=1).astype(jnp.float32)

  def legal(self, state):
    """Roles are fed by agents there are, the first by itself."""
    count = self._count(state)[:, None]
    places = jnp.arange(self.most)
    adds = (places < jnp.maximum(count, 1)) & (count < self.most)
    alone = jnp.broadcast_to(places == 0, adds.shape)
    by_node = [adds] * ROLES + [alone & (count > 0), alone]
    return jnp.concatenate(by_node, axis=1)

  def _count(self, state):
    return jnp.sum(state.roles >= 0, axis=1)

  def _needed(self, state, role, edge):
    """bool[N]: whether the query needs that role, fed by the agent there."""
    giver, taker = jnp.asarray(QUERIES)[state.task].T
    again = (state.roles == role[:, None]).any(axis=1)
    fits = jnp.where(role == taker, _at(state.roles, edge) == giver, edge == 0)
    return ((role == giver) | (role == taker)) & ~again & fits

  def step(self, state, action, key):
    del key
    node, edge = action // self.most, action % self.most
    count, places = self._count(state)[:, None], jnp.arange(self.most)
    adds, drops = node < ROLES, (node == DELETE) & (count[:, 0] > 0)
    last = jnp.maximum(count - 1, 0)
    gone = drops[:, None] & (places == last)
    fewer = state.replace(
      roles=jnp.where(gone, -1, state.roles),
      feeder=jnp.where(gone, -1, state.feeder),
    )
    # What is needed once it is gone was needed.
    lost = self._needed(
      fewer,
      _at(state.roles, last[:, 0]),
      jnp.maximum(_at(state.feeder, last[:, 0]), 0),
    )
    here = adds[:, None] & (places == count)
    after = fewer.replace(
      roles=jnp.where(here, node[:, None], fewer.roles).astype(jnp.int32),
      feeder=jnp.where(here, edge[:, None], fewer.feeder).astype(jnp.int32),
      time=state.time + 1,
    )
    wrong = (adds & ~self._needed(state, node, edge)) | (drops & lost)
    ended = (node == EXIT) | (after.time >= self.most)
    outcome = Outcome(
      reward=(ended & self.right(after)) * 1.0,
      terminated=ended,
      truncated=jnp.zeros_like(ended),
      agent=jnp.zeros_like(state.time),
      legal=self.legal(after),
      own=-1.0 * wrong,
    )
    return after, outcome

  def right(self, state) -> Array:
    """bool[N]: whether a team has both roles and the edge between them."""
    giver, taker = jnp.asarray(np.array(QUERIES))[state.task].T
    place = jnp.maximum(state.feeder, 0)
    by = jnp.take_along_axis(state.roles, place, axis=1)
    there = (state.roles == taker[:, None]) & (by == giver[:, None])
    return there.any(axis=1)
