"""Hugging Face folders: read into our parameters, written from them.

One table (`_table`: our path, their name, a named bijection) is used both
ways, so that import then export is the identity on every stored byte. Tensors
go through one by one, without torch; `transformers` loads what is written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from jaxrl_llm.policies.language import transformer
from jaxrl_llm.policies.language.config import Config, from_hf
from jaxrl_llm.policies.language.transformer import Params

# Stored dtypes that are read: safetensors name -> the name in config.json.
_DTYPES = {'F32': 'float32', 'F16': 'float16', 'BF16': 'bfloat16'}
# Buffers that old exports stored and that follow from the configuration.
_HARMLESS = re.compile(r'rotary_emb\.inv_freq$')
_WEIGHTS = 'model.safetensors'
_INDEX = 'model.safetensors.index.json'
# The table in `transformers` cannot be imported without torch.
_CLASSES = {
  'llama': 'LlamaForCausalLM',
  'mistral': 'MistralForCausalLM',
  'qwen2': 'Qwen2ForCausalLM',
  'qwen3': 'Qwen3ForCausalLM',
  'qwen3_moe': 'Qwen3MoeForCausalLM',
  'mixtral': 'MixtralForCausalLM',
  'gemma2': 'Gemma2ForCausalLM',
  'gemma3_text': 'Gemma3ForCausalLM',
}
# Everything beside the weights that makes a folder a usable model.
_COMPANIONS = (
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'tokenizer.model',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'chat_template.jinja',
  'chat_template.json',
)


class _Bijection(NamedTuple):
  """Between an array of ours (one layer or expert) and a tensor of theirs."""

  their_shape: Callable[[tuple[int, ...]], tuple[int, ...]]
  to_ours: Callable[[np.ndarray, tuple[int, ...]], np.ndarray]
  to_theirs: Callable[[np.ndarray], np.ndarray]


def _linear(inputs: int) -> _Bijection:
  """Ours has `inputs` axes, then outputs; theirs is [outputs, inputs]."""

  def matrix(shape):
    return math.prod(shape[:inputs]), math.prod(shape[inputs:])

  return _Bijection(
    their_shape=lambda shape: matrix(shape)[::-1],
    to_ours=lambda x, shape: x.T.reshape(shape),
    to_theirs=lambda x: x.reshape(matrix(x.shape)).T,
  )


_BIJECTIONS = {
  'same': _Bijection(lambda shape: shape, lambda x, _: x, lambda x: x),
  'flat': _Bijection(
    lambda shape: (math.prod(shape),),
    lambda x, shape: x.reshape(shape),
    lambda x: x.reshape(-1),
  ),
  'transposed': _linear(1),
  'transposed from heads': _linear(2),
  'one row': _Bijection(
    lambda shape: (1, *shape),
    lambda x, shape: x.reshape(shape),
    lambda x: x[None],
  ),
}
# Where the score of a classifier is among its arrays.
_SCORE = ('score', 'kernel')


class _Row(NamedTuple):
  name: str  # with {} for the layer, and another for the expert
  bijection: _Bijection

  @property
  def stacked(self) -> int:
    """Leading axes of our array that count tensors of theirs."""
    return self.name.count('{}')


def _table(config: Config, family: str) -> dict[tuple[str, ...], _Row]:
  """Their name and the bijection for each path of `transformer.table`.

  Args:
    family: `model_type` of their configuration: two of one architecture may
      have different names for it.
  """
  modules = {
    'q': 'self_attn.q_proj',
    'k': 'self_attn.k_proj',
    'v': 'self_attn.v_proj',
    'o': 'self_attn.o_proj',
    'q_norm': 'self_attn.q_norm',
    'k_norm': 'self_attn.k_norm',
    'gate': 'mlp.gate_proj',
    'up': 'mlp.up_proj',
    'down': 'mlp.down_proj',
    'attention_norm': 'input_layernorm',
    # Gemma kept the name of what precedes the MLP elsewhere for another norm.
    'mlp_norm': 'pre_feedforward_layernorm'
    if config.post_norms
    else 'post_attention_layernorm',
    'post_attention_norm': 'post_attention_layernorm',
    'post_mlp_norm': 'post_feedforward_layernorm',
  }
  whole = {
    ('embed', 'kernel'): ('model.embed_tokens.weight', 'same'),
    ('final_norm', 'scale'): ('model.norm.weight', 'same'),
    ('unembed', 'kernel'): ('lm_head.weight', 'transposed'),
    **_expert_names(family),
  }
  rows = {}
  for path in transformer.table(config):
    if path in whole:
      name, bijection = whole[path]
    else:
      _, module, leaf = path
      suffix = 'bias' if leaf == 'bias' else 'weight'
      name = f'model.layers.{{}}.{modules[module]}.{suffix}'
      bijection = {'scale': 'same', 'bias': 'flat', 'kernel': 'transposed'}[
        leaf
      ]
      if module == 'o' and leaf == 'kernel':
        bijection = 'transposed from heads'
    rows[path] = _Row(name, _BIJECTIONS[bijection])
  return rows


def _expert_names(family: str) -> dict[tuple[str, ...], tuple[str, str]]:
  """Names and bijections of a router and of experts, one a layer and expert."""
  module, names = 'mlp', ('gate_proj', 'up_proj', 'down_proj')
  if family == 'mixtral':
    module, names = 'block_sparse_moe', ('w1', 'w3', 'w2')
  module = f'model.layers.{{}}.{module}'
  rows = {
    ('layers', 'experts', ours): f'{module}.experts.{{}}.{theirs}.weight'
    for ours, theirs in zip(('gate', 'up', 'down'), names)
  }
  rows['layers', 'router', 'kernel'] = f'{module}.gate.weight'
  return {path: (name, 'transposed') for path, name in rows.items()}


def _names(row: _Row, shape: tuple[int, ...]) -> list[str]:
  """The tensors behind one of our arrays, in its order."""
  return [row.name.format(*each) for each in np.ndindex(shape[: row.stacked])]


def resolve(name: str | os.PathLike) -> pathlib.Path:
  """The folder of a model: a folder itself, or a name on the hub.

  A hub name goes through the ordinary `huggingface_hub` cache, which needs no
  network for what it already holds.

  Raises:
    FileNotFoundError: neither.
  """
  folder = pathlib.Path(name).expanduser()
  if folder.is_dir():
    return folder
  if not re.fullmatch(r'[\w-][\w.-]*(/[\w-][\w.-]*)?', str(name)):
    raise FileNotFoundError(
      f'{name} is not a folder; give one that holds a Hugging Face model, or a '
      'hub name such as Qwen/Qwen3-0.6B.'
    )
  import huggingface_hub  # slow to import, and only hub names need it

  try:
    patterns = ['*.json', '*.safetensors', '*.jinja', '*.model', '*.txt']
    return pathlib.Path(
      huggingface_hub.snapshot_download(str(name), allow_patterns=patterns)
    )
  except Exception as error:
    # Many unrelated classes: HTTP, connection, offline mode, absent entry.
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    raise FileNotFoundError(
      f'{name} is not a folder, and the Hugging Face hub did not give it: '
      f'{reason}'
    ) from error


def files(folder: pathlib.Path) -> list[pathlib.Path]:
  """The files of a folder that make it this model and no other, sorted."""
  names = {'config.json', _INDEX, *_COMPANIONS}
  found = [folder / name for name in names if (folder / name).is_file()]
  return sorted([*found, *folder.glob('*.safetensors')])


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
  config = from_hf(folder)
  rows = _table(config, _description(folder)['model_type'])
  return config, _read(folder, config, rows, {}, dtype, shardings)


def is_classifier(folder: str | os.PathLike) -> bool:
  """Whether a folder says that its model classifies whole sequences."""
  named = _description(folder).get('architectures') or ['']
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
  labels = _description(folder).get('id2label') or {}
  if len(labels) > 1:
    raise ValueError(
      f'{folder} gives scores to the labels {[*labels.values()]}, and a reward '
      'is one number; use a model with one label.'
    )
  # There is no output layer; tied, none is looked for.
  config = dataclasses.replace(from_hf(folder), tied=True)
  rows = _table(config, _description(folder)['model_type'])
  rows[_SCORE] = _Row('score.weight', _BIJECTIONS['one row'])
  params = _read(folder, config, rows, {_SCORE: (config.width,)}, dtype, None)
  return config, params, params.pop('score')['kernel']


def _read(folder, config, rows, more, dtype, shardings) -> Params:
  """The arrays of a table; `more` are shapes beside those of the decoder."""
  shapes = {p: entry.shape for p, entry in transformer.table(config).items()}
  shapes |= more
  placed = traverse_util.flatten_dict(shardings) if shardings else {}
  with contextlib.ExitStack() as stack:
    files = _open(folder, stack)
    _check(folder, config, rows, shapes, files)
    flat = {
      path: _array(files, row, shapes[path], dtype, placed.get(path))
      for path, row in rows.items()
    }
  return traverse_util.unflatten_dict(flat)


def _open(folder, stack) -> dict[str, Any]:
  """Tensor name -> the open file that holds it.

  Raises:
    ValueError: a tensor that two files hold, or a whole file beside an index
      of others: which is meant, nobody can tell.
  """
  index = folder / _INDEX
  names = _shard_names(index) if index.is_file() else [_WEIGHTS]
  if _WEIGHTS not in names and (folder / _WEIGHTS).is_file():
    raise ValueError(
      f'{folder} holds both {_WEIGHTS} and {_INDEX}, which names other files; '
      'delete the weights that are not meant.'
    )
  paths = [folder / name for name in names]
  absent = [path.name for path in paths if not path.is_file()]
  if absent:
    raise FileNotFoundError(
      f'{folder} lacks {", ".join(absent)}; weights must be safetensors, so '
      'convert others with save_pretrained.'
    )
  files, homes = {}, {}
  for path in paths:
    try:
      file = stack.enter_context(safetensors.safe_open(path, 'np'))
    except safetensors.SafetensorError as error:
      raise ValueError(
        f'{path} is not a whole safetensors file: {error}; fetch it again.'
      ) from error
    for name in file.keys():
      if name in files:
        raise ValueError(
          f'{folder} holds {name} twice, in {homes[name]} and in {path.name}; '
          'fetch or write it again.'
        )
      files[name], homes[name] = file, path.name
  return files


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


def _check(folder, config, rows, shapes, files):
  """Raises unless the stored tensors are exactly the expected ones."""
  expected = {}
  for path, row in rows.items():
    shape = shapes[path]
    names = _names(row, shape)
    shape = row.bijection.their_shape(shape[row.stacked :])
    expected |= dict.fromkeys(names, shape)
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
      if not _HARMLESS.search(name):
        problems.append(f'leftover {name} {part.get_shape()}')
    elif tuple(part.get_shape()) != expected[name]:
      problems.append(
        f'{name} is {part.get_shape()}, not {list(expected[name])}'
      )
    elif part.get_dtype() not in _DTYPES:
      problems.append(
        f'{name} is {part.get_dtype()}; stored dtypes may be '
        f'{", ".join(_DTYPES)}'
      )
  if problems:
    raise ValueError(
      f'{folder} does not hold the tensors its config.json asks for:\n  '
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
      name = row.name.format(*each)
      x = row.bijection.to_ours(files[name].get_tensor(name), shape[stacked:])
      with np.errstate(over='ignore'):  # refused below, by name
        part[place] = x[index[stacked:]]
      check_finite(name, part[place])
    return part

  if sharding is None:
    return jnp.asarray(read((slice(None),) * len(shape)))
  return jax.make_array_from_callback(shape, sharding, read)


def save(
  folder: str | os.PathLike,
  config: Config,
  params: Params,
  *,
  source: Any,
  tokenizer: Any = None,
  dtype: str | None = None,
  max_shard_bytes: int = 5_000_000_000,
):
  """Writes a model folder that `transformers` loads.

  All is written into a temporary folder beside it, which is then renamed:
  `folder` either appears whole or not at all.

  Args:
    folder: must not exist, or be empty.
    params: as `transformer.table` says: heads left out, LoRA merged.
    source: the folder that was loaded, or a `transformers` configuration;
      config.json comes from it and must describe `config`. Generation
      settings and tokenizer files of a folder come along.
    tokenizer: of `transformers`; saved instead of the source's files.
    dtype: 'float32', 'float16' or 'bfloat16'; None means the one the source
      names, or that of the parameters where it names none.
    max_shard_bytes: weights are split into files of at most this size, except
      where one tensor is larger.

  Raises:
    FileExistsError: `folder` holds something.
    ValueError: parameters or source do not fit `config`; unknown dtype.
  """
  folder = pathlib.Path(folder).absolute()
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise FileExistsError(
      f'{folder} is not empty; delete it or export somewhere else.'
    )
  _check_tree(config, params)
  if from_hf(source) != config:
    raise ValueError(
      f'the source describes {from_hf(source)}, the parameters follow {config};'
      ' give the source they were loaded from.'
    )
  description = _description(source)
  dtype = dtype or description.get('dtype') or str(_dtype_of(params))
  if dtype not in _DTYPES.values():
    raise ValueError(
      f'dtype {dtype!r} is not one of {", ".join(_DTYPES.values())}.'
    )
  description['dtype'] = dtype
  temporary = folder.with_name(f'.{folder.name}.{os.getpid()}.partial')
  temporary.mkdir(parents=True)
  try:
    rows = _table(config, description['model_type'])
    _write_weights(temporary, rows, params, jnp.dtype(dtype), max_shard_bytes)
    _write_json(temporary / 'config.json', description)
    _write_companions(temporary, source, tokenizer)
    for path in temporary.rglob('*'):
      _sync(path)
    os.replace(temporary, folder)
    _sync(folder.parent)
  except BaseException:
    shutil.rmtree(temporary, ignore_errors=True)
    raise


def _dtype_of(params):
  return params['embed']['kernel'].dtype


def _check_tree(config, params):
  """Raises unless the leaves are exactly those of the decoder's table."""
  entries, flat = transformer.table(config), traverse_util.flatten_dict(params)
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


def _description(source) -> dict[str, Any]:
  """config.json, with 'dtype' under its present name."""
  if isinstance(source, (str, os.PathLike)):
    description = json.loads((pathlib.Path(source) / 'config.json').read_text())
  else:
    description = json.loads(source.to_json_string(use_diff=False))
    # Absent from a configuration that no model was made of; servers need it.
    if not description.get('architectures'):
      description['architectures'] = [_CLASSES[source.model_type]]
  # Its name before transformers 5, which readers of old files still accept.
  old = description.pop('torch_dtype', None)
  if old and not description.get('dtype'):
    description['dtype'] = old
  return description


def _tensors(rows, flat, dtype) -> Iterator[tuple[str, np.ndarray]]:
  for path, row in rows.items():
    leaf = np.asarray(flat[path])
    for each in np.ndindex(leaf.shape[: row.stacked]):
      x = row.bijection.to_theirs(leaf[each])
      # safetensors writes the memory as it lies, whatever the strides say.
      yield row.name.format(*each), np.ascontiguousarray(x.astype(dtype))


def _write_weights(folder, rows, params, dtype, max_shard_bytes):
  flat = traverse_util.flatten_dict(params)
  shapes = {path: flat[path].shape for path in rows}
  shards = _shards(rows, shapes, dtype, max_shard_bytes)
  stored = iter(_tensors(rows, flat, dtype))
  index = {}
  for number, names in enumerate(shards, 1):
    file = _WEIGHTS
    if len(shards) > 1:
      file = f'model-{number:05}-of-{len(shards):05}.safetensors'
    tensors = dict(next(stored) for _ in names)
    safetensors.numpy.save_file(tensors, folder / file, {'format': 'pt'})
    index |= dict.fromkeys(tensors, file)
  if len(shards) > 1:
    total = dtype.itemsize * sum(map(math.prod, shapes.values()))
    _write_json(
      folder / _INDEX,
      {'metadata': {'total_size': total}, 'weight_map': index},
    )


def _shards(rows, shapes, dtype, max_shard_bytes) -> list[list[str]]:
  """Names of the tensors of each file, in the order of `_tensors`."""
  shards, room = [[]], max_shard_bytes
  for path, row in rows.items():
    names = _names(row, shapes[path])
    size = dtype.itemsize * math.prod(shapes[path]) // len(names)
    for name in names:
      if size > room and shards[-1]:
        shards.append([])
        room = max_shard_bytes
      shards[-1].append(name)
      room -= size
  return shards


def _write_companions(folder, source, tokenizer):
  if isinstance(source, (str, os.PathLike)):
    for name in _COMPANIONS:
      path = pathlib.Path(source) / name
      settings = name == 'generation_config.json'
      if path.is_file() and (settings or tokenizer is None):
        shutil.copyfile(path, folder / name)
  if tokenizer is not None:
    tokenizer.save_pretrained(folder)


def _write_json(path: pathlib.Path, content: Mapping[str, Any]):
  path.write_text(json.dumps(content, indent=2, sort_keys=True) + '\n')


def _sync(path: pathlib.Path):
  """Flushes a file or a folder to the disk."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
