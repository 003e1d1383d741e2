"""GGUF files, the format of llama.cpp, written as folders that we load.

Such a file holds one model whole: weights, mostly of a few bits each, sizes,
tokenizer and chat template. Weights are dequantised, and what llama.cpp does to
them for its own arithmetic is undone. What its metadata leave open, or what our
decoder does not compute, is refused by name.
"""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.policies.language import parameters, rope
from jaxrl_llm.policies.language.hf import gguf_tokenizer
from jaxrl_llm.policies.language.hf.configuration import config_of
from jaxrl_llm.policies.language.hf.families import FAMILIES
from jaxrl_llm.policies.language.hf.folders import names_of, table
from jaxrl_llm.policies.language.hf.reading import assemble
from jaxrl_llm.policies.language.hf.writing import check_empty, save

Metadata = Mapping[str, Any]

# Their architecture -> our family. Mistral and SmolLM are llama to them, and
# the window of attention that the first Mistral had is in no file.
FAMILY_OF = {
  'llama': 'llama',
  'qwen2': 'qwen2',
  'qwen3': 'qwen3',
  'gemma2': 'gemma2',
  'gemma3': 'gemma3_text',
}
_SIZES = {
  'block_count': 'num_hidden_layers',
  'context_length': 'max_position_embeddings',
  'embedding_length': 'hidden_size',
  'feed_forward_length': 'intermediate_size',
  'attention.head_count': 'num_attention_heads',
}
_EPSILON = 'attention.layer_norm_rms_epsilon'
# Read below, or without effect on what is computed.
_KNOWN = {
  *_SIZES,
  _EPSILON,
  'attention.head_count_kv',
  'attention.key_length',
  'attention.value_length',
  'rope.dimension_count',
  'rope.freq_base',
  'rope.scaling.type',
  'rope.scaling.factor',
  'rope.scaling.original_context_length',
  'rope.scaling.finetuned',
  'tensor_data_layout',
  'vocab_size',
}
_GEMMA = {'attention.sliding_window', 'final_logit_softcapping'}
_KNOWN_OF = {
  'gemma2': _GEMMA | {'attn_logit_softcapping'},
  'gemma3': _GEMMA | {'attention.sliding_window_pattern', 'rope.freq_base_swa'},
}
_ROPE_FACTORS = 'rope_freqs.weight'


class Converted(NamedTuple):
  """What was read: our family, weights, tokens, and how weights are stored."""

  family: str
  weights: int
  tokens: int
  stored: tuple[str, ...]

  def __str__(self):
    return (
      f'{self.family}, {self.weights:,} weights from {", ".join(self.stored)}, '
      f'{self.tokens:,} tokens'
    )


def convert(
  file: str | os.PathLike,
  folder: str | os.PathLike,
  *,
  dtype: str = 'bfloat16',
) -> Converted:
  """Writes the model of a GGUF file as a Hugging Face folder.

  Memory holds the model once, as `dtype`. The tokenizer splits text as that of
  llama.cpp does, and the chat template is the file's own. Whatever ends a turn
  by its name or by the metadata, ends a response.

  Args:
    file: not split into several; its architecture a key of `FAMILY_OF`.
    folder: must not exist, or be empty.
    dtype: of the written weights, 'bfloat16' or 'float32'. bfloat16 rounds
      what was dequantised to 8 bits of precision.

  Raises:
    FileNotFoundError, FileExistsError: no `file`; `folder` holds something.
    ModuleNotFoundError: the package gguf is not installed.
    ValueError: a damaged file, or one that holds what is not supported: an
      architecture, a tokenizer, a way of quantising, a setting, a tensor.
  """
  file, folder = pathlib.Path(file).expanduser(), pathlib.Path(folder)
  check_empty(folder)
  reader = _open(file)
  metadata = {name: _value(field) for name, field in reader.fields.items()}
  tensors = {tensor.name: tensor for tensor in reader.tensors}
  try:
    description = _description(metadata, tensors)
    tokenizer = gguf_tokenizer.build(metadata)
  except ValueError as error:
    raise ValueError(f'{file}: {error}') from error
  with tempfile.TemporaryDirectory() as scratch:
    source = pathlib.Path(scratch)
    description.save_pretrained(source)
    tokenizer.save_pretrained(source)
    (source / 'generation_config.json').write_text(
      json.dumps(gguf_tokenizer.ends(metadata), indent=2) + '\n'
    )
    config = config_of(source)
    family = description.model_type
    files = _named(metadata['general.architecture'], config, family, tensors)
    params = assemble(
      file, files, config, table(config, family), dtype=jnp.dtype(dtype)
    )
    save(folder, config, params, source=source, dtype=dtype)
  return Converted(
    family,
    sum(leaf.size for leaf in jax.tree.leaves(params)),
    len(tokenizer),
    tuple(sorted({x.tensor_type.name for x in tensors.values()})),
  )


def _open(file: pathlib.Path):
  try:
    import gguf
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      "GGUF files need the package gguf: pip install 'jaxrl_llm[gguf]'",
      name='gguf',
    ) from error
  try:
    return gguf.GGUFReader(file)
  except (ValueError, KeyError, IndexError, OverflowError) as error:
    raise ValueError(
      f'{file} is not a whole GGUF file: {error}; fetch it again.'
    ) from error


def _value(field) -> Any:
  """Its content, where a number stored as float32 is the shortest that it is.

  1e-05 becomes 9.99999974e-06 on the way into the file, which config.json would
  say.
  """
  content = field.contents()
  if isinstance(content, float):
    return float(str(np.float32(content)))
  return content


def _description(metadata: Metadata, tensors):
  """The `transformers` configuration that the metadata describe."""
  import transformers

  family = FAMILY_OF.get(metadata.get('general.architecture', ''))
  if family is None:
    raise ValueError(
      f'architecture {metadata.get("general.architecture")!r} is not '
      f'supported; supported are {", ".join(FAMILY_OF)}.'
    )
  if metadata.get('split.count', 1) > 1:
    raise ValueError(
      f'it is one of {metadata["split.count"]} parts; join them first, as in '
      'llama-gguf-split --merge FIRST WHOLE.'
    )
  architecture = metadata['general.architecture']
  start = f'{architecture}.'
  own = {k[len(start) :]: v for k, v in metadata.items() if k.startswith(start)}
  for name in sorted(own.keys() - _KNOWN - _KNOWN_OF.get(architecture, set())):
    raise ValueError(
      f'{architecture} with {name}={own[name]!r} is not supported.'
    )
  fields: dict[str, Any] = {
    theirs: _size(own, name) for name, theirs in _SIZES.items()
  }
  heads = fields['num_attention_heads']
  width = fields['hidden_size'] // heads
  dimensions = own.get('rope.dimension_count', width)
  head_dim = own.get('attention.key_length', dimensions)
  for name in ('attention.value_length', 'rope.dimension_count'):
    if own.get(name, head_dim) != head_dim:
      raise ValueError(
        f'{name}={own[name]} with heads of {head_dim} is not supported.'
      )
  if 'token_embd.weight' not in tensors:
    raise ValueError('it has no token_embd.weight, so it is no whole model.')
  fields |= {
    'architectures': [FAMILIES[family].architecture],
    'vocab_size': int(tensors['token_embd.weight'].shape[1]),
    'num_key_value_heads': _size(own, 'attention.head_count_kv', heads),
    'head_dim': head_dim,
    'rms_norm_eps': _required(own, _EPSILON),
    'rope_parameters': _rope(own, tensors, head_dim),
    'tie_word_embeddings': 'output.weight' not in tensors,
    'bos_token_id': metadata.get('tokenizer.ggml.bos_token_id'),
    'eos_token_id': metadata.get('tokenizer.ggml.eos_token_id'),
    'pad_token_id': metadata.get('tokenizer.ggml.padding_token_id'),
  }
  if family in ('llama', 'qwen3'):
    fields['attention_bias'] = 'blk.0.attn_q.bias' in tensors
  if family == 'llama':
    fields['mlp_bias'] = 'blk.0.ffn_gate.bias' in tensors
  if family in ('gemma2', 'gemma3_text'):
    fields |= _gemma(family, own, fields)
  return transformers.AutoConfig.for_model(family, **fields)


def _required(own: Metadata, name: str) -> Any:
  if name not in own:
    raise ValueError(f'its metadata lack {name}; fetch a newer file.')
  return own[name]


def _size(own: Metadata, name: str, default: int | None = None) -> int:
  value = default if default and name not in own else _required(own, name)
  if not isinstance(value, int):
    raise ValueError(f'{name}={value!r}, one a layer, is not supported.')
  return value


def _rope(own: Metadata, tensors, head_dim: int) -> dict[str, Any]:
  """`rope_parameters` of the layers, where one kind does for all of them."""
  theta = own.get('rope.freq_base', 10_000.0)
  kind = own.get('rope.scaling.type', 'none')
  if _ROPE_FACTORS in tensors:
    return _llama3(theta, _dequantized(tensors[_ROPE_FACTORS]), head_dim)
  if kind == 'none':
    return {'rope_type': 'default', 'rope_theta': theta}
  if kind not in ('linear', 'yarn'):
    raise ValueError(
      f'rope.scaling.type={kind!r} is not supported; supported are none, '
      'linear and yarn.'
    )
  found = {
    'rope_type': kind,
    'rope_theta': theta,
    'factor': _required(own, 'rope.scaling.factor'),
  }
  if kind == 'yarn':
    length = _required(own, 'rope.scaling.original_context_length')
    found['original_max_position_embeddings'] = length
  return found


def _llama3(theta, factors: np.ndarray, head_dim: int) -> dict[str, Any]:
  """The settings of Llama 3.1, which the file holds multiplied out alone.

  Only the factor has ever been another in published models: the slowest pairs
  are divided by all of it.
  """
  plain = rope.Rope(theta).frequencies(head_dim)
  found = rope.Rope(theta, 'llama3', float(np.max(factors)), 8192, 1.0, 4.0)
  if factors.shape != plain.shape or not np.allclose(
    plain / found.frequencies(head_dim), factors, rtol=1e-4
  ):
    raise ValueError(
      f'{_ROPE_FACTORS} does not hold the factors of Llama 3 for 8192 tokens; '
      'others are not supported.'
    )
  return {
    'rope_type': 'llama3',
    'rope_theta': theta,
    'factor': found.factor,
    'low_freq_factor': found.low,
    'high_freq_factor': found.high,
    'original_max_position_embeddings': found.length,
  }


def _gemma(family: str, own: Metadata, fields) -> dict[str, Any]:
  """What Gemma has beside the others; what a file leaves out is llama.cpp's."""
  layers, heads = fields['num_hidden_layers'], fields['num_attention_heads']
  # Its converter leaves the scale of queries out: that of the largest model of
  # each generation differs, and its number of layers tells it.
  largest = layers == (46 if family == 'gemma2' else 62)
  scalar = fields['hidden_size'] // heads if largest else fields['head_dim']
  window = own.get('attention.sliding_window', 0)
  if family == 'gemma2':
    window = _required(own, 'attention.sliding_window')
  every = own.get('attention.sliding_window_pattern')
  if every is None:
    every = 2 if family == 'gemma2' else 6
  if isinstance(every, int):
    every = [(layer + 1) % every != 0 for layer in range(layers)]
  found = {
    'query_pre_attn_scalar': scalar,
    'sliding_window': window,
    'layer_types': [
      'sliding_attention' if slides and window else 'full_attention'
      for slides in every
    ],
    'final_logit_softcapping': own.get('final_logit_softcapping'),
  }
  if family == 'gemma2':
    cap = _required(own, 'attn_logit_softcapping')
    return found | {'attn_logit_softcapping': cap}
  local = own.get('rope.freq_base_swa', 10_000.0)
  return found | {
    'rope_parameters': {
      'full_attention': fields['rope_parameters'],
      'sliding_attention': {'rope_type': 'default', 'rope_theta': local},
    }
  }


def _dequantized(tensor) -> np.ndarray:
  """Its values, float32, with their order of axes."""
  import gguf

  try:
    x = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
  except NotImplementedError as error:
    raise ValueError(
      f'{tensor.name} is stored as {tensor.tensor_type.name}, which the '
      'package gguf does not dequantise; fetch another file of the model.'
    ) from error
  return x.reshape(tensor.shape[::-1].tolist())


class _Stored(NamedTuple):
  """A tensor of the file, read as one of safetensors is."""

  tensor: Any
  undo: Callable[[np.ndarray], np.ndarray]

  def get_slice(self, name):
    del name
    return self

  def get_shape(self):
    return self.tensor.shape[::-1].tolist()

  def get_dtype(self):
    return 'F32'

  def get_tensor(self, name):
    del name
    return self.undo(_dequantized(self.tensor))


def _named(architecture, config, family, tensors) -> dict[str, _Stored]:
  """The tensors by the names of Hugging Face; others keep their own."""
  import gguf

  kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
  names = gguf.get_tensor_name_map(kinds[architecture], config.layers)
  shapes = {p: entry.shape for p, entry in parameters.table(config).items()}
  ours = {
    names.get_name(each, ('.weight', '.bias')): each
    for path, row in table(config, family).items()
    for each in names_of(row, shapes[path])
  }
  files = {}
  for name, tensor in tensors.items():
    if name == _ROPE_FACTORS:
      continue
    undo = _same
    if architecture == 'llama' and '.attn_q.' in name:
      undo = _unpermuted(config.heads)
    elif architecture == 'llama' and '.attn_k.' in name:
      undo = _unpermuted(config.kv_heads)
    elif config.norm_offset and name.endswith('norm.weight'):
      undo = _less(config.norm_offset)
    files[ours.get(name, name)] = _Stored(tensor, undo)
  return files


def _same(x: np.ndarray) -> np.ndarray:
  return x


def _less(offset: float):
  """llama.cpp has one norm for all, so the offset is in its scales."""
  return lambda x: x - np.float32(offset)


def _unpermuted(heads: int):
  """Output rows of each head from pairs (2i, 2i + 1) back to halves.

  llama.cpp rotates neighbours in this architecture, where others rotate
  dimension i with i + half.
  """

  def undo(x):
    pairs = x.reshape(heads, -1, 2, *x.shape[1:])
    return pairs.swapaxes(1, 2).reshape(x.shape)

  return undo
