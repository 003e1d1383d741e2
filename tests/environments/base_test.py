"""What every environment promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import environments
from jaxrl_llm.environments import (
  air,
  bandit,
  base,
  debate,
  distracted,
  grid,
  pendulum,
  point_mass,
  quadratic,
  ranks,
  research,
  teams,
  werewolf,
)
from tests import members

KEY = jax.random.key(0)
ROWS = jnp.arange(8)
ENVIRONMENTS = [
  air.Air(records=5, horizon=6),
  bandit.Bernoulli(((0.2, 0.8, 0.5), (0.6, 0.1, 0.3))),
  bandit.Gaussian(((0.2, 0.8, 0.5), (0.6, 0.1, 0.3)), spread=0.5),
  grid.Grid(rows=('S.#', '.XG', '..S'), slip=0.4, horizon=6),
  debate.Debate(),
  distracted.Distracted(pendulum.Pendulum(tasks=5, horizon=6), dimensions=4),
  pendulum.Pendulum(tasks=5, horizon=6),
  point_mass.PointMass(goals=3, horizon=6),
  quadratic.double_integrator(horizon=6),
  ranks.Ranks(sequences=3, horizon=6, length=6, width=4, ranks=(1, 2, 4)),
  research.Research(documents=5, words=3, price=0.1),
  teams.Teams(),
  werewolf.Werewolf(),
]
EVERY = pytest.mark.parametrize('environment', ENVIRONMENTS)


def actions_of(space, keys):
  """An action for every row, by its own key."""
  if isinstance(space, base.Discrete):
    return jax.vmap(lambda key: jax.random.randint(key, (), 0, space.count))(
      keys
    )
  return jax.vmap(lambda key: jax.random.normal(key, space.shape))(keys)


@functools.partial(jax.jit, static_argnums=0)
def walk(environment, tasks, uids):
  """States, observations and outcomes of a walk that tries what it may."""

  def choose(state, key):
    keys = base.row_keys(key, state.uid)
    legal = environment.legal(state)
    if legal is None:
      return actions_of(environment.spec.action, keys)
    return jax.vmap(jax.random.categorical)(keys, jnp.log(legal * 1.0))

  def step(state, key):
    acting, moving = jax.random.split(key)
    action = choose(state, acting)
    state, outcome = environment.step(state, action, moving)
    return state, (state, environment.observe(state), outcome)

  state = environment.reset(tasks, KEY, uids)
  first = state, environment.observe(state)
  keys = jax.random.split(KEY, environment.spec.horizon)
  return first, jax.lax.scan(step, state, keys)[1]


def walks(environment):
  """The walks of eight rows."""
  return walk(environment, ROWS % environment.spec.tasks, ROWS)


def test_every_environment_is_here():
  found = {type(environment) for environment in ENVIRONMENTS}
  assert found == members.classes(environments, 'observe')


@EVERY
def test_observations_are_what_the_spec_says(environment):
  (_, first), (_, later, _) = walks(environment)
  space = environment.spec.observation
  if isinstance(space, base.Discrete):
    assert first.shape == (8,) and first.dtype == jnp.int32
    assert 0 <= np.min(later) and np.max(later) < space.count
  else:
    assert first.shape == (8, *space.shape) and first.dtype == jnp.float32
    assert np.all(np.isfinite(later))


@EVERY
def test_states_and_outcomes_keep_their_types(environment):
  (first, _), (states, _, outcome) = walks(environment)
  for old, new in zip(jax.tree.leaves(first), jax.tree.leaves(states)):
    assert (old.shape, old.dtype) == (new.shape[1:], new.dtype)
  steps = environment.spec.horizon
  assert outcome.reward.shape == (steps, 8)
  assert outcome.reward.dtype == jnp.float32
  assert outcome.terminated.dtype == outcome.truncated.dtype == bool
  assert outcome.agent.dtype == jnp.int32


@EVERY
def test_every_row_ends_once_at_the_latest_at_the_horizon(environment):
  _, (_, _, outcome) = walks(environment)
  assert not np.any(outcome.terminated & outcome.truncated)
  assert not np.any(outcome.truncated[:-1])
  assert np.all(np.any(outcome.ended, axis=0))


@EVERY
def test_a_row_depends_on_its_task_and_uid_alone(environment):
  order = jnp.array([5, 2, 7])
  (whole, _), (_, _, outcome) = walks(environment)
  tasks = order % environment.spec.tasks
  (some, _), (_, _, found) = walk(environment, tasks, order)
  jax.tree.map(
    lambda a, b: np.testing.assert_array_equal(a[order], b), whole, some
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_array_equal(a[:, order], b), outcome, found
  )


@EVERY
def test_rows_of_one_task_begin_alike_and_go_their_own_ways(environment):
  (first, _), (_, _, outcome) = walk(environment, 0 * ROWS, ROWS)
  for path, leaf in jax.tree_util.tree_leaves_with_path(first):
    assert path[-1].name == 'uid' or np.all(leaf == leaf[0])
  judged = 0.0 if outcome.own is None else outcome.own
  assert len(np.unique(np.sum(outcome.reward + judged, axis=0))) > 1


@EVERY
def test_equal_environments_are_one_static_argument(environment):
  twin = type(environment)(
    **{
      name: getattr(environment, name)
      for name in environment.__dataclass_fields__
    }
  )
  assert twin == environment and hash(twin) == hash(environment)
  many = jax.jit(lambda tasks, env: env.reset(tasks, KEY), static_argnums=1)
  many(jnp.zeros(2, jnp.int32), environment)
  many(jnp.zeros(2, jnp.int32), twin)
  assert many._cache_size() == 1


@EVERY
def test_only_rows_that_ended_are_restarted(environment):
  (first, _), (states, _, _) = walks(environment)
  last = jax.tree.map(lambda x: x[-1], states)
  tasks = ROWS % environment.spec.tasks
  ended = ROWS % 3 == 0
  found = base.restarted(environment, last, ended, tasks, KEY)
  np.testing.assert_array_equal(found.uid, first.uid)
  for old, new, got in zip(*map(jax.tree.leaves, (last, first, found))):
    mask = ended.reshape(-1, *[1] * (old.ndim - 1))
    np.testing.assert_array_equal(got, np.where(mask, new, old))


def test_returns_stop_where_a_row_ends():
  walled = grid.Grid(rows=('SG.',), slip=0.0, horizon=5)

  def right(state, key):
    return jnp.ones_like(state.cell)

  found = base.returns(walled, right, jnp.zeros(2, jnp.int32), KEY)
  np.testing.assert_allclose(found, 0.96, rtol=1e-6)
