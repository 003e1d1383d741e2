"""A policy that builds a graph: which node comes next, and what feeds it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm.policies.categorical import _ILLEGAL, Categorical
from jaxrl_llm.policies.protocol import Param

_SMALL = jax.nn.initializers.normal(0.1)


@dataclasses.dataclass(frozen=True)
class GraphBuilder(Categorical):
  """Nodes by what the graph is, edges by what the agents in it are.

      h_j = tanh(R role_j + F role_{feeder of j} + Q query)      of agents
      g = sum_j h_j + Q query
      log pi(n, j) = log softmax_n(N g + b) + log softmax_j(e_n' P h_j)

  both over what is legal: node and edge are drawn jointly. What is said of an
  agent depends on its role and on who feeds it, not on its place.

  Attributes:
    states: numbers of an observation. actions: nodes times B places.
    roles, queries: how many there are. width: d, of h.

  It is the joint sampling of roles and edges of MasHost, arXiv 2506.08507, by a
  network of ours.
  """

  critic: bool = False
  roles: int = 3
  queries: int = 3
  width: int = 16

  def __post_init__(self):
    places, nodes = self.sizes
    seen = self.queries + places * (self.roles + places)
    if self.critic or seen != self.states or nodes * places != self.actions:
      raise ValueError(
        f'observations of {self.states} and {self.actions} actions are not '
        f'those of graphs with {self.roles} roles and {self.queries} queries '
        'without a critic'
      )

  @property
  def sizes(self) -> tuple[int, int]:
    """B, places of agents, and the number of nodes to choose from."""
    nodes = self.roles + 2
    return self.actions // nodes, nodes

  def table(self):
    _, nodes = self.sizes
    d, r, q = self.width, self.roles, self.queries
    shapes = {
      'role': (r, d),
      'fed': (r, d),
      'query': (q, d),
      'node': (d, nodes),
      'said': (nodes, d),
      'pair': (d, d),
    }
    found = {
      (name, 'kernel'): Param(shape, (None, None), _SMALL)
      for name, shape in shapes.items()
    }
    found['node', 'bias'] = Param((nodes,), (None,), jax.nn.initializers.zeros)
    return found

  def log_probs(self, params, observation, legal=None):
    """f32[..., A] of observations, as `teams.Teams` gives them."""
    places, nodes = self.sizes
    lead = observation.shape[:-1]
    query, role, feeder = jnp.split(
      observation, (self.queries, self.queries + places * self.roles), axis=-1
    )
    role = role.reshape(*lead, places, self.roles)
    fed = feeder.reshape(*lead, places, places) @ role
    weight = {name: leaf['kernel'] for name, leaf in params.items()}
    asked = query @ weight['query']
    told = role @ weight['role'] + fed @ weight['fed'] + asked[..., None, :]
    there = jnp.sum(role, axis=-1, keepdims=True)
    agents = jnp.tanh(told) * there
    graph = jnp.sum(agents, axis=-2) + asked
    logits = graph @ weight['node'] + params['node']['bias']
    pair = (weight['said'] @ weight['pair']) @ jnp.swapaxes(agents, -1, -2)
    if legal is not None:
      legal = legal.reshape(*lead, nodes, places)
      pair = jnp.where(legal, pair, _ILLEGAL)
      logits = jnp.where(legal.any(axis=-1), logits, _ILLEGAL)
    joint = jax.nn.log_softmax(logits)[..., None] + jax.nn.log_softmax(pair)
    if legal is not None:
      joint = jnp.where(legal, joint, _ILLEGAL)
    return joint.reshape(*lead, self.actions)
