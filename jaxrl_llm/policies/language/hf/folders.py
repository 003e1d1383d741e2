"""What a Hugging Face folder holds, and under which names.

One table (`table`: our path, their name, a named bijection) is used both ways,
so that import then export is the identity on every stored byte.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxrl_llm import hub
from jaxrl_llm.policies.language import parameters
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.hf.configuration import text_of
from jaxrl_llm.policies.language.hf.families import COMPOSITES, FAMILIES
from jaxrl_llm.policies.language.hf.layouts import Part

# Stored dtypes that are read: safetensors name -> the name in config.json.
DTYPES = {'F32': 'float32', 'F16': 'float16', 'BF16': 'bfloat16'}
WEIGHTS = 'model.safetensors'
INDEX = 'model.safetensors.index.json'
# Everything beside the weights that makes a folder a usable model.
COMPANIONS = (
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


class Bijection(NamedTuple):
  """Between an array of ours (one layer or expert) and a tensor of theirs."""

  their_shape: Callable[[tuple[int, ...]], tuple[int, ...]]
  to_ours: Callable[[np.ndarray, tuple[int, ...]], np.ndarray]
  to_theirs: Callable[[np.ndarray], np.ndarray]


def _linear(inputs: int) -> Bijection:
  """Ours has `inputs` axes, then outputs; theirs is [outputs, inputs]."""

  def matrix(shape):
    return math.prod(shape[:inputs]), math.prod(shape[inputs:])

  return Bijection(
    their_shape=lambda shape: matrix(shape)[::-1],
    to_ours=lambda x, shape: x.T.reshape(shape),
    to_theirs=lambda x: x.reshape(matrix(x.shape)).T,
  )


BIJECTIONS = {
  'same': Bijection(lambda shape: shape, lambda x, _: x, lambda x: x),
  'flat': Bijection(
    lambda shape: (math.prod(shape),),
    lambda x, shape: x.reshape(shape),
    lambda x: x.reshape(-1),
  ),
  'rows': Bijection(
    lambda shape: (math.prod(shape[:-1]), shape[-1]),
    lambda x, shape: x.reshape(shape),
    lambda x: x.reshape(-1, x.shape[-1]),
  ),
  'columns': Bijection(
    lambda shape: (shape[0], math.prod(shape[1:])),
    lambda x, shape: x.reshape(shape),
    lambda x: x.reshape(len(x), -1),
  ),
  'transposed': _linear(1),
  'transposed from heads': _linear(2),
  'each transposed': Bijection(
    lambda shape: (*shape[:-2], shape[-1], shape[-2]),
    lambda x, _: x.swapaxes(-1, -2),
    lambda x: x.swapaxes(-1, -2),
  ),
  'one row': Bijection(
    lambda shape: (1, *shape),
    lambda x, shape: x.reshape(shape),
    lambda x: x[None],
  ),
}


class Row(NamedTuple):
  """Where an array of ours is found.

  Attributes:
    name: of the tensor, with {} for the layer, and another for the expert.
    bijection: between ours and the tensor, or its part.
    part: None where the tensor holds nothing else.
    layers: that have one, in our order; () is all.
  """

  name: str
  bijection: Bijection
  part: Part | None = None
  layers: tuple[int, ...] = ()

  @property
  def stacked(self) -> int:
    """Leading axes of our array that count tensors of theirs."""
    return self.name.count('{}')

  def named(self, place: tuple[int, ...]) -> str:
    """The tensor at a place of our array's leading axes."""
    if self.layers:
      place = (self.layers[place[0]], *place[1:])
    return self.name.format(*place)

  def their_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of the tensor that holds one layer's (and expert's) array of ours."""
    return self.part.shape if self.part else self.bijection.their_shape(shape)

  def to_ours(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Our array of that shape, out of their tensor."""
    if self.part:
      x = x.reshape(self.part.view)[self.part.place]
      x = x.reshape(self.bijection.their_shape(shape))
    return self.bijection.to_ours(x, shape)

  def put(self, x: np.ndarray, tensor: np.ndarray) -> None:
    """Writes our array into their tensor, of contiguous memory."""
    x = self.bijection.to_theirs(x)
    if self.part is None:
      tensor[...] = x
      return
    place = tensor.reshape(self.part.view)[self.part.place]
    place[...] = x.reshape(place.shape)


_WHOLE: dict[tuple[str, ...], Row] = {
  ('embed', 'kernel'): Row('model.embed_tokens.weight', BIJECTIONS['same']),
  ('per_layer', 'embed'): Row(
    'model.embed_tokens_per_layer.weight', BIJECTIONS['columns']
  ),
  ('per_layer', 'kernel'): Row(
    'model.per_layer_model_projection.weight', BIJECTIONS['transposed']
  ),
  ('per_layer', 'scale'): Row(
    'model.per_layer_projection_norm.weight', BIJECTIONS['same']
  ),
  ('final_norm', 'scale'): Row('model.norm.weight', BIJECTIONS['same']),
  ('unembed', 'kernel'): Row('lm_head.weight', BIJECTIONS['transposed']),
}
# Modules of a layer by ours, or tensors by ours with the leaf; {} is an expert.
# Families rename some.
_NAMES = {
  'q': 'self_attn.q_proj',
  'k': 'self_attn.k_proj',
  'v': 'self_attn.v_proj',
  'o': 'self_attn.o_proj',
  'sinks.score': 'self_attn.sinks',
  'layer_scale.scale': 'layer_scalar',
  'token_gate': 'per_layer_input_gate',
  'token_out': 'per_layer_projection',
  'token_norm': 'post_per_layer_input_norm',
  'q_norm': 'self_attn.q_norm',
  'k_norm': 'self_attn.k_norm',
  'gate': 'mlp.gate_proj',
  'up': 'mlp.up_proj',
  'down': 'mlp.down_proj',
  'attention_norm': 'input_layernorm',
  'mlp_norm': 'post_attention_layernorm',
  'router': 'mlp.gate',
  'experts.gate': 'mlp.experts.{}.gate_proj.weight',
  'experts.up': 'mlp.experts.{}.up_proj.weight',
  'experts.down': 'mlp.experts.{}.down_proj.weight',
}


def table(config: Config, family: str) -> dict[tuple[str, ...], Row]:
  """Their name and the bijection for each path of `parameters.table`.

  Args:
    family: `model_type` of their configuration: two of one architecture may
      have different names for it.
  """
  naming = FAMILIES[family].naming
  names = {**_NAMES, **naming.names}
  parts = naming.parts(config)
  rows: dict[tuple[str, ...], Row] = {}
  for path in parameters.table(config):
    if path in _WHOLE:
      rows[path] = _WHOLE[path]
      continue
    _, module, leaf = path
    suffix = 'bias' if leaf == 'bias' else 'weight'
    name = names.get(f'{module}.{leaf}')
    if name is None:
      name = f'{names.get(module) or names[_without_kind(module)]}.{suffix}'
    if module.split('_')[-1] == 'o' and leaf == 'kernel':
      bijection = 'transposed from heads'
    elif module == 'delta_conv':
      bijection = 'rows'
    elif module == 'experts':
      bijection = naming.experts
      # Never stored apart from those of other experts.
      bijection = 'same' if leaf.endswith('_bias') else bijection
    elif leaf == 'kernel':
      bijection = 'transposed'
    else:
      bijection = 'flat'
    rows[path] = Row(
      f'model.layers.{{}}.{name}',
      BIJECTIONS[bijection],
      parts.get(f'{module}.{leaf}'),
      parameters.layers_with(config, module),
    )
  return rows


def _without_kind(module):
  """The name that a module has in layers of the first kind."""
  kinds = parameters.PREFIXES.values()
  return module.removeprefix(next(x for x in kinds if module.startswith(x)))


def names_of(row: Row, shape: tuple[int, ...]) -> list[str]:
  """The tensors behind one of our arrays, in its order."""
  return [row.named(each) for each in np.ndindex(shape[: row.stacked])]


def resolve(name: str | os.PathLike) -> pathlib.Path:
  """The folder of a model: a folder itself, or a name on the hub.

  A hub name goes through the ordinary `huggingface_hub` cache, which needs no
  network for what it already holds.

  Raises:
    FileNotFoundError: neither.
    ValueError: a GGUF file, which must become a folder first.
  """
  folder = pathlib.Path(name).expanduser()
  if folder.is_dir():
    return folder
  if folder.suffix == '.gguf':
    raise ValueError(
      f'{name} is a GGUF file; give the folder that python -m '
      f'experiments.convert --file={name} --output=FOLDER writes.'
    )
  if not re.fullmatch(r'[\w-][\w.-]*(/[\w-][\w.-]*)?', str(name)):
    raise FileNotFoundError(
      f'{name} is not a folder; give one that holds a Hugging Face model, or a '
      'hub name such as Qwen/Qwen3-0.6B.'
    )
  import huggingface_hub  # slow to import, and only hub names need it

  absent = hub.absence()
  try:
    patterns = ['*.json', '*.safetensors', '*.jinja', '*.model', '*.txt']
    return pathlib.Path(
      huggingface_hub.snapshot_download(
        str(name), allow_patterns=patterns, local_files_only=bool(absent)
      )
    )
  except Exception as error:
    # Many unrelated classes: HTTP, connection, offline mode, absent entry.
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if absent:
      raise FileNotFoundError(
        f'{name} is not a folder, nor in the cache of the Hugging Face hub, '
        f'and {absent}; {hub.remedy("model", str(name))}'
      ) from error
    raise FileNotFoundError(
      f'{name} is not a folder, and the Hugging Face hub did not give it: '
      f'{reason}'
    ) from error


def files(folder: pathlib.Path) -> list[pathlib.Path]:
  """The files of a folder that make it this model and no other, sorted."""
  names = {'config.json', 'adapter_config.json', INDEX, *COMPANIONS}
  found = [folder / name for name in names if (folder / name).is_file()]
  return sorted([*found, *folder.glob('*.safetensors')])


def is_composite(source) -> bool:
  """Whether more than the decoder is in a folder, or a configuration."""
  if isinstance(source, (str, os.PathLike)):
    said = json.loads((pathlib.Path(source) / 'config.json').read_text())
    return said.get('model_type') in COMPOSITES
  return source.model_type in COMPOSITES


def description_of(source) -> dict[str, Any]:
  """config.json of the decoder, with 'dtype' under its present name."""
  if is_composite(source):
    source = text_of(source)
  if isinstance(source, (str, os.PathLike)):
    description = json.loads((pathlib.Path(source) / 'config.json').read_text())
  else:
    description = json.loads(source.to_json_string(use_diff=False))
    # Absent from a configuration that no model was made of; servers need it.
    if not description.get('architectures'):
      description['architectures'] = [FAMILIES[source.model_type].architecture]
  # Its name before transformers 5, which readers of old files still accept.
  old = description.pop('torch_dtype', None)
  if old and not description.get('dtype'):
    description['dtype'] = old
  return description
