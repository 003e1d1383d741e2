import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.environments import base, point_mass
from tests.oracles import environments as oracle

KEY = jax.random.key(0)
MASS = point_mass.PointMass(goals=4, horizon=6)


def starts(environment):
  """Where each goal makes the row begin, seen from the goal."""
  angle = 2 * np.pi * np.arange(environment.goals) / environment.goals
  away = -environment.distance * np.stack([np.cos(angle), np.sin(angle)])
  return np.concatenate([away.T, np.zeros((environment.goals, 2))], axis=1)


def test_it_moves_as_written():
  environment = dataclasses.replace(MASS, noise=0.0)
  actions = np.random.default_rng(0).normal(size=(6, 2))
  start = starts(environment)[1]
  path = oracle.point_mass_path(
    environment, start, actions, np.zeros_like(actions)
  )
  state = environment.reset(jnp.array([1]), KEY)
  for number, action in enumerate(actions):
    push = jnp.asarray(action, jnp.float32)[None]
    state, outcome = environment.step(state, push, KEY)
    seen = environment.observe(state)[0]
    np.testing.assert_allclose(seen[:2], -path[number, :2], atol=1e-5)
    np.testing.assert_allclose(seen[2:4], path[number, 2:], atol=1e-5)
    np.testing.assert_allclose(seen[4], 1 - (number + 1) / 6, atol=1e-6)
    cost = environment.effort * action @ action
    cost += path[-1] @ path[-1] if number == 5 else 0.0
    np.testing.assert_allclose(outcome.reward[0], -cost, rtol=1e-4)


def test_optimum_equals_least_squares_over_all_pushes():
  respond = oracle.point_mass_response(MASS)

  def cost(start, steps):
    return oracle.least_cost(respond, 2, np.array(start), steps=steps)

  # A kick of the velocity moves the mass in its own step, too.
  kicks = MASS.noise * np.concatenate([MASS.interval * np.eye(2), np.eye(2)])
  shaken = sum(
    cost(kick, left) if left else kick @ kick
    for kick in kicks.T
    for left in range(MASS.horizon)
  )
  expected = [-cost(start, MASS.horizon) - shaken for start in starts(MASS)]
  np.testing.assert_allclose(MASS.optimal_return, expected, rtol=1e-8)


def test_the_best_pushes_reach_the_optimum():
  tasks = jnp.repeat(jnp.arange(4), 3000)

  def choose(state, key):
    return MASS.optimal_action(MASS.observe(state))

  found = jax.jit(lambda: base.returns(MASS, choose, tasks, KEY))()
  found = np.asarray(found).reshape(4, -1)
  error = found.std(axis=1) / np.sqrt(found.shape[1])
  # Four tasks at five standard errors: wrong once in 400,000 seeds.
  assert np.all(np.abs(found.mean(axis=1) - MASS.optimal_return) < 5 * error)


def test_late_pushes_are_not_early_ones():
  early, late = np.array([[1.0, 0.0, 0.0, 0.0, 1.0], [1.0, 0, 0, 0, 1 / 6]])
  found = MASS.optimal_action(jnp.asarray([early, late], jnp.float32))
  assert abs(found[0, 0] - found[1, 0]) > 0.1
