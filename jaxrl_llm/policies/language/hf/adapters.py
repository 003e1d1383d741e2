"""LoRA adapters in the format of the library PEFT: read, and written.

A folder holds `adapter_config.json` and `adapter_model.safetensors`, two
tensors for each adapted map, [rank, inputs] and [outputs, rank]. What PEFT can
say there and `lora` does not compute is refused by name.

Source: huggingface.co/docs/peft, "PEFT checkpoint format".
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy
from flax import traverse_util

from jaxrl_llm.policies.language import lora
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.hf.folders import (
  BIJECTIONS,
  Row,
  is_composite,
)
from jaxrl_llm.policies.language.hf.folders import table as stored_as
from jaxrl_llm.policies.language.hf.reading import assemble
from jaxrl_llm.policies.language.hf.writing import (
  appearing,
  tensors,
  write_json,
)
from jaxrl_llm.policies.language.parameters import Params

CONFIG = 'adapter_config.json'
WEIGHTS = 'adapter_model.safetensors'
# Fields that say how training went, or what the tensors say as well.
_READ = {
  *('peft_type', 'r', 'lora_alpha', 'use_rslora', 'target_modules'),
  *('task_type', 'base_model_name_or_path', 'revision', 'inference_mode'),
  *('lora_dropout', 'peft_version', 'auto_mapping', 'ensure_weight_tying'),
  *('layers_to_transform', 'layers_pattern', 'exclude_modules'),
  *('eva_config', 'runtime_config', 'megatron_core', 'qalora_group_size'),
}
# Others, besides None and what is empty. Some initial values were taken from
# the base model, so that it is another one under the adapter.
_PLAIN: Mapping[str, tuple[Any, ...]] = {
  'bias': ('none',),
  'init_lora_weights': (True, 'gaussian', 'eva', 'orthogonal'),
}


class Adapter(NamedTuple):
  """What `lora.table` is asked for, by the names of its arguments."""

  rank: int
  alpha: float
  targets: tuple[str, ...]

  def __str__(self):
    maps = ', '.join(self.targets)
    return f'deltas of rank {self.rank}, alpha {self.alpha:g}, of {maps}'


def describe(folder: str | os.PathLike, config: Config, family: str) -> Adapter:
  """The sizes of an adapter, without its weights.

  Args:
    config, family: of the base model, as for `folders.table`.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: another method than LoRA, or a variant that is not computed.
  """
  folder = pathlib.Path(folder)
  said = _config_of(folder)
  stored = _stored(folder)
  rank = said.get('r')
  if type(rank) is not int or rank < 1:
    raise ValueError(f'{folder / CONFIG} says r={rank!r}; a rank is 1 or more.')
  scale = rank**0.5 if said.get('use_rslora') else 1.0
  rows = _rows(config, family, lora.TARGETS)
  targets = tuple(
    target
    for target in lora.TARGETS
    if ('layers', target, 'lora_a') in rows
    and any(
      rows['layers', target, 'lora_a'].name.format(layer) in stored
      for layer in range(config.layers)
    )
  )
  if not targets:
    raise ValueError(
      f'{folder / WEIGHTS} adapts none of the maps of this model, such as '
      f'{next(iter(rows.values())).name.format(0)}; it holds '
      f'{", ".join(sorted(stored)[:3])}'
    )
  return Adapter(rank, said['lora_alpha'] * scale, targets)


def load(
  folder: str | os.PathLike, config: Config, family: str
) -> dict[tuple[str, ...], jax.Array]:
  """The leaves of `lora.table` by their paths, in float32.

  Raises:
    FileNotFoundError, ValueError: as `describe`; missing, leftover, misshapen
      or not finite tensors.
  """
  folder = pathlib.Path(folder)
  adapter = describe(folder, config, family)
  table = lora.table(config, **adapter._asdict())
  rows = _rows(config, family, adapter.targets)
  with contextlib.ExitStack() as stack:
    file = stack.enter_context(safetensors.safe_open(folder / WEIGHTS, 'np'))
    found = assemble(
      folder,
      dict.fromkeys(file.keys(), file),
      config,
      rows,
      {path: table[path].shape for path in rows},
      dtype=np.float32,
    )
  flat = traverse_util.flatten_dict(found)
  for path, entry in table.items():
    if path not in flat:  # The scale, which is a constant.
      flat[path] = entry.init(jax.random.key(0), entry.shape, np.float32)
  return flat


def save(
  folder: str | os.PathLike,
  config: Config,
  params: Params,
  *,
  family: str,
  base: str,
  beside: Mapping[str, str] = MappingProxyType({}),
) -> Adapter:
  """Writes the LoRA leaves among parameters; `folder` appears whole.

  They are written in float32 as they are trained, so nothing is rounded.

  Args:
    folder: must not exist, or be empty.
    params: with leaves of `lora.table`; all others stay unread.
    base: the folder or hub name of the model under them.
    beside: other texts by the names of their files.

  Raises:
    FileExistsError: `folder` holds something.
    ValueError: parameters without LoRA, or with some that PEFT has no name for.
  """
  flat = traverse_util.flatten_dict(params)
  targets = tuple(
    target for target in lora.TARGETS if ('layers', target, 'lora_a') in flat
  )
  if not targets:
    raise ValueError(
      'these parameters hold no LoRA factors; write the whole model instead.'
    )
  rank = flat['layers', targets[0], 'lora_b'].shape[1]
  # One scale for all: it is made of one rank and one alpha.
  scale = float(flat['layers', targets[0], 'lora_scale'][0])
  adapter = Adapter(rank, scale * rank, targets)
  rows = _rows(config, family, targets)
  _check_names(flat, rows, family, base)
  factors = {
    name: np.ascontiguousarray(x, np.float32) for name, x in tensors(rows, flat)
  }
  modules = {
    rows['layers', target, 'lora_a'].name.split('.')[-3] for target in targets
  }
  said = {
    'peft_type': 'LORA',
    'task_type': 'CAUSAL_LM',
    'base_model_name_or_path': base,
    'r': rank,
    'lora_alpha': adapter.alpha,
    'target_modules': sorted(modules),
    'use_rslora': False,
    'lora_dropout': 0.0,
    'bias': 'none',
    'fan_in_fan_out': False,
    'inference_mode': True,
    'init_lora_weights': True,
    'modules_to_save': None,
  }
  with appearing(folder) as temporary:
    safetensors.numpy.save_file(factors, temporary / WEIGHTS, {'format': 'pt'})
    write_json(temporary / CONFIG, said)
    for name, text in beside.items():
      (temporary / name).write_text(text)
  return adapter


def _check_names(flat, rows, family, base) -> None:
  """Refuses maps that PEFT has no name for."""
  joint = [
    path[1] for path in flat if path[-1] == 'lora_a' and path not in rows
  ]
  if joint:
    raise ValueError(
      f'the maps {joint} are parts of one tensor in the files of {family}, '
      'which PEFT adapts as one; write the whole model instead.'
    )
  place = pathlib.Path(base)
  if (place / 'config.json').is_file() and is_composite(place):
    raise ValueError(
      f'{base} is a model of more than text, in which PEFT names these maps '
      'otherwise; write the whole model instead.'
    )


def _rows(config, family, targets) -> dict[tuple[str, ...], Row]:
  """Names and bijections of the factors, as `folders.table` has of kernels."""
  rows = {}
  for path, row in stored_as(config, family).items():
    # Of maps that are one tensor, PEFT adapts all with one A.
    adapted = any(path[-2] in lora.maps(target) for target in targets)
    if path[-1] != 'kernel' or not adapted or row.part:
      continue
    stem = f'base_model.model.{row.name.removesuffix(".weight")}'
    # A reads what the kernel reads, and B writes what it writes.
    rows[*path[:-1], 'lora_a'] = row._replace(name=f'{stem}.lora_A.weight')
    rows[*path[:-1], 'lora_b'] = row._replace(
      name=f'{stem}.lora_B.weight', bijection=BIJECTIONS['transposed']
    )
  return rows


def _config_of(folder: pathlib.Path) -> dict[str, Any]:
  """adapter_config.json, all of whose fields are understood."""
  path = folder / CONFIG
  if not path.is_file():
    raise FileNotFoundError(
      f'{folder} has no {CONFIG}; give a folder that PEFT has saved.'
    )
  try:
    said = dict(json.loads(path.read_bytes()))
    float(said['lora_alpha'])
  except (ValueError, RecursionError, TypeError, KeyError) as error:
    raise ValueError(
      f'{path} does not describe LoRA: {type(error).__name__}: {error}'
    ) from error
  if said.get('peft_type') != 'LORA':
    raise ValueError(
      f'{path} says peft_type={said.get("peft_type")!r}; LORA alone is read.'
    )
  odd = {
    name: value
    for name, value in said.items()
    if name not in _READ and value and value not in _PLAIN.get(name, ())
  }
  if odd:
    raise ValueError(
      f'{path} says {odd}, which is not computed; merge such an adapter into '
      'its model with merge_and_unload of PEFT, and give that as model.path.'
    )
  return said


def _stored(folder: pathlib.Path) -> set[str]:
  """The names of an adapter's tensors."""
  path = folder / WEIGHTS
  if not path.is_file():
    raise FileNotFoundError(
      f'{folder} lacks {WEIGHTS}; weights must be safetensors, so save them '
      'again with save_pretrained of PEFT.'
    )
  try:
    with safetensors.safe_open(path, 'np') as file:
      return set(file.keys())
  except safetensors.SafetensorError as error:
    raise ValueError(
      f'{path} is not a whole safetensors file: {error}; fetch it again.'
    ) from error
