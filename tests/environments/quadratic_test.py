import dataclasses

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.environments import base, quadratic
from tests.oracles import environments as oracle

KEY = jax.random.key(0)
CART = quadratic.double_integrator(horizon=8)


def tuples(matrix):
  return tuple(map(tuple, np.asarray(matrix).tolist()))


def random_system(seed):
  """A system of two or three states and one or two actions, of any kind."""
  rng = np.random.default_rng(seed)
  n, m, k = rng.integers(2, 4), rng.integers(1, 3), rng.integers(1, 3)

  def cost(size):
    root = rng.normal(size=(size, size))
    return tuples(root @ root.T + 0.1 * np.eye(size))

  return quadratic.Quadratic(
    dynamics=tuples(0.6 * rng.normal(size=(n, n))),
    control=tuples(rng.normal(size=(n, m))),
    noise=tuples(0.3 * rng.normal(size=(n, k))),
    state_cost=cost(n),
    action_cost=cost(m),
    final_cost=cost(n),
    starts=tuples(rng.normal(size=(3, n))),
    horizon=int(rng.integers(1, 6)),
  )


def least_costs(environment):
  """The optimum of each task: of its start, and of every kick of the noise.

  What a kick costs is what it costs to start there, with the steps left.
  """
  respond = oracle.quadratic_response(environment)
  actions = np.shape(environment.control)[1]

  def cost(start, steps):
    return oracle.least_cost(respond, actions, np.array(start), steps=steps)

  kicks = sum(
    cost(column, left) if left else column @ environment.final_cost @ column
    for column in np.transpose(environment.noise)
    for left in range(environment.horizon)
  )
  return -np.array(
    [cost(start, environment.horizon) + kicks for start in environment.starts]
  )


@hypothesis.given(st.integers(0, 10_000))
def test_optimum_equals_least_squares_over_all_actions(seed):
  environment = random_system(seed)
  np.testing.assert_allclose(
    environment.optimal_return, least_costs(environment), rtol=1e-8
  )


@hypothesis.given(st.integers(0, 10_000))
def test_the_value_of_the_recursion_is_that_of_its_policy(seed):
  environment = random_system(seed)
  _, costs = quadratic.riccati(
    environment.dynamics,
    environment.control,
    environment.state_cost,
    environment.action_cost,
    environment.final_cost,
    environment.horizon,
  )
  starts = np.array(environment.starts)
  noise = np.array(environment.noise)
  kicks = sum(np.trace(noise.T @ cost @ noise) for cost in costs[1:])
  expected = -np.einsum('ai,ij,aj->a', starts, costs[0], starts) - kicks
  np.testing.assert_allclose(environment.optimal_return, expected, rtol=1e-8)


@hypothesis.given(st.integers(0, 10_000))
def test_other_gains_and_noisy_actions_are_worse(seed):
  environment = random_system(seed)
  rng = np.random.default_rng(seed)
  gains = environment.optimal_gains
  other = gains + 0.1 * rng.normal(size=gains.shape)
  best = environment.optimal_return
  assert np.all(environment.expected_return(other) < best)
  assert np.all(environment.expected_return(gains, 0.1) < best)


@pytest.mark.parametrize(('scale', 'spread'), [(1.0, 0.0), (0.6, 0.3)])
def test_simulated_returns_have_the_exact_mean(scale, spread):
  gains = scale * CART.optimal_gains
  table = jnp.asarray(gains, jnp.float32)

  def choose(state, key):
    noise = spread * jax.random.normal(key, (state.x.shape[0], 1))
    return -jnp.sum(table[state.time] * state.x[:, None, :], axis=-1) + noise

  tasks = jnp.repeat(jnp.arange(4), 4000)
  found = jax.jit(lambda: base.returns(CART, choose, tasks, KEY))()
  found = np.asarray(found).reshape(4, -1)
  expected = CART.expected_return(gains, spread)
  error = found.std(axis=1) / np.sqrt(found.shape[1])
  # Four tasks at five standard errors: wrong once in 400,000 seeds.
  assert np.all(np.abs(found.mean(axis=1) - expected) < 5 * error)
  if scale == 1:
    np.testing.assert_allclose(expected, CART.optimal_return)


def test_the_cart_needs_no_clock():
  gains = CART.optimal_gains
  np.testing.assert_allclose(gains, np.broadcast_to(gains[0], gains.shape))


def test_a_step_is_the_formula():
  environment = random_system(0)
  quiet = dataclasses.replace(
    environment, noise=tuples(np.zeros_like(environment.noise)), horizon=2
  )
  a, b = np.array(quiet.dynamics), np.array(quiet.control)
  q, r, f = map(
    np.array, (quiet.state_cost, quiet.action_cost, quiet.final_cost)
  )
  state = quiet.reset(jnp.array([1]), KEY)
  x = np.array(quiet.starts[1])
  for number in range(2):
    u = np.full(b.shape[1], 0.3 + number)
    state, outcome = quiet.step(state, jnp.asarray(u, jnp.float32)[None], KEY)
    cost = x @ q @ x + u @ r @ u
    x = a @ x + b @ u
    cost += x @ f @ x if number else 0.0
    np.testing.assert_allclose(state.x[0], x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outcome.reward[0], -cost, rtol=1e-5)
    assert bool(outcome.terminated[0]) == bool(number)


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    ({'starts': ((1.0,),)}, r'starts is \(1, 1\) .* make it \(1, 2\)'),
    ({'noise': ((1.0,),)}, r'noise is \(1, 1\) .* make it \(2, 1\)'),
    ({'final_cost': ((1.0, 1.0), (0.0, 1.0))}, 'final_cost is not symmetric'),
    ({'action_cost': ((0.0,),)}, 'eigenvalue 0'),
  ],
)
def test_a_problem_without_an_optimum_is_refused(change, words):
  with pytest.raises(ValueError, match=words):
    dataclasses.replace(CART, **change)
