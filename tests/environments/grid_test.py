import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.environments import base, grid
from tests.oracles import environments as oracle

KEY = jax.random.key(0)
WORLD = grid.Grid()
SMALL = grid.Grid(rows=('S.G', '.#X'), slip=0.3, horizon=5)


def uniform(environment):
  legal = environment.legal_moves * 1.0
  return legal / np.maximum(legal.sum(axis=1, keepdims=True), 1)


def test_values_are_those_of_the_book():
  values, policy = WORLD.optimal()
  expected = [
    [0.812, 0.868, 0.918, 0.0],
    [0.762, 0.0, 0.660, 0.0],
    [0.705, 0.655, 0.611, 0.388],
  ]
  np.testing.assert_allclose(values.reshape(3, 4), expected, atol=5e-4)
  up, right, down, left = range(4)
  moves = np.argmax(policy, axis=1).reshape(3, 4)
  assert moves[0, :3].tolist() == [right, right, right]
  assert moves[1, [0, 2]].tolist() == [up, up]
  assert moves[2].tolist() == [up, left, left, left]


def test_the_optimum_is_the_best_of_all_policies():
  live = [0, 1, 3]
  best = np.full(len(live), -np.inf)
  moves = [np.flatnonzero(SMALL.legal_moves[cell]) for cell in live]
  for chosen in itertools.product(*moves):
    policy = np.zeros((6, 4))
    policy[live, chosen] = 1.0
    best = np.maximum(best, SMALL.values(policy, discount=0.9)[live])
  values, _ = SMALL.optimal(discount=0.9)
  np.testing.assert_allclose(values[live], best, rtol=1e-10)


def test_returns_of_few_steps_follow_every_branch():
  policy = uniform(SMALL)
  expected = oracle.grid_return(SMALL, policy, 0, SMALL.horizon)
  np.testing.assert_allclose(SMALL.expected_return(policy), expected)
  assert SMALL.optimal_return[0] > expected


def test_long_episodes_reach_the_values_without_a_horizon():
  long = dataclasses.replace(WORLD, horizon=300)
  values, policy = WORLD.optimal()
  start = WORLD.starts
  np.testing.assert_allclose(long.expected_return(policy), values[start])
  np.testing.assert_allclose(long.optimal_return, values[start])
  np.testing.assert_allclose(
    long.expected_return(uniform(WORLD)),
    WORLD.values(uniform(WORLD))[start],
    rtol=1e-3,
  )


@pytest.mark.parametrize('policy', [uniform(WORLD), WORLD.optimal()[1]])
def test_simulated_returns_have_the_exact_mean(policy):
  log_policy = jnp.log(jnp.asarray(policy, jnp.float32))

  def choose(state, key):
    return jax.random.categorical(key, log_policy[state.cell])

  tasks = jnp.zeros(20_000, jnp.int32)
  found = np.asarray(jax.jit(lambda: base.returns(WORLD, choose, tasks, KEY))())
  error = found.std() / np.sqrt(found.size)
  # Four standard errors: wrong once in 16,000 seeds.
  assert abs(found.mean() - WORLD.expected_return(policy)[0]) < 4 * error


def test_beside_a_cliff_caution_pays_only_where_one_slips():
  def second_move(slip):
    _, policy = grid.Grid(grid.CLIFF, slip=slip).optimal()
    return np.argmax(policy[6])

  up, right = 0, 1
  assert second_move(0.0) == right and second_move(0.4) == up


def test_what_a_move_may_be_is_told_before_and_after_it():
  state = WORLD.reset(jnp.zeros(1, jnp.int32), KEY)
  np.testing.assert_array_equal(WORLD.legal(state), [[1, 1, 0, 0]])
  still = dataclasses.replace(WORLD, slip=0.0)
  state, outcome = still.step(state, jnp.array([0]), KEY)
  np.testing.assert_array_equal(outcome.legal, [[1, 0, 1, 0]])
  # An illegal move stays and costs its step.
  after, outcome = still.step(state, jnp.array([1]), KEY)
  assert after.cell[0] == state.cell[0]
  np.testing.assert_allclose(outcome.reward, -0.04, rtol=1e-6)


def test_chances_of_every_move_sum_to_one():
  np.testing.assert_allclose(WORLD.transitions.sum(axis=-1), 1)


def test_a_policy_that_never_ends_has_no_value():
  policy = np.zeros((3, 4))
  policy[:2, 3] = 1.0
  walk = grid.Grid(rows=('S.G',), slip=0.0)
  with pytest.raises(ValueError, match='for ever .* discount below 1'):
    walk.values(policy)
  np.testing.assert_allclose(
    walk.values(policy, discount=0.5), [-0.08, -0.08, 0]
  )


@pytest.mark.parametrize(
  ('settings', 'words'),
  [
    ({'rows': ('S.', '.')}, 'not of one length'),
    ({'rows': ('Sx',)}, r"\['x'\]"),
    ({'rows': ('.G',)}, 'no start'),
    ({'slip': 1.0}, 'slip is 1.0'),
  ],
)
def test_a_map_that_cannot_be_read_is_refused(settings, words):
  with pytest.raises(ValueError, match=words):
    grid.Grid(**settings)
