import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.environments import distracted, grid, pendulum

KEY = jax.random.key(0)
PLAIN = pendulum.Pendulum(tasks=4, horizon=9)
WORLD = distracted.Distracted(PLAIN, dimensions=3, spread=2.0, gain=3.0)
TASKS = jnp.array([2, 0, 1, 3])


def walked(environment, steps=9):
  step = jax.jit(environment.step)
  state, seen = environment.reset(TASKS, KEY), []
  for t in range(steps):
    seen.append(environment.observe(state))
    action = jnp.sin(jnp.arange(4.0) + t)[:, None]
    state, outcome = step(state, action, KEY)
  return np.stack(seen), outcome


def test_what_matters_goes_on_as_without():
  shown, outcome = walked(WORLD)
  plain, expected = walked(PLAIN)
  np.testing.assert_allclose(shown[..., :3], plain, atol=1e-5)
  np.testing.assert_allclose(outcome.reward, expected.reward, rtol=1e-5)
  np.testing.assert_array_equal(outcome.truncated, expected.truncated)


def test_distractions_move_by_their_law():
  shown, _ = walked(WORLD)
  drawn = np.random.default_rng(0).normal(size=(3, 3))
  for now, after in zip(shown[:-1, :, 3:], shown[1:, :, 3:]):
    for row, moved in zip(now, after):
      law = 2.0 * np.sin(3.0 / np.sqrt(3) * drawn @ np.float64(row))
      np.testing.assert_allclose(moved, law, atol=1e-5)


def test_they_do_not_settle_where_the_gain_is_large():
  world = dataclasses.replace(WORLD, dimensions=6)
  shown, _ = walked(world, steps=120)
  assert np.all(np.abs(np.diff(shown[100:, :, 3:], axis=0)).max(axis=0) > 0.3)


def test_what_shows_no_vectors_is_refused():
  with pytest.raises(ValueError, match='behind vectors'):
    distracted.Distracted(grid.Grid(), dimensions=2)
