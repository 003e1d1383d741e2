"""What the settings of a run on text may be, whatever the others are."""

from __future__ import annotations

import math

from ml_collections import ConfigDict

from jaxrl_llm.policies.language.config import check_heads

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
