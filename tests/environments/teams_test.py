"""Teams that are right, and what building them was worth."""

import jax.numpy as jnp
import pytest

from jaxrl_llm.environments.teams import DELETE, EXIT, NODES, QUERIES, Teams

TEAMS = Teams()


def built(actions, query=0):
  """Rewards and own worth of (node, edge)s, and what was legal before each."""
  state = TEAMS.reset(jnp.array([query]), None)
  paid, own = [], []
  for node, edge in actions:
    action = node * TEAMS.most + edge
    assert TEAMS.legal(state)[0, action], (node, edge)
    state, outcome = TEAMS.step(state, jnp.array([action]), None)
    paid.append(float(outcome.reward[0]))
    own.append(float(outcome.own[0]))
    if outcome.ended[0]:
      break
  return paid, own, state


@pytest.mark.parametrize('query', range(3))
def test_both_roles_and_the_edge_between_them_are_right(query):
  giver, taker = QUERIES[query]
  assert built([(giver, 0), (taker, 0), (EXIT, 0)], query)[:2] == (
    [0, 0, 1],
    [0, 0, 0],
  )
  # Without the edge, and the other way round.
  assert built([(taker, 0), (giver, 0), (EXIT, 0)], query)[0][-1] == 0
  assert built([(giver, 0), (EXIT, 0)], query)[0][-1] == 0


@pytest.mark.parametrize(
  ('actions', 'own'),
  [
    ([(0, 0), (0, 0), (1, 0), (EXIT, 0)], [0, -1, 0, 0]),  # a role again
    ([(2, 0), (0, 0), (1, 1), (EXIT, 0)], [-1, 0, 0, 0]),  # a role too many
    ([(0, 0), (2, 0), (1, 1), (EXIT, 0)], [0, -1, -1, 0]),  # a wrong edge
    ([(2, 0), (DELETE, 0), (0, 0), (1, 0)], [-1, 0, 0, 0]),
    ([(0, 0), (DELETE, 0), (0, 0), (1, 0)], [0, -1, 0, 0]),
    ([(EXIT, 0)], [0]),
  ],
)
def test_what_the_query_needs_is_rational_and_nothing_else(actions, own):
  paid, found, _ = built(actions)
  assert found == own
  assert paid[-1] == (
    (1, 0) in actions or (1, 1) in actions[2:] and own[2] == 0
  )


def test_who_is_deleted_is_gone_with_the_edge():
  _, _, state = built([(0, 0), (1, 0), (DELETE, 0)])
  assert state.roles[0].tolist() == [0, -1, -1, -1]
  assert state.feeder[0].tolist() == [0, -1, -1, -1]


def test_edges_come_from_agents_there_are():
  _, _, state = built([(0, 0), (1, 0)])
  legal = TEAMS.legal(state)[0].reshape(NODES, TEAMS.most)
  assert legal[:3].tolist() == [[True, True, False, False]] * 3
  assert legal[DELETE].tolist() == legal[EXIT].tolist() == [True] + [False] * 3
  empty = TEAMS.legal(TEAMS.reset(jnp.array([0]), None))[0]
  assert not empty.reshape(NODES, TEAMS.most)[DELETE].any()
