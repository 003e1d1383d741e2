"""What a policy that builds graphs says, in loops, and what it cannot see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.environments.teams import DELETE, EXIT, NODES, ROLES, Teams
from jaxrl_llm.policies.graph import GraphBuilder
from jaxrl_llm.policies.protocol import initial

TEAMS = Teams()
POLICY = GraphBuilder(31, 20, width=5)
# Larger than at the start, where it is nearly uniform.
PARAMS = jax.tree.map(
  lambda x: 20 * x, initial(POLICY.table(), jax.random.key(0))
)


def state_of(agents, query=1):
  """A team of (role, place of who feeds it)."""
  state = TEAMS.reset(jnp.array([query]), None)
  for node, edge in agents:
    state, _ = TEAMS.step(state, jnp.array([node * TEAMS.most + edge]), None)
  return state


def log_probs(state):
  legal = TEAMS.legal(state)
  found = POLICY.log_probs(PARAMS, TEAMS.observe(state), legal)
  return np.asarray(found, np.float64)[0], np.asarray(legal)[0]


def by_hand(agents, query):
  """Arxiv 2506.08507, node and edge jointly: pi(n, j) = pi(n) pi(j | n)."""
  leaf = {
    name: np.asarray(value['kernel'], np.float64)
    for name, value in PARAMS.items()
  }
  asked = leaf['query'][query]
  marks = [
    np.tanh(leaf['role'][role] + leaf['fed'][agents[by][0]] + asked)
    for role, by in agents
  ]
  whole = asked + sum(marks)
  chance, total = np.zeros((NODES, TEAMS.most)), 0.0
  for node in range(NODES):
    if node == DELETE and not agents:
      continue
    weight = np.exp(whole @ leaf['node'][:, node])
    total += weight
    if node >= ROLES or not agents:
      chance[node, 0] = weight
      continue
    edges = [np.exp(leaf['said'][node] @ leaf['pair'] @ h) for h in marks]
    chance[node, : len(marks)] = weight * np.array(edges) / sum(edges)
  return (chance / total).reshape(-1)


@pytest.mark.parametrize(
  'agents', [[], [(2, 0)], [(0, 0), (1, 0)], [(0, 0), (1, 0), (2, 1)]]
)
def test_nodes_and_edges_are_drawn_jointly(agents):
  found, legal = log_probs(state_of(agents))
  np.testing.assert_allclose(np.exp(found), by_hand(agents, 1), rtol=1e-4)
  np.testing.assert_allclose(np.exp(found).sum(), 1, rtol=1e-5)
  assert not np.exp(found)[~legal].any()


def test_places_of_agents_are_not_seen():
  """Two agents with the same feeder, in either order."""
  one, _ = log_probs(state_of([(0, 0), (1, 0), (2, 0)]))
  other, _ = log_probs(state_of([(0, 0), (2, 0), (1, 0)]))
  one, other = (x.reshape(NODES, TEAMS.most) for x in (one, other))
  np.testing.assert_allclose(one[:, [0, 2, 1, 3]], other, rtol=1e-4)
  assert np.abs(one[:ROLES, 1] - one[:ROLES, 2]).max() > 1e-3
  assert one[EXIT, 0] == pytest.approx(other[EXIT, 0], rel=1e-4)


def test_what_is_no_graph_is_refused():
  with pytest.raises(ValueError, match='not those of graphs'):
    GraphBuilder(30, 20)
