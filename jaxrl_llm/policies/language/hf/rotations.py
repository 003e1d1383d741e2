"""How the layers of a Hugging Face model rotate."""

from __future__ import annotations

import functools
import math
from typing import Any

from jaxrl_llm.policies.language import rope
from jaxrl_llm.policies.language.hf.families import Family

_ROPE_KEYS = {
  'rope_type',
  'type',
  'rope_theta',
  'factor',
  'original_max_position_embeddings',
  'low_freq_factor',
  'high_freq_factor',
  'beta_fast',
  'beta_slow',
  'mscale',
  'mscale_all_dim',
  'attention_factor',
  'truncate',
  'short_factor',
  'long_factor',
  'partial_rotary_factor',
}


def rotations_of(
  source: Any, family: Family
) -> tuple[rope.Rope, rope.Rope | None]:
  """Rotation of the layers, and of those with a window where it differs.

  Args:
    source: a `transformers` configuration.

  Raises:
    ValueError: a rotation that is not computed, with what was given.
  """
  parameters = source.rope_parameters
  nested = 'full_attention' in parameters or 'sliding_attention' in parameters
  if not nested:
    return _rope(source, family, parameters), None
  full, local = (
    _rope(source, family, parameters[kind])
    for kind in ('full_attention', 'sliding_attention')
  )
  return full, None if local == full else local


def _rope(source, family, parameters) -> rope.Rope:
  name, kind = source.model_type, parameters.get('rope_type', 'default')
  if kind not in rope.KINDS:
    raise ValueError(
      f'{name} with rope type {kind!r} is not supported; supported are '
      f'{", ".join(rope.KINDS)}.'
    )
  unknown = sorted({*parameters} - _ROPE_KEYS - {*family.rope_keys})
  share = float(parameters.get('partial_rotary_factor') or 1.0)
  if unknown or (share != 1.0 and not family.partial):
    raise ValueError(
      f'{name} with rope_parameters {parameters} is not supported: '
      + (f'unknown {unknown}' if unknown else 'partial rotation')
      + '.'
    )
  turns = functools.partial(
    rope.Rope,
    float(parameters['rope_theta']),
    kind,
    share=share,
    interleaved=family.interleaved,
  )
  if kind == 'default':
    return turns()
  if kind in ('linear', 'proportional'):
    return turns(float(parameters.get('factor', 1.0)))
  length = parameters['original_max_position_embeddings']
  # The reference derives a factor that is absent from the lengths.
  factor = float(
    parameters.get('factor') or source.max_position_embeddings / length
  )
  if kind == 'llama3':
    low, high = parameters['low_freq_factor'], parameters['high_freq_factor']
    return turns(factor, length, low, high)
  if kind == 'longrope':
    return turns(
      factor,
      length,
      factors=tuple(parameters['short_factor']),
      amplitude=_long_amplitude(factor, length, parameters),
    )
  return turns(
    factor,
    length,
    low=parameters.get('beta_slow') or 1.0,
    high=parameters.get('beta_fast') or 32.0,
    amplitude=_yarn_amplitude(factor, parameters),
    truncate=parameters.get('truncate', True),
  )


def _long_amplitude(factor, length, parameters) -> float:
  """sqrt(1 + ln(factor) / ln(length)) unless given. Source: Phi-3's code."""
  given = parameters.get('attention_factor')
  if given is not None:
    return float(given)
  return math.sqrt(1 + math.log(factor) / math.log(length)) if factor > 1 else 1


def _yarn_amplitude(factor, parameters) -> float:
  """0.1 ln(factor) + 1 unless given. Source: arXiv 2309.00071, section 3.4."""
  given = parameters.get('attention_factor')
  if given is not None:
    return float(given)

  def amplitude(weight):
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

  over = parameters.get('mscale'), parameters.get('mscale_all_dim')
  if all(over):
    return amplitude(over[0]) / amplitude(over[1])
  return amplitude(1.0)
