"""Where arrays of ours lie in the tensors of each family's files.

Most families follow Llama. Others rename modules, or store several of our
arrays in one tensor.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxrl_llm.policies.language.config import Config


class Part(NamedTuple):
  """What one array of ours is in a tensor of theirs that holds several.

  Attributes:
    shape: of the tensor. view: the same with more axes apart.
    place: in the view, of what is ours.
  """

  shape: tuple[int, ...]
  view: tuple[int, ...]
  place: tuple[Any, ...]


def _no_parts(config) -> dict[str, Part]:
  del config
  return {}


def _gate_and_up(config) -> dict[str, Part]:
  shape = 2 * config.mlp_width, config.width
  view = 2, config.mlp_width, config.width
  return {
    'gate.kernel': Part(shape, view, (0,)),
    'up.kernel': Part(shape, view, (1,)),
  }


def _phi_parts(config) -> dict[str, Part]:
  heads = {'q': config.heads, 'k': config.kv_heads, 'v': config.kv_heads}
  rows = {f'{x}.kernel': n * config.head_dim for x, n in heads.items()}
  parts = _one_after_the_other(rows, (config.width,))
  return _gate_and_up(config) | parts


def _granite_parts(config) -> dict[str, Part]:
  experts, columns, width = config.experts, config.mlp_width, config.width
  shape, view = (experts, 2 * columns, width), (experts, 2, columns, width)
  return {
    f'experts.{name}': Part(shape, view, (slice(None), place))
    for place, name in enumerate(('gate', 'up'))
  }


def _gpt_oss_parts(config) -> dict[str, Part]:
  experts, width, columns = config.experts, config.width, config.mlp_width
  parts = {}
  # Columns of gate and up take turns.
  for place, name in enumerate(('gate', 'up')):
    for leaf, rows in ((name, (width,)), (f'{name}_bias', ())):
      shape = experts, *rows, 2 * columns
      view = experts, *rows, columns, 2
      parts[f'experts.{leaf}'] = Part(shape, view, (..., place))
  return parts


def _delta_rows(config) -> dict[str, int]:
  sizes = config.delta
  keys = sizes.key_heads * sizes.key_dim
  return {'q': keys, 'k': keys, 'v': sizes.heads * sizes.value_dim}


def _one_after_the_other(rows, width) -> dict[str, Part]:
  """Parts of one tensor by their numbers of rows, each of shape `width`."""
  ends = [*itertools.accumulate(rows.values())]
  view = ends[-1], width[-1]
  return {
    name: Part((ends[-1], *width), view, (slice(end - count, end),))
    for (name, count), end in zip(rows.items(), ends)
  }


def _gated_queries(config) -> dict[str, Part]:
  shape = 2 * config.heads * config.head_dim, config.width
  view = config.heads, 2, config.head_dim, config.width
  return {
    'q.kernel': Part(shape, view, (slice(None), 0)),
    'q_gate.kernel': Part(shape, view, (slice(None), 1)),
  }


def _taps(config) -> dict[str, Part]:
  parts = _one_after_the_other(_delta_rows(config), (1, config.delta.taps))
  return {f'delta_conv.{name}': part for name, part in parts.items()}


def _qwen3_next_parts(config) -> dict[str, Part]:
  parts = _gated_queries(config) | _taps(config)
  sizes, each = config.delta, config.delta.heads // config.delta.key_heads
  # The columns of a head of keys, with those of its heads of values.
  values = each * sizes.value_dim
  for columns in (
    {'q': sizes.key_dim, 'k': sizes.key_dim, 'v': values, 'z': values},
    {'b': each, 'a': each},
  ):
    rows, first = sum(columns.values()), 0
    shape = sizes.key_heads * rows, config.width
    view = sizes.key_heads, rows, config.width
    for name, count in columns.items():
      place = slice(None), slice(first, first + count)
      parts[f'delta_{name}.kernel'] = Part(shape, view, place)
      first += count
  return parts


def _qwen3_5_parts(config) -> dict[str, Part]:
  parts = _one_after_the_other(_delta_rows(config), (config.width,))
  named = {f'delta_{name}.kernel': part for name, part in parts.items()}
  return _gated_queries(config) | _taps(config) | named


class Naming(NamedTuple):
  """How the files of a family differ from Llama's.

  Attributes:
    names: of modules of a layer by ours, or of tensors by ours with the leaf;
      {} is an expert.
    parts: f(`Config`) -> arrays of ours that share a tensor of theirs.
    experts: the bijection of `folders` between kernels of experts.
  """

  names: Mapping[str, str] = MappingProxyType({})
  parts: Callable[[Config], Mapping[str, Part]] = _no_parts
  experts: str = 'transposed'


LLAMA = Naming()
# Gemma kept the name of what precedes the MLP elsewhere for another norm.
GEMMA = Naming(
  {
    'mlp_norm': 'pre_feedforward_layernorm',
    'post_attention_norm': 'post_attention_layernorm',
    'post_mlp_norm': 'post_feedforward_layernorm',
  }
)
MIXTRAL = Naming(
  {
    'router': 'block_sparse_moe.gate',
    'experts.gate': 'block_sparse_moe.experts.{}.w1.weight',
    'experts.up': 'block_sparse_moe.experts.{}.w3.weight',
    'experts.down': 'block_sparse_moe.experts.{}.w2.weight',
  }
)
GRANITE_MOE = Naming(
  {
    'router': 'block_sparse_moe.router.layer',
    'experts.gate': 'block_sparse_moe.input_linear.weight',
    'experts.up': 'block_sparse_moe.input_linear.weight',
    'experts.down': 'block_sparse_moe.output_linear.weight',
  },
  _granite_parts,
  experts='each transposed',
)
GPT_OSS = Naming(
  {
    'router': 'mlp.router',
    'experts.gate': 'mlp.experts.gate_up_proj',
    'experts.gate_bias': 'mlp.experts.gate_up_proj_bias',
    'experts.up': 'mlp.experts.gate_up_proj',
    'experts.up_bias': 'mlp.experts.gate_up_proj_bias',
    'experts.down': 'mlp.experts.down_proj',
    'experts.down_bias': 'mlp.experts.down_proj_bias',
  },
  _gpt_oss_parts,
  experts='same',
)
_FUSED_MLP = {'gate': 'mlp.gate_up_proj', 'up': 'mlp.gate_up_proj'}
PHI = Naming(
  dict.fromkeys('qkv', 'self_attn.qkv_proj') | _FUSED_MLP, _phi_parts
)
GLM = Naming(_FUSED_MLP, _gate_and_up)
GLM4 = Naming(
  _FUSED_MLP
  | {
    'post_attention_norm': 'post_self_attn_layernorm',
    'post_mlp_norm': 'post_mlp_layernorm',
  },
  _gate_and_up,
)
_DELTA = {
  'q_gate': 'self_attn.q_proj',
  'delta_z': 'linear_attn.in_proj_z',
  'delta_a': 'linear_attn.in_proj_a',
  'delta_b': 'linear_attn.in_proj_b',
  'delta_o': 'linear_attn.out_proj',
  'delta_norm': 'linear_attn.norm',
  'delta_rate.log': 'linear_attn.A_log',
  'delta_rate.bias': 'linear_attn.dt_bias',
  **{f'delta_conv.{x}': 'linear_attn.conv1d.weight' for x in 'qkv'},
  'shared_gate': 'mlp.shared_expert.gate_proj',
  'shared_up': 'mlp.shared_expert.up_proj',
  'shared_down': 'mlp.shared_expert.down_proj',
  'shared_weight': 'mlp.shared_expert_gate',
}
QWEN3_5 = Naming(
  _DELTA | {f'delta_{x}': 'linear_attn.in_proj_qkv' for x in 'qkv'},
  _qwen3_5_parts,
)
QWEN3_NEXT = Naming(
  _DELTA
  | {f'delta_{x}': 'linear_attn.in_proj_qkvz' for x in 'qkvz'}
  | {f'delta_{x}': 'linear_attn.in_proj_ba' for x in 'ba'},
  _qwen3_next_parts,
)
