"""Control: a small policy in a pure environment whose optimum is known."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
from ml_collections import ConfigDict

from jaxrl_llm.environments import (
  air,
  debate,
  grid,
  pendulum,
  point_mass,
  quadratic,
  ranks,
  research,
  teams,
  werewolf,
)
from jaxrl_llm.environments.base import Box, Discrete, Environment
from jaxrl_llm.plans import acted
from jaxrl_llm.policies import acting, agents
from jaxrl_llm.policies.categorical import Categorical, Softmax
from jaxrl_llm.policies.gaussian import Gaussian
from jaxrl_llm.policies.graph import GraphBuilder
from jaxrl_llm.policies.hyperbolic import Hyperbolic
from jaxrl_llm.policies.protocol import Actor
from jaxrl_llm.policies.several import Several
from jaxrl_llm.problems import forecasts, pure
from jaxrl_llm.problems.pure import check, fingerprints
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
  'werewolf': werewolf.Werewolf,
  'research': research.Research,
  'teams': teams.Teams,
  'debate': debate.Debate,
}


def assemble(config: ConfigDict, workdir: pathlib.Path, *, abstract=False):
  """See `jaxrl_llm.problems.assemble`."""
  del workdir
  environment = environment_of(config.environment.name)
  check(config)
  recipe, spec = recipe_of(config), environment.spec
  run = writer_of(config, environment, recipe)
  optimum = getattr(environment, 'optimal_return', np.nan)
  return pure.assembled(
    config,
    functools.partial(policy_of, environment, config),
    lambda policy: functools.partial(run, policy, environment),
    tasks=spec.tasks,
    columns=spec.horizon,
    optimum=float(np.mean(optimum)),
    abstract=abstract,
    recipe=recipe,
    optimizer_of=functools.partial(optimizer_of, config),
    exact_of=functools.partial(exact_of, environment),
    begun=functools.partial(forecasts.begun, environment, config),
  )


def writer_of(config: ConfigDict, environment: Environment, recipe: Recipe):
  """What plays the episodes of a policy.

  Raises:
    ValueError: opposite noise where actions have none, or agents act.
  """
  # Plans for agents ask who acted, and what single actions were worth.
  agents_act = bool(recipe.plan.contract.provides)
  if not config.policy.opposite:
    return acting.played if agents_act else acting.unroll
  if agents_act or not isinstance(environment.spec.action, Box):
    raise ValueError(
      'policy.opposite draws pairs of rows with opposite normal noise, and '
      f'nobody acts so in the environment {config.environment.name!r} by '
      f'{config.recipe.name!r}; leave it False'
    )
  if recipe.plan.contract.samples % 2:
    raise ValueError(
      f'policy.opposite draws pairs, and a group has '
      f'{recipe.plan.contract.samples} rows; set recipe.samples to an even '
      'number'
    )
  return acting.in_pairs


def recipe_of(config: ConfigDict) -> Recipe:
  """See `jaxrl_llm.problems.recipe_of`; plans for agents act here."""
  spec = environment_of(config.environment.name).spec
  return pure.recipe_of(config, functools.partial(acted.acted, spec=spec))


def optimizer_of(config: ConfigDict, policy: Actor, tx: pure.Optimizer):
  """The optimizer, one for each of several agents.

  Raises:
    ValueError: an agent that does not learn, where there is one policy.
  """
  frozen = tuple(config.policy.frozen)
  if isinstance(policy, Several):
    return agents.apart(tx, len(policy.agents), frozen)
  if frozen:
    raise ValueError(
      f'policy.frozen is {frozen}, and one policy acts in the environment '
      f'{config.environment.name!r}; leave it empty'
    )
  return tx


def exact_of(environment: Environment, policy: Actor) -> pure.Exact:
  """What is known of the policy in a game: how far it can be exploited."""
  seen = environment.spec.observation
  replies = getattr(environment, 'best_replies', None)
  if replies is None or not isinstance(seen, Discrete):
    return lambda params: {}
  table, states = cast(Categorical, policy), np.arange(seen.count)

  def exact(params):
    most, least = replies(np.exp(table.log_probs(params, states)))
    return {'exploitability': most - least}

  return exact


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


def _softmax(space: str) -> type[Softmax]:
  """The policy whose features are in a space."""
  known = {'flat': Softmax, 'hyperbolic': Hyperbolic}
  if space not in known:
    raise ValueError(
      f'unknown policy.space {space!r}. {suggestion(space, known)}'
    )
  return known[space]


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
    case Box(shape=(seen,)), Discrete(count=actions) if isinstance(
      environment, teams.Teams
    ):
      return GraphBuilder(seen, actions, critic)
    case Discrete(count=states), Discrete(count=actions) if spec.agents:
      return Several(states, actions, critic, agents=spec.agents)
    case Box(shape=(seen,)), Discrete(count=actions):
      kind = _softmax(config.policy.space)
      widths, answers = tuple(config.policy.widths), recipe.critic.shape
      return kind(seen, actions, critic=critic, widths=widths, answers=answers)
    case Discrete(count=states), Discrete(count=actions):
      return Categorical(states, actions, critic=critic)
  raise ValueError(
    f'no policy sees {spec.observation} and does {spec.action}; there are '
    'Gaussian (vectors to vectors), Softmax (vectors to numbers) and '
    'Categorical (numbers to numbers)'
  )
