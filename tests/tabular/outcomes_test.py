"""Flows to every outcome of a small grid, made exactly by loops."""

import itertools

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.tabular import outcomes

SIDE = 3
CELLS = list(itertools.product(range(SIDE), repeat=2))
MOVES = [(1, 0), (0, 1)]


def after(cell, action):
  """The next cell, None where it is outside or the walk stops."""
  if action == len(MOVES):
    return None
  to = cell[0] + MOVES[action][0], cell[1] + MOVES[action][1]
  return to if to in CELLS else None


def parents(cell):
  return (cell[0] > 0) + (cell[1] > 0)


def flow(cell, outcome):
  """F(s | y): the chance that a way back from y, drawn evenly, leads over s."""
  if cell == outcome:
    return 1.0
  to = [after(cell, a) for a in range(len(MOVES))]
  return sum(flow(x, outcome) / parents(x) for x in to if x)


def exact():
  """log F f64[S, Y] and log P_F f64[S, A, Y], with a floor for log 0."""
  size, actions = len(CELLS), len(MOVES) + 1
  flows, forward = np.zeros((size, size)), np.zeros((size, actions, size))
  for i, s in enumerate(CELLS):
    for k, y in enumerate(CELLS):
      flows[i, k] = flow(s, y)
      for a in range(actions):
        to = after(s, a)
        part = float(s == y) if a == len(MOVES) else 0.0
        if to:
          part = flow(to, y) / parents(to)
        forward[i, a, k] = part / flows[i, k] if flows[i, k] else 0.0
  return np.log(np.maximum(flows, 1e-30)), np.log(np.maximum(forward, 1e-30))


FLOW, FORWARD = exact()
REWARD = np.random.default_rng(0).random(len(CELLS)) + 0.1


def test_exact_flows_balance():
  for i, s in enumerate(CELLS):
    for k, y in enumerate(CELLS):
      for a in range(len(MOVES) + 1):
        if FORWARD[i, a, k] < -50:
          continue
        to = after(s, a)
        back = -np.log(parents(to)) if to else 0.0
        onward = FLOW[CELLS.index(to), k] if to else np.log(float(s == y))
        residual = outcomes.balance(FLOW[i, k], FORWARD[i, a, k], back, onward)
        assert abs(residual) < 1e-9


def test_each_step_of_a_walk_is_paid_once_with_where_the_walk_ends():
  floor = -8.0
  walk = [((0, 0), 1), ((0, 1), 0), ((1, 1), 2)]
  for y in [(1, 1), (1, 2), (2, 1), (2, 2)]:
    k = CELLS.index(y)
    paid = 0.0 if y == (1, 1) else floor
    for cell, a in walk:
      i, to = CELLS.index(cell), after(cell, a)
      back = -np.log(parents(to)) if to else 0.0
      onward = FLOW[CELLS.index(to), k] if to else 0.0
      given = FLOW[i, k], FORWARD[i, a, k], back
      ours = outcomes.teleported(*given, onward, paid)
      # Flows that balance are off by what was paid, and where a walk stops
      # elsewhere by all of its flow.
      if to:
        wanted = 0.0 if y == (1, 1) else -floor
      else:
        wanted = FLOW[i, k] + FORWARD[i, a, k] - paid
      assert abs(ours - wanted) < 1e-9


def test_the_extracted_policy_ends_in_proportion_to_the_reward():
  log_policy = outcomes.extracted(
    jnp.float32(np.log(REWARD)), jnp.float32(FLOW), jnp.float32(FORWARD)
  )
  chance = np.exp(np.asarray(log_policy, np.float64))
  np.testing.assert_allclose(chance.sum(axis=1), 1, rtol=1e-5)
  mass, ended = {CELLS[0]: 1.0}, np.zeros(len(CELLS))
  for cell in CELLS:  # every cell stands behind those that lead to it
    row = chance[CELLS.index(cell)]
    ended[CELLS.index(cell)] = mass[cell] * row[-1]
    for a in range(len(MOVES)):
      if to := after(cell, a):
        mass[to] = mass.get(to, 0.0) + mass[cell] * row[a]
  np.testing.assert_allclose(ended, REWARD / REWARD.sum(), rtol=1e-4)


def test_the_predictor_of_the_sum_and_its_shares_has_no_residual():
  parts = np.log(REWARD) + FLOW[:, None] + FORWARD
  total = np.log(np.exp(parts).sum(axis=-1, keepdims=True))
  residual = outcomes.amortised(
    total, parts - total, np.log(REWARD), FLOW[:, None], FORWARD
  )
  np.testing.assert_allclose(residual, 0, atol=1e-9)
  other = outcomes.amortised(
    total + 1, parts - total, np.log(REWARD), FLOW[:, None], FORWARD
  )
  np.testing.assert_allclose(other, 1, atol=1e-9)
