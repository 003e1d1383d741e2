import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.environments import bandit, base, grid, quadratic
from jaxrl_llm.learners import bandits
from jaxrl_llm.learners.base import play

KEY = jax.random.key(0)
WALK = grid.Grid(rows=('S..G', '.#.X', 'S...'), horizon=3)


@dataclasses.dataclass(frozen=True)
class Wanderer:
  """Acts at random and adds up what it hears."""

  def init(self, spec, key):
    return {'acts': jnp.int32(0), 'heard': jnp.float32(0)}

  def act(self, state, observation, key):
    keys = base.row_keys(key, jnp.arange(observation.shape[0]))
    action = jax.vmap(lambda key: jax.random.randint(key, (), 0, 4))(keys)
    return action, state | {'acts': state['acts'] + 1}

  def update(self, state, observation, action, outcome):
    paid = jnp.sum(outcome.reward * (action + observation))
    return state | {'heard': state['heard'] + paid}


played = functools.partial(
  jax.jit(play, static_argnums=(0, 1, 2), static_argnames='seeds'),
  Wanderer(),
  WALK,
)


def test_play_acts_steps_and_tells_in_turn():
  found = played(7, KEY, tasks=jnp.array([1, 0, 1]), seeds=2)
  chex.assert_shape(found.action, (2, 7, 3))
  learner, root = Wanderer(), jax.random.fold_in(KEY, 1)
  state = WALK.reset(jnp.array([1, 0, 1]), KEY)
  held = learner.init(WALK.spec, KEY)
  for t in range(7):
    acting, moving, _ = jax.random.split(jax.random.fold_in(root, t), 3)
    observation = WALK.observe(state)
    action, held = learner.act(held, observation, acting)
    state, outcome = WALK.step(state, action, moving)
    held = learner.update(held, observation, action, outcome)
    # Starts are the same whatever the key.
    state = base.restarted(
      WALK, state, outcome.ended, jnp.array([1, 0, 1]), KEY
    )
    np.testing.assert_array_equal(found.observation[1, t], observation)
    np.testing.assert_array_equal(found.action[1, t], action)
    np.testing.assert_allclose(found.outcome.reward[1, t], outcome.reward)
  assert found.learner['acts'][1] == 7
  np.testing.assert_allclose(found.learner['heard'][1], held['heard'], 1e-5)


def test_rows_that_ended_begin_again():
  found = played(7, KEY, tasks=jnp.array([1, 0, 1]), seeds=2)
  ended = np.asarray(found.outcome.ended)[:, :-1]
  after = np.asarray(found.observation)[:, 1:]
  starts = np.broadcast_to(WALK.starts[[1, 0, 1]], after.shape)
  assert ended.any() and not ended.all()
  np.testing.assert_array_equal(after[ended], starts[ended])
  # The horizon ends a row for the third time at step 9 alone.
  assert np.all(ended[:, 2] | ended[:, :2].any(axis=1))


def test_a_run_is_the_same_beside_any_number_of_others():
  two = played(7, KEY, tasks=jnp.array([1, 0, 1]), seeds=2)
  one = played(7, KEY, tasks=jnp.array([1, 0, 1]), seeds=1)
  np.testing.assert_array_equal(two.action[0], one.action[0])
  assert np.any(two.action[0] != two.action[1])


def test_one_program_plays_many_keys():
  chex.clear_trace_counter()
  coins = bandit.Bernoulli(((0.5, 0.5),))
  counted = jax.jit(
    chex.assert_max_traces(
      lambda key: play(bandits.UCB1(), coins, 3, key).action, n=1
    )
  )
  for number in range(3):
    counted(jax.random.key(number))


def test_a_learner_says_which_environments_it_cannot_act_in():
  cart = quadratic.double_integrator(horizon=2)
  with pytest.raises(ValueError, match=r'Box\(shape=\(1,\)'):
    play(bandits.UCB1(), cart, 1, KEY)
