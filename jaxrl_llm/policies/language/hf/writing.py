"""Our parameters written as folders that `transformers` loads."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import shutil
import zlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import traverse_util

from jaxrl_llm.policies.language import parameters
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.hf.configuration import config_of
from jaxrl_llm.policies.language.hf.folders import (
  COMPANIONS,
  DTYPES,
  INDEX,
  WEIGHTS,
  Row,
  description_of,
  table,
)
from jaxrl_llm.policies.language.hf.reading import open_all
from jaxrl_llm.policies.language.parameters import Params


class Written(NamedTuple):
  """What a folder holds of what training changed.

  Attributes:
    dtype: of the stored weights.
    changed: weights that differ from those of the source, 0 where the source
      holds none.
    kept: of those, the weights that differ still as they are stored.
  """

  dtype: str
  changed: int = 0
  kept: int = 0

  def __str__(self):
    if not self.changed:
      return f'{self.dtype}, no weight changed'
    return (
      f'{self.dtype}, which keeps {self.kept / self.changed:.1%} of the '
      f'{self.changed:,} weights that changed'
    )


# A change that rounding takes back more often than this is not exported so.
_KEPT = 0.99


def save(
  folder: str | os.PathLike,
  config: Config,
  params: Params,
  *,
  source: Any,
  tokenizer: Any = None,
  dtype: str | None = None,
  stochastic: bool = False,
  max_shard_bytes: int = 5_000_000_000,
  beside: Mapping[str, str] = MappingProxyType({}),
) -> Written:
  """Writes a model folder that `transformers` loads.

  All is written into a temporary folder beside it, which is then renamed:
  `folder` either appears whole or not at all.

  Args:
    folder: must not exist, or be empty.
    params: as `parameters.table` says: heads left out, LoRA merged.
    source: the folder that was loaded, or a `transformers` configuration;
      config.json comes from it and must describe `config`. Generation
      settings and tokenizer files of a folder come along.
    tokenizer: of `transformers`; saved instead of the source's files.
    dtype: 'float32', 'float16' or 'bfloat16'; None means the one the source
      names, or that of the parameters where it names none, unless rounding to
      it would take back more than 1 % of the weights that changed since the
      source: then it is that of the parameters.
    stochastic: weights are rounded up or down at random, so that on average
      nothing is lost; for bfloat16 alone. The same parameters round alike.
    max_shard_bytes: weights are split into files of at most this size, except
      where one tensor is larger.
    beside: other texts by the names of their files; those that come from the
      source stay as they are.

  Returns:
    The dtype and how much of the change it keeps.

  Raises:
    FileExistsError: `folder` holds something.
    ValueError: parameters or source do not fit `config`; unknown dtype; one
      that cannot be rounded to at random.
  """
  folder = pathlib.Path(folder).absolute()
  check_empty(folder)
  _check_tree(config, params)
  described = config_of(source)
  if described != config:
    raise ValueError(
      f'the source describes {described}, the parameters follow {config};'
      ' give the source they were loaded from.'
    )
  description = description_of(source)
  rows = table(config, description['model_type'])
  flat = traverse_util.flatten_dict(params)
  own = str(params['embed']['kernel'].dtype)
  stored = dtype or description.get('dtype') or own
  if stored not in DTYPES.values():
    raise ValueError(
      f'dtype {stored!r} is not one of {", ".join(DTYPES.values())}.'
    )
  if stochastic and stored != 'bfloat16':
    raise ValueError(
      f'{stored} cannot be rounded to at random; ask for the dtype bfloat16.'
    )
  rounded = _stochastic if stochastic else jnp.dtype(stored).type
  written = _compared(source, rows, flat, stored, rounded)
  if dtype is None and written.kept < _KEPT * written.changed:
    stored, rounded = own, jnp.dtype(own).type
    written = Written(own, written.changed, kept=written.changed)
  description['dtype'] = stored
  with appearing(folder) as temporary:
    stored = jnp.dtype(stored)
    _write_weights(temporary, rows, flat, stored, rounded, max_shard_bytes)
    write_json(temporary / 'config.json', description)
    _write_companions(temporary, source, tokenizer)
    for name, text in beside.items():
      if not (temporary / name).exists():
        (temporary / name).write_text(text)
  return written


@contextlib.contextmanager
def appearing(folder: str | os.PathLike) -> Iterator[pathlib.Path]:
  """A temporary folder beside `folder`, which becomes it: whole or not at all.

  Raises:
    FileExistsError: `folder` holds something.
  """
  folder = pathlib.Path(folder).absolute()
  check_empty(folder)
  temporary = folder.with_name(f'.{folder.name}.{os.getpid()}.partial')
  temporary.mkdir(parents=True)
  try:
    yield temporary
    for path in temporary.glob('*.safetensors'):
      # safetensors writes files that only their owner can read.
      shutil.copymode(next(temporary.glob('*.json')), path)
    for path in temporary.rglob('*'):
      _sync(path)
    os.replace(temporary, folder)
    _sync(folder.parent)
  except BaseException:
    shutil.rmtree(temporary, ignore_errors=True)
    raise


def check_empty(folder: pathlib.Path) -> None:
  """Raises FileExistsError unless a model may be written there."""
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise FileExistsError(
      f'{folder} is not empty; delete it or write somewhere else.'
    )


def _check_tree(config, params):
  """Raises unless the leaves are exactly those of the decoder's table."""
  entries, flat = parameters.table(config), traverse_util.flatten_dict(params)
  problems = [
    f'{word} {".".join(path)}'
    for word, paths in (
      ('missing', entries.keys() - flat.keys()),
      ('leftover', flat.keys() - entries.keys()),
    )
    for path in sorted(paths)
  ]
  problems += [
    f'{".".join(path)} is {flat[path].shape}, not {entry.shape}'
    for path, entry in entries.items()
    if path in flat and flat[path].shape != entry.shape
  ]
  if problems:
    raise ValueError(
      'the parameters are not those of the decoder alone (leave heads out, '
      'merge LoRA first):\n  ' + '\n  '.join(problems)
    )


def _by_name(rows, shapes) -> dict[str, list[tuple[tuple[int, ...], Any]]]:
  """Tensor name -> paths and places of the arrays that are in it, in order."""
  homes: dict[str, list[tuple[tuple[int, ...], Any]]] = {}
  for path, row in rows.items():
    for each in np.ndindex(shapes[path][: row.stacked]):
      homes.setdefault(row.named(each), []).append((each, path))
  return homes


def tensors(
  rows: Mapping[tuple[str, ...], Row], flat: Mapping[tuple[str, ...], Any]
) -> Iterator[tuple[str, np.ndarray]]:
  """Their tensors by name, of the arrays that the rows name."""
  shapes = {path: flat[path].shape for path in rows}
  for name, held in _by_name(rows, shapes).items():
    (_, path), *_ = held
    row = rows[path]
    shape = row.their_shape(shapes[path][row.stacked :])
    tensor = np.empty(shape, flat[path].dtype)
    for each, path in held:
      rows[path].put(np.asarray(flat[path])[each], tensor)
    yield name, tensor


def _stochastic(x: np.ndarray) -> np.ndarray:
  """bfloat16 of float32, up or down with chances that keep the mean.

  A float32 between two neighbours of bfloat16 has its place among them in its
  last 16 bits: noise of as many bits carries into the rest that often.
  """
  x = np.ascontiguousarray(x, np.float32)
  rng = np.random.default_rng(zlib.crc32(x.data))
  noise = rng.integers(0, 1 << 16, x.shape, np.uint32)
  bits = x.view(np.uint32) + noise
  return (bits & np.uint32(0xFFFF0000)).view(np.float32).astype(jnp.bfloat16)


def _compared(source, rows, flat, stored, rounded) -> Written:
  """What is kept of the change since the source's weights."""
  written = Written(stored)
  if not isinstance(source, (str, os.PathLike)):
    return written
  if not any(pathlib.Path(source).glob('*.safetensors')):
    return written
  with contextlib.ExitStack() as stack:
    before = open_all(pathlib.Path(source), stack)
    for name, x in tensors(rows, flat):
      if name not in before:
        continue
      old = before[name].get_tensor(name).astype(np.float32)
      changed = x.astype(np.float32) != old
      kept = rounded(x).astype(np.float32) != old
      written = written._replace(
        changed=written.changed + int(np.sum(changed)),
        kept=written.kept + int(np.sum(changed & kept)),
      )
  return written


def _write_weights(folder, rows, flat, dtype, rounded, max_shard_bytes):
  shapes = {path: flat[path].shape for path in rows}
  shards = _shards(rows, shapes, dtype, max_shard_bytes)
  stored = tensors(rows, flat)
  index: dict[str, str] = {}
  for number, names in enumerate(shards, 1):
    file = WEIGHTS
    if len(shards) > 1:
      file = f'model-{number:05}-of-{len(shards):05}.safetensors'
    held = dict(next(stored) for _ in names)
    # safetensors writes the memory as it lies, whatever the strides say.
    held = {name: np.ascontiguousarray(rounded(x)) for name, x in held.items()}
    safetensors.numpy.save_file(held, folder / file, {'format': 'pt'})
    index |= dict.fromkeys(held, file)
  if len(shards) > 1:
    total = dtype.itemsize * sum(map(math.prod, shapes.values()))
    write_json(
      folder / INDEX,
      {'metadata': {'total_size': total}, 'weight_map': index},
    )


def _shards(rows, shapes, dtype, max_shard_bytes) -> list[list[str]]:
  """Names of the tensors of each file, in the order of `tensors`."""
  shards: list[list[str]] = [[]]
  room = max_shard_bytes
  for name, held in _by_name(rows, shapes).items():
    size = dtype.itemsize * sum(
      math.prod(shapes[path][rows[path].stacked :]) for _, path in held
    )
    if size > room and shards[-1]:
      shards.append([])
      room = max_shard_bytes
    shards[-1].append(name)
    room -= size
  return shards


def _write_companions(folder, source, tokenizer):
  if isinstance(source, (str, os.PathLike)):
    for name in COMPANIONS:
      path = pathlib.Path(source) / name
      settings = name == 'generation_config.json'
      if path.is_file() and (settings or tokenizer is None):
        shutil.copyfile(path, folder / name)
  if tokenizer is not None:
    tokenizer.save_pretrained(folder)


def write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
  """Writes an object, its keys sorted."""
  path.write_text(json.dumps(content, indent=2, sort_keys=True) + '\n')


def _sync(path: pathlib.Path):
  """Flushes a file or a folder to the disk."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
