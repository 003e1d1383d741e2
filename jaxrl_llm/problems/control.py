"""Control: a small policy in a pure environment whose optimum is known."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping

import numpy as np
from ml_collections import ConfigDict

from jaxrl_llm.environments import (
  air,
  grid,
  pendulum,
  point_mass,
  quadratic,
  ranks,
)
from jaxrl_llm.environments.base import Box, Discrete, Environment
from jaxrl_llm.policies import acting
from jaxrl_llm.policies.categorical import Categorical, Softmax
from jaxrl_llm.policies.gaussian import Gaussian
from jaxrl_llm.policies.protocol import Actor
from jaxrl_llm.problems import pure
from jaxrl_llm.problems.pure import check, fingerprints, recipe_of
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.spelling import suggestion

__all__ = ['ENVIRONMENTS', 'assemble', 'check', 'fingerprints', 'recipe_of']

# By the names of `environment.name`.
ENVIRONMENTS: Mapping[str, Callable[[], Environment]] = {
  'regulator': quadratic.double_integrator,
  'pendulum': pendulum.Pendulum,
  'point_mass': point_mass.PointMass,
  'air': air.Air,
  'ranks': ranks.Ranks,
  'grid': grid.Grid,
  'cliff': functools.partial(grid.Grid, rows=grid.CLIFF),
}


def assemble(config: ConfigDict, workdir: pathlib.Path, *, abstract=False):
  """See `jaxrl_llm.problems.assemble`."""
  del workdir
  environment = environment_of(config.environment.name)
  spec = environment.spec
  optimum = getattr(environment, 'optimal_return', np.nan)
  return pure.assembled(
    config,
    functools.partial(policy_of, environment, config),
    lambda policy: functools.partial(acting.unroll, policy, environment),
    tasks=spec.tasks,
    columns=spec.horizon,
    optimum=float(np.mean(optimum)),
    abstract=abstract,
  )


def environment_of(name: str) -> Environment:
  """The environment of that name.

  Raises:
    ValueError: an unknown one.
  """
  if name not in ENVIRONMENTS:
    raise ValueError(
      f'unknown environment {name!r}. {suggestion(name, ENVIRONMENTS)}'
    )
  return ENVIRONMENTS[name]()


def policy_of(
  environment: Environment, config: ConfigDict, recipe: Recipe
) -> Actor:
  """A policy that sees and does what the environment asks.

  Raises:
    ValueError: no policy does.
  """
  spec, critic = environment.spec, 'values' in recipe.statistics
  match spec.observation, spec.action:
    case Box(shape=(seen,)), Box(shape=(done,)):
      return Gaussian(
        seen,
        done,
        widths=tuple(config.policy.widths),
        log_std=config.policy.log_std,
        critic=critic,
      )
    case Box(shape=(seen,)), Discrete(count=actions):
      widths = tuple(config.policy.widths)
      return Softmax(seen, actions, critic=critic, widths=widths)
    case Discrete(count=states), Discrete(count=actions):
      return Categorical(states, actions, critic=critic)
  raise ValueError(
    f'no policy sees {spec.observation} and does {spec.action}; there are '
    'Gaussian (vectors to vectors), Softmax (vectors to numbers) and '
    'Categorical (numbers to numbers)'
  )
