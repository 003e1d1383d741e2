"""Folders read into our parameters, one tensor at a time, without torch."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from flax import traverse_util

from jaxrl_llm.policies.language import parameters
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.hf.configuration import config_of
from jaxrl_llm.policies.language.hf.folders import (
  BIJECTIONS,
  DTYPES,
  INDEX,
  WEIGHTS,
  Row,
  description_of,
  is_composite,
  names_of,
  table,
)
from jaxrl_llm.policies.language.parameters import Params

# Buffers that old exports stored and that follow from the configuration, and
# layers that guess tokens further ahead, which no pass here asks.
_HARMLESS = re.compile(r'rotary_emb\.inv_freq$|^mtp\.')
# Where a decoder lies in a model of more, and its names by itself.
_INSIDE = {
  'model.language_model.': 'model.',
  'language_model.model.': 'model.',
  'language_model.lm_head.': 'lm_head.',
}
_DECODER = (
  'model.embed_tokens.',
  'model.embed_tokens_per_layer.',
  'model.per_layer_model_projection.',
  'model.per_layer_projection_norm.',
  'model.layers.',
  'model.norm.',
  'lm_head.',
)
# Where the score of a classifier is among its arrays.
_SCORE = ('score', 'kernel')


def load(
  folder: str | os.PathLike, *, dtype=jnp.float32, shardings: Any = None
) -> tuple[Config, Params]:
  """Reads a model folder.

  Tensors are read one at a time, and each of our arrays is built on the host
  before it moves: beyond the result, memory holds the largest stacked array.
  With shardings, only the parts that this process holds are built.

  Args:
    folder: with config.json and safetensors, sharded or not.
    dtype: of the parameters, whatever is stored.
    shardings: a tree of `jax.sharding.Sharding` like the parameters.

  Returns:
    (config, params).

  Raises:
    FileNotFoundError: no folder, configuration or weights.
    ValueError: an unsupported model; missing, leftover or misshapen tensors
      (all are listed); a stored dtype other than f32, f16, bf16; a tensor in
      two files, or one that holds NaN or infinity.
  """
  folder = pathlib.Path(folder)
  config = config_of(folder)
  rows = table(config, description_of(folder)['model_type'])
  return config, _read(folder, config, rows, {}, dtype, shardings)


def is_classifier(folder: str | os.PathLike) -> bool:
  """Whether a folder says that its model classifies whole sequences."""
  named = description_of(folder).get('architectures') or ['']
  return named[0].endswith('ForSequenceClassification')


def load_classifier(
  folder: str | os.PathLike, *, dtype=jnp.float32
) -> tuple[Config, Params, jax.Array]:
  """Reads a folder of a `...ForSequenceClassification` with one label.

  Returns:
    (config, params, score): the decoder, of which no logits can be asked, and
    the weights [D] by which the last hidden state is scored.

  Raises:
    FileNotFoundError, ValueError: as `load`; or another number of labels.
  """
  folder = pathlib.Path(folder)
  labels = description_of(folder).get('id2label') or {}
  if len(labels) > 1:
    raise ValueError(
      f'{folder} gives scores to the labels {[*labels.values()]}, and a reward '
      'is one number; use a model with one label.'
    )
  # There is no output layer; tied, none is looked for.
  config = dataclasses.replace(config_of(folder), tied=True)
  rows = table(config, description_of(folder)['model_type'])
  rows[_SCORE] = Row('score.weight', BIJECTIONS['one row'])
  params = _read(folder, config, rows, {_SCORE: (config.width,)}, dtype, None)
  return config, params, params.pop('score')['kernel']


def _read(folder, config, rows, more, dtype, shardings) -> Params:
  """The arrays of a table; `more` are shapes beside those of the decoder."""
  with contextlib.ExitStack() as stack:
    files = open_all(folder, stack)
    return assemble(
      folder, files, config, rows, more, dtype=dtype, shardings=shardings
    )


def assemble(
  origin: pathlib.Path,
  files: Mapping[str, Any],
  config: Config,
  rows: Mapping[tuple[str, ...], Row],
  more: Mapping[tuple[str, ...], tuple[int, ...]] = MappingProxyType({}),
  *,
  dtype: Any,
  shardings: Any = None,
) -> Params:
  """Our parameters from stored tensors.

  Args:
    origin: what holds them, for errors.
    files: tensor name -> what it is read from, as safetensors opens files.
    rows: their names and bijections, as `folders.table` gives them.
    more: shapes of rows beside those of the decoder.
    dtype: of the parameters. shardings: as for `load`.

  Raises:
    ValueError: missing, leftover, misshapen or not finite tensors.
  """
  shapes = {p: entry.shape for p, entry in parameters.table(config).items()}
  shapes |= more
  placed = traverse_util.flatten_dict(shardings) if shardings else {}
  _check(origin, config, rows, shapes, files)
  return traverse_util.unflatten_dict(
    {
      path: _array(files, row, shapes[path], dtype, placed.get(path))
      for path, row in rows.items()
    }
  )


def open_all(folder, stack) -> dict[str, Any]:
  """Tensor name -> the open file that holds it, or how to read it there.

  In a folder of more than a decoder, the tensors of the decoder alone.

  Raises:
    ValueError: a tensor that two files hold, or a whole file beside an index
      of others: which is meant, nobody can tell.
  """
  index = folder / INDEX
  names = _shard_names(index) if index.is_file() else [WEIGHTS]
  if WEIGHTS not in names and (folder / WEIGHTS).is_file():
    raise ValueError(
      f'{folder} holds both {WEIGHTS} and {INDEX}, which names other files; '
      'delete the weights that are not meant.'
    )
  paths = [folder / name for name in names]
  absent = [path.name for path in paths if not path.is_file()]
  if absent:
    raise FileNotFoundError(
      f'{folder} lacks {", ".join(absent)}; weights must be safetensors, so '
      'convert others with save_pretrained.'
    )
  composite = is_composite(folder)
  files: dict[str, Any] = {}
  homes: dict[str, str] = {}
  for path in paths:
    try:
      file = stack.enter_context(safetensors.safe_open(path, 'np'))
    except safetensors.SafetensorError as error:
      raise ValueError(
        f'{path} is not a whole safetensors file: {error}; fetch it again.'
      ) from error
    for stored in file.keys():
      name, held = stored, file
      for theirs, plain in _INSIDE.items():
        if stored.startswith(theirs):
          name = plain + stored.removeprefix(theirs)
          held = _Renamed(file, stored)
      if composite and not name.startswith(_DECODER):
        continue
      if name in files:
        raise ValueError(
          f'{folder} holds {name} twice, in {homes[name]} and in {path.name}; '
          'fetch or write it again.'
        )
      files[name], homes[name] = held, path.name
  return files


class _Renamed(NamedTuple):
  """A tensor of a file that is looked for under another name."""

  file: Any
  name: str

  def get_tensor(self, name):
    del name
    return self.file.get_tensor(self.name)

  def get_slice(self, name):
    del name
    return self.file.get_slice(self.name)


def _shard_names(index: pathlib.Path) -> list[str]:
  """The files that an index of weights names, all of its own folder."""
  try:
    names = sorted(set(json.loads(index.read_bytes())['weight_map'].values()))
    known = all(pathlib.Path(name).name == name for name in names)
  # Whatever else than an object of objects of names makes these raise.
  except (
    ValueError, RecursionError, KeyError, TypeError, AttributeError
  ) as error:  # fmt: skip
    raise ValueError(
      f'{index} does not map tensors to files: {type(error).__name__}: '
      f'{error}; fetch it again.'
    ) from error
  if not known:
    raise ValueError(f'{index} names files outside of its folder: {names}')
  return names


def _check(origin, config, rows, shapes, files):
  """Raises unless the stored tensors are exactly the expected ones."""
  expected: dict[str, tuple[int, ...]] = {}
  for path, row in rows.items():
    shape = shapes[path]
    names = names_of(row, shape)
    shape = row.their_shape(shape[row.stacked :])
    expected |= dict.fromkeys(names, shape)
  # Files may hold keys and values of readers, which nobody reads.
  unread = {
    f'model.layers.{layer}.self_attn.{module}.weight'
    for layer in range(config.layers - config.readers, config.layers)
    for module in ('k_proj', 'v_proj', 'k_norm')
  }
  problems = [f'missing {name}' for name in expected if name not in files]
  for name, file in files.items():
    part = file.get_slice(name)
    if name == 'lm_head.weight' and config.tied:
      embedding = 'model.embed_tokens.weight'
      if embedding in files and not np.array_equal(
        file.get_tensor(name), files[embedding].get_tensor(embedding)
      ):
        problems.append(f'{name} differs from {embedding}, which it is tied to')
    elif name not in expected:
      if not _HARMLESS.search(name) and name not in unread:
        problems.append(f'leftover {name} {part.get_shape()}')
    elif tuple(part.get_shape()) != expected[name]:
      problems.append(
        f'{name} is {part.get_shape()}, not {list(expected[name])}'
      )
    elif part.get_dtype() not in DTYPES:
      problems.append(
        f'{name} is {part.get_dtype()}; stored dtypes may be '
        f'{", ".join(DTYPES)}'
      )
  if problems:
    raise ValueError(
      f'{origin} does not hold the tensors its configuration asks for:\n  '
      + '\n  '.join(problems)
    )


def check_finite(name: str, x: np.ndarray) -> None:
  """Refuses a stored tensor, or a part of one, that holds NaN or infinity."""
  if not np.isfinite(x).all():
    raise ValueError(
      f'the stored weights {name} are not finite as {x.dtype}; the training '
      'that wrote them diverged or the file is damaged, so use another one.'
    )


def _array(files, row, shape, dtype, sharding):
  stacked = row.stacked

  def read(index):
    """The part of our array at `index`, a slice for each axis."""
    counted = [range(size)[part] for size, part in zip(shape, index)]
    part = np.empty([len(each) for each in counted], dtype)
    places = np.ndindex(part.shape[:stacked])
    for place, each in zip(places, itertools.product(*counted[:stacked])):
      name = row.named(each)
      x = row.to_ours(files[name].get_tensor(name), shape[stacked:])
      with np.errstate(over='ignore'):  # refused below, by name
        part[place] = x[index[stacked:]]
      check_finite(name, part[place])
    return part

  if sharding is None:
    return jnp.asarray(read((slice(None),) * len(shape)))
  return jax.make_array_from_callback(shape, sharding, read)
