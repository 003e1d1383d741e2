import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.environments import pendulum
from tests.oracles import environments as oracle

KEY = jax.random.key(0)


def test_it_moves_and_pays_as_gymnasium_says():
  environment = pendulum.Pendulum(tasks=16)
  state = environment.reset(jnp.arange(16), KEY)
  angle, speed = environment.starts.T
  rng = np.random.default_rng(0)
  step = jax.jit(environment.step)
  for _ in range(20):
    torque = rng.uniform(-3, 3, 16)
    # From the state reached, or the two would drift apart by rounding.
    angle, speed = np.float64(state.angle), np.float64(state.speed)
    angle, speed, reward = oracle.pendulum_step(angle, speed, torque)
    action = jnp.asarray(torque, jnp.float32)[:, None]
    state, outcome = step(state, action, KEY)
    np.testing.assert_allclose(outcome.reward, reward, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(state.angle, angle, atol=1e-5)
    np.testing.assert_allclose(state.speed, speed, atol=1e-5)
    seen = np.stack([np.cos(angle), np.sin(angle), speed], axis=1)
    np.testing.assert_allclose(environment.observe(state), seen, atol=1e-5)


def test_speed_and_torque_are_bounded():
  environment = pendulum.Pendulum(tasks=1)
  state = environment.reset(jnp.array([0]), KEY)
  state = state.replace(angle=jnp.array([1.5]), speed=jnp.array([7.9]))
  full, _ = environment.step(state, jnp.array([[2.0]]), KEY)
  more, outcome = environment.step(state, jnp.array([[9.0]]), KEY)
  assert full.speed[0] == more.speed[0] == 8
  np.testing.assert_allclose(
    outcome.reward[0], -(1.5**2 + 0.1 * 7.9**2 + 0.004), rtol=1e-6
  )


def test_tasks_cover_the_starts_of_gymnasium_evenly():
  starts = pendulum.Pendulum(tasks=400).starts / np.array([np.pi, 1.0])
  counts, _, _ = np.histogram2d(*starts.T, bins=4, range=[[-1, 1], [-1, 1]])
  # Of random places, the fullest square would have nine too many or too few.
  assert np.all(np.abs(counts - 25) <= 4)
  np.testing.assert_array_equal(
    pendulum.Pendulum(tasks=7).starts * np.array([1 / np.pi, 1.0]), starts[:7]
  )


def test_the_reference_swings_up_and_comes_close_to_the_optimum():
  environment = pendulum.Pendulum(tasks=64)
  angle, speed = environment.starts.T
  total = np.zeros(64)
  for _ in range(200):
    seen = np.stack([np.cos(angle), np.sin(angle), speed], axis=1)
    torque = np.asarray(pendulum.swing_up(jnp.asarray(seen)))[:, 0]
    angle, speed, reward = oracle.pendulum_step(angle, speed, torque)
    total += reward
  assert np.max(np.abs(np.sin(angle))) < 1e-3 and np.all(np.cos(angle) > 0)
  assert np.max(np.abs(speed)) < 1e-2
  np.testing.assert_allclose(environment.reference_return, total, rtol=1e-2)
  best = oracle.pendulum_optimum(environment.starts, steps=200)
  # The grid of the oracle is coarse; a finer one moves it by 1 %.
  assert 1.12 * best < total.mean() < best
