"""What every learner keeps to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.environments import bandit
from jaxrl_llm.learners import bandits
from jaxrl_llm.learners.base import play
from jaxrl_llm.recipes.pieces import pieces

KEY, STEPS = jax.random.key(0), 80
TASKS = jnp.zeros(3, jnp.int32)
COINS = bandit.Bernoulli(((0.1, 0.2, 0.9),))
# How a learner is made, and where it is at home.
LEARNERS = {
  'bandits.UCB1': (bandits.UCB1, COINS),
  'bandits.BetaThompson': (bandits.BetaThompson, COINS),
  'bandits.GaussianThompson': (
    bandits.GaussianThompson,
    bandit.Gaussian(((0.1, 0.2, 0.9),), spread=0.2),
  ),
}
each = pytest.mark.parametrize('name', LEARNERS)
played = jax.jit(play, static_argnums=(0, 1, 2), static_argnames='seeds')


@functools.cache
def history(name, key=0, seeds=2):
  make, environment = LEARNERS[name]
  return played(
    make(), environment, STEPS, jax.random.key(key), tasks=TASKS, seeds=seeds
  )


def equal(found, expected):
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_every_listed_learner_is_here():
  listed = {piece.name for piece in pieces() if piece.kind == 'learner'}
  assert {f'learners.{name}' for name in LEARNERS} == listed


@each
def test_play_tells_of_every_seed_step_and_row(name):
  found, (make, environment) = history(name), LEARNERS[name]
  for leaf in jax.tree.leaves(found.replace(learner=())):
    assert leaf.shape[:3] == (2, STEPS, 3)
  assert found.action.dtype == jnp.int32
  assert 0 <= found.action.min() <= found.action.max() < 3
  start = make().init(environment.spec)
  for new, old in zip(jax.tree.leaves(found.learner), jax.tree.leaves(start)):
    assert (new.shape, new.dtype) == ((2, *old.shape), old.dtype)


@each
def test_a_key_is_one_story(name):
  again, found = history.__wrapped__(name), history(name)
  equal(again, found)
  other = history(name, key=1)
  assert np.any(other.outcome.reward != found.outcome.reward)


@each
def test_seeds_do_not_know_of_each_other(name):
  alone, two = history(name, seeds=1), history(name)
  equal(alone.action[0], two.action[0])
  assert np.any(two.outcome.reward[0] != two.outcome.reward[1])


@each
def test_all_that_is_known_is_in_the_state(name):
  """A learner made anew goes on from a copy of another's state."""
  make, environment = LEARNERS[name]
  seen = jax.tree.map(lambda x: np.asarray(x[0]), history(name))

  def told(state, first, last):
    update = jax.jit(make().update)
    for t in range(first, last):
      outcome = jax.tree.map(lambda x, t=t: x[t], seen.outcome)
      state = update(state, seen.observation[t], seen.action[t], outcome)
    return jax.tree.map(np.array, state)

  half = told(make().init(environment.spec), 0, STEPS // 2)
  # Sums of rewards, one by one here and together there.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
    told(half, STEPS // 2, STEPS),
    seen.learner,
  )


@each
def test_the_better_action_is_found(name):
  late = history(name).outcome.reward[:, STEPS // 2 :].mean()
  # At random it is 0.4; the best pays 0.9.
  assert late > 0.6
