"""Forecasts of recorded fields, fitted before their classes are rewarded.

The first of the two stages of FAKER-Air, arXiv 2511.22169: squared errors along
forecasts that go on from forecasts, so that a policy meets its own errors.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from jaxrl_llm.environments.air import Air
from jaxrl_llm.policies.gaussian import Gaussian
from jaxrl_llm.types import Array, PyTree


def step_weights(horizon: int, least: float) -> Array:
  """How much the error of each step counts, rising towards the last.

      w_i = b + (1 - b) (i - 1) / (H - 1), divided by their sum

  Args:
    horizon: H >= 1; a single step has all the weight. least: b in (0, 1].

  Returns:
    f32[H] that add up to 1.

  Source: arXiv 2511.22169, the temporal accumulation loss.
  """
  weights = jnp.linspace(least, 1.0, horizon) if horizon > 1 else jnp.ones(1)
  return weights / jnp.sum(weights)


def accumulated(
  policy: Gaussian, environment: Air, params: PyTree, *, least: float
) -> Array:
  """The mean squared error of all records, each foretold to its end.

      L = sum_i w_i |y'_i - y_i|^2 / S    y'_i = mean(y'_{i-1}), y'_0 = y_0

  As in the published code, no gradient passes through what was foretold before.

  Args:
    least: of the weights, see `step_weights`.

  Source: arXiv 2511.22169, the temporal accumulation loss.
  """
  horizon = environment.horizon

  def step(state, _):
    said = policy.mode(params, environment.observe(state))
    state, _ = environment.step(state, jax.lax.stop_gradient(said), None)
    return state, said

  start = environment.reset(jnp.arange(environment.records), None)
  _, said = jax.lax.scan(step, start, length=horizon)
  recorded = jnp.moveaxis(jnp.asarray(environment.fields)[:, 1:], 1, 0)
  errors = jnp.mean((said - recorded) ** 2, axis=(1, 2))
  return jnp.sum(step_weights(horizon, least) * errors)


def fitted(
  policy: Gaussian,
  environment: Air,
  params: PyTree,
  *,
  steps: int,
  learning_rate: float,
  least: float,
) -> PyTree:
  """Parameters after so many steps of Adam on `accumulated`, of all records.

  Args:
    learning_rate: decays linearly to 0.
  """
  tx = optax.adam(optax.linear_schedule(learning_rate, 0.0, steps))

  def step(carry, _):
    params, state = carry
    gradient = jax.grad(
      lambda params: accumulated(policy, environment, params, least=least)
    )(params)
    updates, state = tx.update(gradient, state)
    return (optax.apply_updates(params, updates), state), None

  (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), length=steps)
  return params


def begun(environment, config: ConfigDict, policy, params: PyTree) -> PyTree:
  """What training begins with: fitted, where `warm_start.steps` says so.

  Raises:
    ValueError: an environment without records.
  """
  settings = config.warm_start
  if not settings.steps:
    return params
  if not isinstance(environment, Air):
    raise ValueError(
      f'warm_start.steps={settings.steps} fits forecasts to records, and the '
      f'environment {config.environment.name!r} has none; set it to 0, or use '
      'environment.name=air'
    )
  if not 0 < settings.least <= 1:
    raise ValueError(
      f'warm_start.least is {settings.least}; use a number in (0, 1]'
    )
  fit = jax.jit(lambda params: fitted(policy, environment, params, **settings))
  return fit(params)
