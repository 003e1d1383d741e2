"""Who takes part in a run: agents, teachers, an environment, a program."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxrl_llm import credit, reference
from jaxrl_llm.advantages import steps
from jaxrl_llm.objectives import aggregate
from jaxrl_llm.plans import (
  aligned,
  by_turn,
  episodes,
  led,
  rewritten,
  sampled,
  served,
)
from jaxrl_llm.policies.language import hf, parameters
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.rewards import duels
from jaxrl_llm.serving import programs
from jaxrl_llm.tasks import environments, hosted, toolbox, verifiers
from jaxrl_llm.training import hosts, shard
from jaxrl_llm.types import PyTree


def check(config: ConfigDict, recipe: Recipe) -> None:
  """Refuses a guest or verifier that is missing, or that nobody asked for.

  Raises:
    ValueError: with the setting and the remedy.
  """
  plan = recipe.plan
  oracle = config.verify.preference
  if oracle and not plays(recipe):
    raise ValueError(
      f'verify.preference={oracle!r} would do nothing: the recipe reads '
      'rewards and asks nobody who wins. Leave it out, or choose a recipe of '
      'a game, such as nash_md or sppo'
    )
  guests = (
    ('environment', 'environment', config.environment, 'lookup'),
    ('program', 'program', config.program, 'agent:solve'),
    ('teacher', 'teacher.paths', config.teacher.paths, "('FOLDER',)"),
  )
  for guest, setting, given, example in guests:
    if guest in plan.contract.asks and not given:
      raise ValueError(
        f'the recipe needs --config.{setting}, as in '
        f'--config.{setting}="{example}"'
      )
    if given and guest not in plan.contract.asks:
      raise ValueError(
        f'{setting}={given!r} would do nothing: the recipe asks for no '
        f'{guest}. Leave it out, or choose a recipe that does'
      )
  _check_reference(config, recipe)
  _check_agents(config, recipe)
  known = tuple(map(verifiers.name_of, config.verify.names))
  for name in plan.contract.scores:
    if name not in known:
      raise ValueError(
        f'the recipe reads scores named {name!r}, and the verifiers are '
        f'{known}; add {name}=VERIFIER to verify.names, with weight 0 if it '
        'is no reward'
      )


def _check_reference(config, recipe):
  """Refuses a soup of the start alone, and policies that nobody refers to."""
  paths, held = config.reference.paths, recipe.reference
  if isinstance(held, reference.Soup) and not paths:
    raise ValueError(
      'the recipe refers to a soup of policies, and there is one; name the '
      'others, as in --config.reference.paths="(\'FOLDER\',)"'
    )
  if paths and not recipe.refers:
    raise ValueError(
      f'reference.paths={paths!r} would do nothing: the recipe refers to no '
      'policy. Leave it out, or choose a recipe that does, such as salsa'
    )
  if paths and (config.model.lora_rank or config.model.adapter):
    raise ValueError(
      'a reference with LoRA is the frozen model with other deltas, which '
      'other models are not; leave out reference.paths, or train all weights '
      '(model.lora_rank=0)'
    )


def _check_agents(config, recipe):
  """Refuses several policies where nobody says who acts, or they are none."""
  settings, count = config.model, config.model.agents
  if count < 1 or (count == 1 and settings.frozen):
    raise ValueError(
      f'model.agents={count} and model.frozen={settings.frozen}: one policy '
      'learns, or several of which some may be frozen; set model.agents to '
      'the number of agents, or leave both out'
    )
  if count == 1:
    return
  if 'agent' not in recipe.plan.contract.provides:
    raise ValueError(
      f'model.agents={count}, and the plan of the recipe '
      f'{config.recipe.name} does not say who acts; set model.agents=1, or '
      'choose a recipe whose rows are turns, such as m_grpo'
    )
  for name, given in (
    ('program', config.program),
    ('model.lora_rank', settings.lora_rank),
    ('model.adapter', settings.adapter),
    ('reference.paths', config.reference.paths),
  ):
    if given:
      raise ValueError(
        f'{name}={given!r} is of one policy, and model.agents={count} are '
        f'trained; leave one of the two out'
      )


def plays(recipe: Recipe) -> bool:
  """Whether the recipe's rewards are chances to win."""
  stages = credit.stages_of(recipe.credit)
  return any(isinstance(stage, duels.Duels) for stage in stages)


def environment(config: ConfigDict) -> environments.Watched | None:
  """What answers the policy's turns, None where nothing does.

  A call of it that takes longer than `environment_seconds` ends the process,
  but for tools, whose calls have limits of their own.

  Raises:
    ValueError: there is none of that name, or `tools` says how those of a
      `Toolbox` are used and it is none.
  """
  limits = toolbox.Limits(**config.tools)
  kind = environments.kind_of(config.environment) if config.environment else ''
  seconds = config.environment_seconds
  if isinstance(kind, type) and issubclass(kind, toolbox.Toolbox):
    # All rows may hang in turn, and none of them may end the run.
    seconds = math.inf
    # The name under which a worker finds the class.
    spec = f'{kind.__module__}:{kind.__qualname__}'
    found: environments.Environment = hosted.Hosted(
      spec,
      limits,
      workers=config.verify.workers,
      own=hosts.own,
      join=hosts.texts,
    )
  elif limits != toolbox.Limits():
    raise ValueError(
      f'the settings {limits} would do nothing: environment='
      f'{config.environment!r} is no Toolbox; leave tools as they are'
    )
  elif not config.environment:
    return None
  else:
    found = environments.resolve(config.environment)
  return environments.Watched(
    found,
    name=config.environment,
    seconds=seconds,
    end=_end,
  )


def _end(sentence: str) -> None:
  print(f'error: {sentence}', file=sys.stderr, flush=True)
  sys.stdout.flush()
  os._exit(1)


def asked_by_program(config: ConfigDict, recipe: Recipe) -> Recipe:
  """The recipe whose rows are what the program of the run asks.

  Where an episode may have several rows, they count together as one.

  Raises:
    ValueError: a plan that samples in a way of its own, or a part that counts
      rows in a way that episodes do not.
  """
  plan = _inner(recipe.plan)
  kinds = sampled.Independent, episodes.MultiTurn, by_turn.Steps
  if not isinstance(plan, kinds):
    raise ValueError(
      f'program={config.program!r} and the plan {type(plan).__name__} of the '
      'recipe both say how rows are made; choose a recipe that samples '
      'independently, such as grpo, or one of turns, such as step_grpo'
    )
  if jax.process_count() > 1:
    raise ValueError(
      f'program={config.program!r} in {jax.process_count()} processes: '
      'programs are answered by one; start one process'
    )
  rows = config.serve.rows
  if isinstance(plan, by_turn.Steps):
    _check_led(plan, 'a program leads by what it asks')
    # Their recipes know what is of one episode.
    return _planned(
      recipe, served.Served(plan.episodes, plan.turns, apart=True)
    )
  made = served.Served(plan.samples, rows, plan.contract.columns)
  recipe = dataclasses.replace(recipe, plan=made)
  return _by_episode(recipe) if rows > 1 else recipe


def is_rewritten(config: ConfigDict) -> bool:
  """Whether the template writes the history of episodes anew, without HTTP."""
  anew = config.serve.history == 'template'
  return bool(anew and config.environment and not config.program)


def rewritten_by_template(config: ConfigDict, recipe: Recipe) -> Recipe:
  """The recipe whose turns are drawn behind what the template writes anew.

  Raises:
    ValueError: as of `asked_by_program`.
  """
  plan = _inner(recipe.plan)
  if 'environment' not in plan.contract.asks:
    return recipe
  if jax.process_count() > 1:
    raise ValueError(
      f'serve.history=template in {jax.process_count()} processes: its rows '
      'are found by one; start one process'
    )
  if isinstance(plan, by_turn.Steps):
    _check_led(plan, 'serve.history=template lets every episode lead itself')
    made = rewritten.Rewritten(plan.episodes, plan.turns, plan.turns, True)
    return _planned(recipe, made)
  if not isinstance(plan, episodes.MultiTurn):
    raise ValueError(
      f'serve.history=template and the plan {type(plan).__name__} of the '
      'recipe, which goes on from the tokens of turns: set '
      'serve.history=append, or choose a recipe such as flow_grpo_agent'
    )
  rows = config.serve.rows
  made = rewritten.Rewritten(plan.samples, plan.turns, rows)
  recipe = dataclasses.replace(recipe, plan=made)
  return _by_episode(recipe) if rows > 1 else recipe


def _check_led(plan: Any, why: str) -> None:
  """Refuses recorded turns where they would not lead."""
  if isinstance(plan, led.Led) and plan.recorded:
    raise ValueError(
      f'recipe.recorded={plan.recorded!r} would do nothing: {why}. Leave it out'
    )


def _inner(plan: Any) -> Any:
  """The plan that makes the rows, where another only aligns them."""
  return plan.plan if isinstance(plan, aligned.Aligned) else plan


def _planned(recipe: Recipe, made: Any) -> Recipe:
  """The recipe with another plan that makes the rows."""
  plan = recipe.plan
  if isinstance(plan, aligned.Aligned):
    made = dataclasses.replace(plan, plan=made)
  return dataclasses.replace(recipe, plan=made)


def _by_episode(recipe: Recipe) -> Recipe:
  """The recipe that counts episodes where it counted rows."""
  stages: list[credit.Transform] = []
  for stage in credit.stages_of(recipe.credit):
    if stage == credit.refine(steps.equal_turns):
      stages.append(credit.refine(steps.equal_turns_by_episode))
      continue
    if type(stage) is not credit.Estimate:
      raise ValueError(
        f'the stage {stage} of the recipe counts rows, of which an episode has '
        'several with serve.rows over 1; set serve.rows=1, or choose a recipe '
        'that estimates advantages alone, such as grpo'
      )
    stages.append(credit.EstimateByEpisode(stage.fn))
  if recipe.aggregate is aggregate.sequence_mean:
    stages.append(credit.WeighByEpisode())
  elif recipe.aggregate is not aggregate.token_mean:
    raise ValueError(
      f'the aggregate {recipe.aggregate} of the recipe counts rows, of which '
      'an episode has several with serve.rows over 1; set serve.rows=1, or '
      'slots.aggregate to token_mean or sequence_mean'
    )
  return dataclasses.replace(recipe, credit=credit.chain(*stages))


def program(config: ConfigDict) -> Any:
  """What asks the policy, None where nothing does.

  Raises:
    ValueError: there is no such program, or nothing to answer it with.
  """
  if not config.program:
    return None
  devices = config.mesh.data
  for name in ('workers', 'kept'):
    if config.serve[name] % max(devices, 1):
      raise ValueError(
        f'serve.{name}={config.serve[name]} is no multiple of mesh.data='
        f'{devices}, over which requests are split'
      )
  try:
    # Of an extra, which no other run needs.
    from jaxrl_llm.serving import host
  except ModuleNotFoundError as error:
    raise ValueError(
      f'program={config.program!r} needs the package {error.name}: install '
      'jaxrl_llm[serve], as with EXTRAS=serve launch/local.sh'
    ) from error
  return host.Host(config.program, programs.Limits(**config.serve))


def souped(
  config: ConfigDict, model: Config, mesh: jax.sharding.Mesh, start: PyTree
) -> PyTree:
  """The start averaged with the policies of `reference.paths`.

  Raises:
    ValueError: one of another architecture, or a weight outside [0, 1].
  """
  paths, weight = config.reference.paths, config.reference.weight
  if not paths:
    return start
  if not 0 <= weight <= 1:
    raise ValueError(f'reference.weight={weight} is not in [0, 1]')
  others = []
  for path in paths:
    source = hf.resolve(path)
    other = hf.config_of(source)
    if other != model:
      raise ValueError(
        f'{path} is {other} and the policy {model}; a soup is of policies of '
        'one architecture'
      )
    others.append(_parameters(source, model, mesh))
  return reference.souped(start, others, weight)


def teachers(
  config: ConfigDict,
  model: Config,
  mesh: jax.sharding.Mesh,
  scorer: Callable[[Config, ConfigDict], Any],
) -> tuple[tuple[Any, PyTree, Config], ...]:
  """The policies of `teacher.paths`: scorer, parameters and configuration.

  Args:
    model: of the policy. scorer: f(model, config) -> scorer.

  Raises:
    ValueError: a teacher with another vocabulary.
  """
  loaded = []
  for path in config.teacher.paths:
    source = hf.resolve(path)
    other = hf.config_of(source)
    if other.vocab != model.vocab:
      raise ValueError(
        f'the teacher {path} has {other.vocab} tokens and the policy '
        f'{model.vocab}; it must share the tokenizer'
      )
    params = _parameters(source, other, mesh)
    loaded.append((scorer(other, config), params, other))
  return tuple(loaded)


def _parameters(source, model, mesh) -> PyTree:
  """The decoder's parameters, as a program uses those of the policy."""
  shapes = jax.eval_shape(lambda: parameters.init(model, jax.random.key(0)))
  axes = {path: leaf.axes for path, leaf in parameters.table(model).items()}
  layout = shard.layout(mesh, axes, shapes)
  places = layout.shardings(shapes, whole='data')
  return hf.load(source, shardings=places)[1]
