"""Refuses settings that cannot work or do nothing, before a run starts."""

from __future__ import annotations

import math
import re

from flax import traverse_util

from experiments.command import Refused, overridden


def _from(config, *kinds: str) -> bool:
  """Whether a source of questions is of one of these kinds."""
  from jaxrl_llm.tasks import addresses

  data = config.data
  found = (*addresses.training(data), *addresses.held_out(data))
  return any(address.kind in kinds for address in found)


def _generated(config) -> bool:
  """No question comes from records."""
  return not _from(config, 'file', 'folder', 'hub')


def _recorded(config) -> bool:
  """No question to train on is generated."""
  from jaxrl_llm.tasks import addresses

  sources = addresses.training(config.data)
  return all(address.kind != 'generated' for address in sources)


def _held_out_recorded(config) -> bool:
  """The held-out questions are all those of records of their own."""
  from jaxrl_llm.tasks import addresses

  others = addresses.held_out(config.data)
  return bool(others) and all(x.kind != 'generated' for x in others)


def _inline(config) -> bool:
  """No verifier needs a process of its own."""
  from jaxrl_llm.tasks import verifiers

  return all(map(verifiers.is_inline, config.verify.names))


def _has_tools(config) -> bool:
  """The environment is a class of tools, whose calls have limits each."""
  from jaxrl_llm.tasks import environments, toolbox

  kind = environments.kind_of(config.environment)
  return isinstance(kind, type) and issubclass(kind, toolbox.Toolbox)


def _no_lora(config) -> bool:
  return not config.model.lora_rank


def _no_warm_start(config) -> bool:
  return not config.warm_start.steps


def _no_lag(config) -> bool:
  """No token is weighed for its age, or the recipe weighs it already."""
  if not config.pipeline:
    return True
  from jaxrl_llm import compose
  from jaxrl_llm.training import pipeline

  return pipeline.corrects_itself(compose.from_config(config))


def _never_sampled(config) -> bool:
  """Responses are recorded, and nobody judges those of the policy."""
  if 'data' not in config:
    return False
  return config.data.responses != 'sampled' and not config.verify.names


def _unread(name: str, config) -> bool:
  """The optimizer does without this setting."""
  from jaxrl_llm import optimizers

  return name not in optimizers.READS.get(config.optimizer.name, ())


# How a run is evaluated, apart from when.
_EVALUATION = (
  'samples',
  'prompts',
  'temperature',
  'top_p',
  'max_response',
  'sets',
  'saved',
)

# Settings that do nothing where the condition on the config holds.
_INERT = (
  (
    'pipeline_cap',
    _no_lag,
    'pipeline is 0, or the recipe has an importance weight of its own',
  ),
  ('model.fresh', lambda c: bool(c.model.path), 'model.path is given'),
  ('model.chunk', lambda c: c.model.block > 0, 'model.block is given'),
  ('model.lora_alpha', _no_lora, 'model.lora_rank is 0'),
  ('model.lora_targets', _no_lora, 'model.lora_rank is 0'),
  ('warm_start.batch', _no_warm_start, 'warm_start.steps is 0'),
  ('warm_start.learning_rate', _no_warm_start, 'warm_start.steps is 0'),
  *(
    (f'eval.{name}', lambda c: not c.eval.every, 'eval.every is 0')
    for name in _EVALUATION
  ),
  *(
    (name, _never_sampled, 'nothing is sampled without verify.names')
    for name in (
      *(f'eval.{name}' for name in _EVALUATION),
      'sample.top_k',
      'sample.top_p',
      'sample.min_p',
      'sample.unroll',
      'sample.slots',
      'sample.widths',
      'sample.support',
      'model.replay_routes',
      'sample.stop',
      'sample.special',
    )
  ),
  ('data.level', lambda c: not _from(c, 'generated'), 'data.path is a file'),
  ('data.size', _recorded, 'data.path is a file'),
  (
    'data.subset',
    lambda c: not _from(c, 'hub'),
    'data.path is no dataset of the Hugging Face hub',
  ),
  (
    'data.split',
    lambda c: not _from(c, 'hub', 'folder'),
    'data.path is neither a folder nor a dataset of the hub',
  ),
  ('data.prompt_field', _generated, 'data.path is a generated task'),
  ('data.answer_field', _generated, 'data.path is a generated task'),
  (
    'data.held_out',
    _held_out_recorded,
    'data.held_out_path is given',
  ),
  *(
    (
      f'optimizer.{name}',
      lambda c, name=name: _unread(name, c),
      'the optimizer of optimizer.name does not read it',
    )
    for name in ('b1', 'b2', 'epsilon', 'moment_dtype', 'weight_decay')
  ),
  (
    'optimizer.norms',
    lambda c: c.optimizer.schedule != 'refined',
    'optimizer.schedule is not refined',
  ),
  (
    'masked.readings',
    lambda c: c.masked.estimate != 'elbo',
    'masked.estimate is not elbo',
  ),
  ('log.tokens', lambda c: not c.log.samples, 'log.samples is 0'),
  ('log.project', lambda c: not c.log.trackers, 'log.trackers is empty'),
  *(
    (name, lambda c: not c.environment, 'environment is empty')
    for name in ('environment_seconds', 'sample.keep')
  ),
  (
    'environment_seconds',
    _has_tools,
    'a Toolbox has tools.seconds and tools.episode_seconds instead',
  ),
  *(
    (f'serve.{name}', lambda c: not c.program, 'program is empty')
    for name in ('workers', 'seconds', 'requests', 'tokens', 'answer')
    + ('bytes', 'kept')
  ),
  (
    'serve.history',
    lambda c: not (c.program or c.environment),
    'program and environment are empty',
  ),
  (
    'serve.rows',
    lambda c: (
      not (c.program or (c.environment and c.serve.history == 'template'))
    ),
    'program is empty, and no history of episodes is written anew',
  ),
  (
    'model.replay_routes',
    lambda c: bool(c.program),
    'answers to a program are kept without their experts',
  ),
  ('verify.seconds', _inline, 'these verifiers need no process'),
  ('verify.workers', _inline, 'these verifiers need no process'),
)
# What evaluation of a model folder reads.
_EVALUATED = (
  'seed',
  'model.path',
  'model.adapter',
  'model.attention',
  'model.dtype',
  'data',
  'verify',
  'sample',
  'mesh',
  *(f'eval.{name}' for name in _EVALUATION if name not in ('samples', 'saved')),
)


def check_overrides(config, *, evaluation: bool = False) -> None:
  """Refuses a setting on the command line that would do nothing.

  Args:
    evaluation: nothing is trained.

  Raises:
    Refused: naming it and why.
  """
  for name in overridden():
    for prefix, inert, why in _INERT:
      # The command says itself when and how often.
      asked = evaluation and prefix.startswith('eval.')
      if _below(name, prefix) and inert(config) and not asked:
        raise Refused(f'--config.{name} would do nothing: {why}')
    if evaluation and not any(_below(name, p) for p in _EVALUATED):
      raise Refused(f'--config.{name} would do nothing: nothing is trained')
  if not evaluation:
    _check_methods(config)


def _check_methods(config) -> None:
  """Refuses hyper-parameters and slots that leave the method as it is.

  One kind belongs to a part that a slot replaces. Another bounds a ratio that
  is 1 whatever the bounds: with one optimizer step an iteration the learner
  differentiates at the policy that sampled. Such a one is tried: the slopes of
  the loss in random log-probs are the same with it and without.
  """
  from jaxrl_llm import compose
  from jaxrl_llm import recipe as recipe_lib

  given = compose.from_config(config)
  fresh = given.steps == 1 and not config.get('pipeline')
  clips = ('objective.surrogate', 'objective.gate')
  for key, value, plain, other in _without_each(config):
    slots = recipe_lib.diff(given, other)
    if not slots and plain:
      raise Refused(
        f'--config.{key}={value} would do nothing: the part that it belongs to '
        'is replaced by --config.slots; leave one of the two out'
      )
    if fresh and slots and all(slot.startswith(clips) for slot in slots):
      if _same_on_policy(given.objective, other.objective):
        raise Refused(
          f'--config.{key}={value} would do nothing: with one optimizer step '
          'an iteration the ratio to the sampling policy is 1. Take several, '
          'as in --config.recipe.minibatches=4, where the recipe has that '
          'setting'
        )


def _without_each(config):
  """Each setting of the method on the command line, and the recipe without it.

  Yields:
    Its name and value, whether it changes the recipe where no slot is
    replaced, and the recipe.
  """
  from jaxrl_llm import compose, recipes
  from jaxrl_llm import recipe as recipe_lib

  values = config.recipe.to_dict()
  slots = dict(config.get('slots', {}))
  for key in overridden():
    section, _, leaf = key.rpartition('.')
    usual, fewer, plain = values, slots, False
    value = values.get(leaf)
    if section == 'recipe' and leaf in values and leaf != 'name':
      usual = values | {leaf: recipes.get(values['name']).defaults[leaf]}
    elif section == 'slots' and slots.get(leaf):
      value, fewer = slots[leaf], slots | {leaf: ''}
    else:
      continue
    try:
      without = recipes.build(**usual)
      other = compose.compose(without, **fewer)
    except ValueError:
      continue  # The others do not go without it.
    if usual is not values:
      plain = bool(recipe_lib.diff(recipes.build(**values), without))
    yield key, value, plain, other


def _same_on_policy(first, second) -> bool:
  """Whether two objectives have one slope at the policy that sampled."""
  import jax
  import jax.numpy as jnp

  from jaxrl_llm.reads import united

  if united((*first.parts, *second.parts)):
    return False  # They read more than can be made up here.
  keys = jax.random.split(jax.random.key(0), 2)
  old = -jax.random.exponential(keys[0], (8, 16))
  advantages = 3 * jax.random.normal(keys[1], (8, 1)) + jnp.zeros((8, 16))
  mask = jnp.ones((8, 16), bool)

  def slope(objective):
    def loss(logp):
      gate = objective.gate(old, old, advantages, mask)
      return jnp.sum(gate * objective.surrogate(logp, old, advantages, mask))

    return jax.grad(loss)(old)

  # Formulas that agree may round differently.
  return bool(jnp.allclose(slope(first), slope(second), rtol=1e-5, atol=0))


def _below(name: str, prefix: str) -> bool:
  return f'{name}.'.startswith(f'{prefix}.')


# The least value of a setting, where a smaller one means nothing.
_LEAST = {
  'steps': 0,
  'data.epochs': 0.0,
  'max_bad_steps': 1,
  'max_idle_steps': 0,
  'pipeline': 0,
  'model.fresh.layers': 1,
  'model.fresh.width': 1,
  'model.fresh.heads': 1,
  'model.fresh.kv_heads': 1,
  'model.fresh.mlp_width': 1,
  'model.chunk': 0,
  'model.block': 0,
  'model.lora_rank': 0,
  'data.shots': 0,
  'data.size': 1,
  'data.held_out': 1,
  'verify.seconds': 0.001,
  'environment_seconds': 0.001,
  'serve.workers': 1,
  'serve.seconds': 0.001,
  'serve.requests': 1,
  'serve.tokens': 1,
  'serve.answer': 0,
  'serve.bytes': 1,
  'serve.rows': 1,
  'verify.workers': 1,
  'sample.prompts': 1,
  'sample.max_prompt': 1,
  'sample.max_response': 1,
  'sample.slots': 0,
  'sample.widths': 1,
  'sample.support': 0,
  'learn.microbatches': 1,
  'learn.widths': 1,
  'optimizer.learning_rate': 0.0,
  'optimizer.warmup': 0,
  'optimizer.epsilon': 0.0,
  'optimizer.weight_decay': 0.0,
  'warm_start.steps': 0,
  'warm_start.batch': 1,
  'warm_start.learning_rate': 0.0,
  'eval.every': 0,
  'eval.samples': 0,
  'eval.prompts': 0,
  'eval.temperature': 0.0,
  'eval.top_p': 0.0,
  'eval.max_response': 0,
  'eval.saved': -1,
  'checkpoint.every': 1,
  'checkpoint.keep': 1,
  'checkpoint.keep_every': 0,
  'log.samples': 0,
  'flow.places': 1,
  'flow.steps': 1,
  'flow.noise': 1e-6,
  'masked.digits': 2,
  'masked.length': 1,
  'masked.steps': 1,
  'masked.readings': 1,
  'policy.layers': 1,
  'policy.width': 1,
  'policy.heads': 1,
  'policy.mlp_width': 1,
  'recipe.samples': 1,
  'recipe.epochs': 1,
  'recipe.minibatches': 1,
  'recipe.rounds': 1,
}
# Decays and discounts, where 1 forgets nothing; the first ones divide by 1 - b.
_BELOW_ONE = ('optimizer.b1', 'optimizer.b2')
_AT_MOST_ONE = ('recipe.discount', 'recipe.trace')
# Rates that must be a number; elsewhere inf is off, or all there is.
_FINITE = ('optimizer.learning_rate', 'warm_start.learning_rate')
# Of recipes: below 0 a bound excludes the policy that sampled, and a cost pays.
_NOT_NEGATIVE = re.compile(
  r'recipe\.((\w+_)?clip(_low|_high)?|weight|(kl|value)_weight|epsilon)'
)


def check_values(config) -> None:
  """Refuses settings that mean nothing whatever the others are.

  Raises:
    Refused: naming the setting, its value and what it may be.
  """
  for name, least in _LEAST.items():
    section, _, leaf = name.rpartition('.')
    values = config
    for part in filter(None, section.split('.')):
      values = values.get(part, {})
    # Not every recipe has each of these. NaN is not at least anything.
    if leaf in values and not values[leaf] >= least:
      raise Refused(f'{name} is {values[leaf]}; use {least} or more')
  _check_length(config)
  _check_numbers(config)
  for name, size in config.mesh.items():
    if size < 1 and size != -1:
      raise Refused(f'mesh.{name} is {size}; use 1 or more, or -1 for the rest')
  from jaxrl_llm import problems
  from jaxrl_llm.training import trackers

  try:
    trackers.check(config.log.trackers)
    problems.check(config)
  except ValueError as error:
    raise Refused(str(error)) from None


def _check_length(config) -> None:
  """One setting says how long a run is."""
  # Not every problem has data, of which there are epochs.
  epochs = config.data.epochs if 'data' in config else 0
  if config.steps and epochs:
    raise Refused(
      f'steps={config.steps} and data.epochs={epochs:g} both say how long the '
      'run is; set one of them to 0'
    )
  if not (config.steps or epochs):
    more = ', or data.epochs' if 'data' in config else ''
    raise Refused(f'steps is 0; use 1 or more{more}')


def _check_numbers(config) -> None:
  """Refuses numbers with which no step, or no sum, has a meaning."""
  for name, value in traverse_util.flatten_dict(
    config.to_dict(), sep='.'
  ).items():
    if isinstance(value, bool) or not isinstance(value, int | float):
      continue
    if math.isnan(value):
      raise Refused(f'{name} is nan; use a number')
    if name in _FINITE and math.isinf(value):
      raise Refused(f'{name} is {value}; use a finite number')
    if name == 'optimizer.learning_rate' and not value:
      raise Refused(
        f'{name} is {value}, with which nothing is trained; use a positive '
        'number, or experiments.eval to measure a policy as it is'
      )
    if name in _BELOW_ONE and not 0 <= value < 1:
      raise Refused(f'{name} is {value}; use 0 or more, and less than 1')
    if name in _AT_MOST_ONE and not 0 <= value <= 1:
      raise Refused(f'{name} is {value}; use 0 to 1')
    if value < 0 and _NOT_NEGATIVE.fullmatch(name):
      raise Refused(f'{name} is {value}; use 0 or more')
    if name == 'optimizer.clip_norm' and value <= 0:
      raise Refused(
        f'{name} is {value}, which lets no gradient through; use more than 0, '
        'or inf to clip none'
      )
