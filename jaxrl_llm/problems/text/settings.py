"""What the settings of a run on text may be, alone and with its recipe."""

from __future__ import annotations

import math

from ml_collections import ConfigDict

from jaxrl_llm import digests
from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm.policies.language.config import check_heads
from jaxrl_llm.problems.text import guests, recordings

_DTYPES = ('float32', 'bfloat16', 'float16')
# Several texts each.
_TEXTS = (
  'verify.names',
  'teacher.paths',
  'reference.paths',
  'sample.stop',
  'model.lora_targets',
  'eval.sets',
)


def check(config: ConfigDict) -> None:
  """Refuses settings that mean nothing, before anything is read.

  Raises:
    ValueError: naming the setting, its value and what it may be.
  """
  if config.model.dtype not in _DTYPES:
    raise ValueError(
      f'model.dtype {config.model.dtype!r} is none of {", ".join(_DTYPES)}'
    )
  for name in _TEXTS:
    section, _, leaf = name.partition('.')
    for value in config[section][leaf]:
      if not isinstance(value, str):
        raise ValueError(
          f'{name} has {value!r} in it, which is no text; quote it'
        )
  if config.pipeline > 1:
    raise ValueError(
      f'pipeline is {config.pipeline}; use 0, or 1 for rows one step old'
    )
  for name in ('temperature', 'top_p'):
    value, most = config.eval[name], 1 if name == 'top_p' else math.inf
    if value > most or math.isinf(value):
      raise ValueError(
        f'eval.{name} is {value}; use 0 for that of training, or '
        + ('at most 1' if name == 'top_p' else 'a finite number')
      )
  if not config.pipeline_cap > 0:
    raise ValueError(f'pipeline_cap is {config.pipeline_cap}; use more than 0')
  if config.model.block and config.mesh.model != 1:
    raise ValueError(
      f'model.block={config.model.block} cuts a vocabulary that '
      f'mesh.model={config.mesh.model} already splits; use model.chunk'
    )
  if not config.model.path:
    fresh = config.model.fresh
    check_heads('model.fresh', fresh.width, fresh.heads)


def check_recipe(
  config: ConfigDict, recipe: recipe_lib.Recipe, rows: int
) -> None:
  """Refuses settings under which the recipe, or one beside it, cannot run.

  Args:
    rows: of an iteration.

  Raises:
    ValueError: naming the setting, its value and the remedy.
  """
  terms = recipe.plan.contract
  guests.check(config, recipe)
  _check_packing(config, recipe, rows)
  if 'support' in terms.provides and not config.sample.support:
    raise ValueError(
      f'the recipe {config.recipe.name} learns among the tokens that the '
      'sampler could draw, of which sample.support=0 keeps none; set it to '
      'several hundred'
    )
  for part in filter(None, (recipe, terms.sampler, terms.rater)):
    recipe_lib.check(part, rows=rows, microbatches=config.learn.microbatches)


def _check_packing(
  config: ConfigDict, recipe: recipe_lib.Recipe, rows: int
) -> None:
  """Refuses packing where it would do nothing or cannot be done."""
  if not config.learn.packing:
    return
  if not recordings.used(config):
    raise ValueError(
      'learn.packing fills microbatches with recorded responses, and '
      'data.responses=sampled; use learn.widths for sampled ones'
    )
  if config.learn.widths > 1:
    raise ValueError(
      f'learn.widths={config.learn.widths} narrows rows, and learn.packing '
      'fills them; choose one, for recorded responses learn.packing'
    )
  if recipe.objective.block in ('batch', rows // recipe.minibatches):
    raise ValueError(
      'learn.packing makes do with fewer microbatches, and the recipe '
      f'{config.recipe.name} compares all rows of an optimizer step, which are '
      'then one microbatch; leave learn.packing out'
    )
  if config.learn.microbatches == 1:
    raise ValueError(
      'learn.packing makes do with fewer microbatches, and '
      'learn.microbatches=1 leaves one; set it to 2 or more'
    )
  if config.mesh.context != 1:
    raise ValueError(
      'learn.packing fills a row with several sequences, and mesh.context='
      f'{config.mesh.context} splits rows of one; use mesh.context=1, or leave '
      'learn.packing out'
    )
  read = recipe.statistics
  if 'log_probs' in read or digests.among(read):
    raise ValueError(
      f'the recipe {config.recipe.name} reads log-probs of the whole '
      'vocabulary, which packed rows do not give; leave learn.packing out'
    )
