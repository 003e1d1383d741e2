"""Families of Hugging Face models, as settings of the one decoder.

What the decoder does not compute is refused by name, never approximated.
"""

from __future__ import annotations

import functools
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxrl_llm.policies.language import rope
from jaxrl_llm.policies.language.config import Config

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


def _no_windows(source) -> tuple[int, ...]:
  del source
  return ()


def _one_window(source) -> tuple[int, ...]:
  window = source.sliding_window or 0
  return (window,) * source.num_hidden_layers if window else ()


def _window_by_layer(source) -> tuple[int, ...]:
  window, kinds = source.sliding_window or 0, tuple(source.layer_types)
  unknown = sorted(set(kinds) - {'full_attention', 'sliding_attention'})
  if unknown:
    raise ValueError(
      f'{source.model_type} with layer_types {unknown} is not supported; '
      'supported are full_attention and sliding_attention.'
    )
  windows = tuple(window * (kind == 'sliding_attention') for kind in kinds)
  return windows if any(windows) else ()


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
  rows = sum(heads.values()) * config.head_dim
  parts, first = _gate_and_up(config), 0
  for name, count in heads.items():
    last = first + count * config.head_dim
    shape = rows, config.width
    parts[f'{name}.kernel'] = Part(shape, shape, (slice(first, last),))
    first = last
  return parts


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


class Family(NamedTuple):
  """One `model_type` of Hugging Face.

  Attributes:
    architecture: the class that reads an exported folder. The table in
      `transformers` cannot be imported without torch.
    fields: f(their configuration) -> fields of `Config`, beside the sizes,
      rotations and windows.
    windows: f(their configuration) -> `Config.windows`.
    plain: fields with the one value that the decoder computes, beside those
      that are plain in all families.
    names: of modules of a layer, by ours, that have others than Llama's.
    expert_bijection: of `folders`, between kernels of experts.
    parts: f(`Config`) -> arrays of ours that share a tensor of theirs.
    partial: only some dimensions of a head are rotated. interleaved: as
      `Rope.interleaved`.
  """

  architecture: str
  fields: Callable[[Any], Mapping[str, Any]]
  windows: Callable[[Any], tuple[int, ...]] = _no_windows
  plain: Mapping[str, Any] = MappingProxyType({})
  names: Mapping[str, str] = MappingProxyType({})
  expert_bijection: str = 'transposed'
  parts: Callable[[Config], Mapping[str, Part]] = _no_parts
  partial: bool = False
  interleaved: bool = False


def _llama(source):
  return {
    'activation': source.hidden_act,
    'qkv_bias': source.attention_bias,
    'o_bias': source.attention_bias,
    'mlp_bias': source.mlp_bias,
  }


def _smollm3(source):
  rotated = source.no_rope_layers[: source.num_hidden_layers]
  still = tuple(not each for each in rotated)
  return {**_llama(source), 'unrotated': still if any(still) else ()}


def _mistral(source):
  return {'activation': source.hidden_act}


def _qwen2(source):
  return {'activation': source.hidden_act, 'qkv_bias': True}


def _qwen3(source):
  return {
    'activation': source.hidden_act,
    'qkv_bias': source.attention_bias,
    'o_bias': source.attention_bias,
    'qk_norm': True,
  }


def _qwen3_moe(source):
  return {
    **_qwen3(source),
    'mlp_width': source.moe_intermediate_size,
    'experts': source.num_experts,
    'experts_per_token': source.num_experts_per_tok,
    'experts_norm': source.norm_topk_prob,
  }


def _mixtral(source):
  return {
    **_mistral(source),
    'experts': source.num_local_experts,
    'experts_per_token': source.num_experts_per_tok,
    'experts_norm': True,
  }


def _gemma2(source):
  return {
    'activation': source.hidden_activation,
    'qkv_bias': source.attention_bias,
    'o_bias': source.attention_bias,
    'norm_offset': 1.0,
    'post_norms': True,
    'attention_cap': float(source.attn_logit_softcapping or 0.0),
    'logit_cap': float(source.final_logit_softcapping or 0.0),
    'embedding_scale': source.hidden_size**0.5,
    'query_scale': source.query_pre_attn_scalar**-0.5,
  }


def _gemma3(source):
  return {**_gemma2(source), 'qk_norm': True}


def _olmo2(source):
  return {
    **_qwen3(source),
    'qk_norm_joint': True,
    'pre_norms': False,
    'post_norms': True,
  }


def _granite(source):
  return {
    'activation': source.hidden_act,
    'qkv_bias': source.attention_bias,
    'o_bias': source.attention_bias,
    'mlp_bias': getattr(source, 'mlp_bias', False),
    'embedding_scale': float(source.embedding_multiplier),
    'query_scale': float(source.attention_multiplier),
    'residual_scale': float(source.residual_multiplier),
    'logit_scale': 1.0 / source.logits_scaling,
  }


def _granitemoe(source):
  return {
    **_granite(source),
    'experts': source.num_local_experts,
    'experts_per_token': source.num_experts_per_tok,
    'experts_norm': True,
  }


def _gpt_oss(source):
  return {
    'activation': 'quick_gelu',
    'gate_limit': float(source.swiglu_limit),
    'qkv_bias': source.attention_bias,
    'o_bias': source.attention_bias,
    'mlp_bias': True,
    'sinks': True,
    'experts': source.num_local_experts,
    'experts_per_token': source.num_experts_per_tok,
    'experts_norm': True,
  }


def _glm(source):
  return {
    'activation': source.hidden_act,
    'qkv_bias': source.attention_bias,
  }


def _glm4(source):
  return {**_glm(source), 'post_norms': True}


# Gemma kept the name of what precedes the MLP elsewhere for another norm.
_FEEDFORWARD_NORMS = {
  'mlp_norm': 'pre_feedforward_layernorm',
  'post_attention_norm': 'post_attention_layernorm',
  'post_mlp_norm': 'post_feedforward_layernorm',
}
_MIXTRAL_NAMES = {
  'router': 'block_sparse_moe.gate',
  'experts.gate': 'block_sparse_moe.experts.{}.w1.weight',
  'experts.up': 'block_sparse_moe.experts.{}.w3.weight',
  'experts.down': 'block_sparse_moe.experts.{}.w2.weight',
}
_FUSED_MLP = {'gate': 'mlp.gate_up_proj', 'up': 'mlp.gate_up_proj'}
_GRANITE_MOE_NAMES = {
  'router': 'block_sparse_moe.router.layer',
  'experts.gate': 'block_sparse_moe.input_linear.weight',
  'experts.up': 'block_sparse_moe.input_linear.weight',
  'experts.down': 'block_sparse_moe.output_linear.weight',
}
_GPT_OSS_NAMES = {
  'router': 'mlp.router',
  'experts.gate': 'mlp.experts.gate_up_proj',
  'experts.gate_bias': 'mlp.experts.gate_up_proj_bias',
  'experts.up': 'mlp.experts.gate_up_proj',
  'experts.up_bias': 'mlp.experts.gate_up_proj_bias',
  'experts.down': 'mlp.experts.down_proj',
  'experts.down_bias': 'mlp.experts.down_proj_bias',
}
_GLM4_NORMS = {
  'post_attention_norm': 'post_self_attn_layernorm',
  'post_mlp_norm': 'post_mlp_layernorm',
}
_FUSED = dict.fromkeys('qkv', 'self_attn.qkv_proj') | _FUSED_MLP

FAMILIES = {
  'llama': Family('LlamaForCausalLM', _llama),
  'smollm3': Family('SmolLM3ForCausalLM', _smollm3, _window_by_layer),
  'mistral': Family('MistralForCausalLM', _mistral, _one_window),
  'qwen2': Family('Qwen2ForCausalLM', _qwen2, _window_by_layer),
  'qwen3': Family('Qwen3ForCausalLM', _qwen3, _window_by_layer),
  'qwen3_moe': Family('Qwen3MoeForCausalLM', _qwen3_moe, _one_window),
  'mixtral': Family(
    'MixtralForCausalLM', _mixtral, _one_window, names=_MIXTRAL_NAMES
  ),
  'phi3': Family(
    'Phi3ForCausalLM',
    _mistral,
    _one_window,
    plain={'resid_pdrop': 0.0, 'embd_pdrop': 0.0},
    names=_FUSED,
    parts=_phi_parts,
    partial=True,
  ),
  'granite': Family('GraniteForCausalLM', _granite),
  'granitemoe': Family(
    'GraniteMoeForCausalLM',
    _granitemoe,
    names=_GRANITE_MOE_NAMES,
    expert_bijection='each transposed',
    parts=_granite_parts,
  ),
  'gpt_oss': Family(
    'GptOssForCausalLM',
    _gpt_oss,
    _window_by_layer,
    # That of quick_gelu.
    plain={'swiglu_alpha': 1.702},
    names=_GPT_OSS_NAMES,
    expert_bijection='same',
    parts=_gpt_oss_parts,
  ),
  'glm': Family(
    'GlmForCausalLM',
    _glm,
    names=_FUSED_MLP,
    parts=_gate_and_up,
    partial=True,
    interleaved=True,
  ),
  'glm4': Family(
    'Glm4ForCausalLM',
    _glm4,
    names={**_FUSED_MLP, **_GLM4_NORMS},
    parts=_gate_and_up,
    partial=True,
    interleaved=True,
  ),
  'olmo2': Family('Olmo2ForCausalLM', _olmo2, names=_FEEDFORWARD_NORMS),
  'olmo3': Family(
    'Olmo3ForCausalLM', _olmo2, _window_by_layer, names=_FEEDFORWARD_NORMS
  ),
  'gemma2': Family(
    'Gemma2ForCausalLM', _gemma2, _window_by_layer, names=_FEEDFORWARD_NORMS
  ),
  # The reference caps attention in Gemma 2 only, and ignores the field here.
  'gemma3_text': Family(
    'Gemma3ForCausalLM',
    _gemma3,
    _window_by_layer,
    plain={'attn_logit_softcapping': None},
    names=_FEEDFORWARD_NORMS,
  ),
}


def config_of(source: Any) -> Config:
  """The decoder that a Hugging Face configuration describes.

  Args:
    source: a `transformers` configuration, or a folder with a `config.json`.

  Returns:
    A `Config`.

  Raises:
    FileNotFoundError: the folder has no `config.json`.
    ValueError: an architecture that is not supported, or a field whose value
      the decoder does not compute; the message names it.
  """
  if isinstance(source, (str, os.PathLike)):
    source = _read(pathlib.Path(source))
  family = getattr(source, 'model_type', None)
  if family not in FAMILIES:
    raise ValueError(_unsupported_family(family))
  _check_fields(family, source)
  full, local = _ropes(family, source)
  head_dim = getattr(source, 'head_dim', None)
  fields = {
    'vocab': source.vocab_size,
    'width': source.hidden_size,
    'layers': source.num_hidden_layers,
    'heads': source.num_attention_heads,
    'kv_heads': source.num_key_value_heads,
    'head_dim': head_dim or source.hidden_size // source.num_attention_heads,
    'mlp_width': source.intermediate_size,
    'norm_epsilon': float(source.rms_norm_eps),
    'tied': bool(source.tie_word_embeddings),
    'windows': FAMILIES[family].windows(source),
    'rope': full,
    'local_rope': local,
  }
  return Config(**{**fields, **FAMILIES[family].fields(source)})


def _unsupported_family(family) -> str:
  return (
    f'architecture {family!r} is not supported; supported are '
    f'{", ".join(FAMILIES)}.'
  )


def _read(folder: pathlib.Path):
  file = folder / 'config.json'
  if not file.is_file():
    raise FileNotFoundError(
      f'{folder} has no config.json; give a folder that holds a Hugging Face '
      'model.'
    )
  try:
    family = json.loads(file.read_bytes()).get('model_type')
  except (ValueError, RecursionError, AttributeError) as error:
    raise ValueError(f'{file} is not a JSON object: {error}') from error
  # Before `transformers` sees it: it fails at length on what it does not know.
  if not isinstance(family, str) or family not in FAMILIES:
    raise ValueError(_unsupported_family(family))
  import transformers  # takes 0.6 s, and only real models need it

  try:
    return transformers.AutoConfig.from_pretrained(
      folder, trust_remote_code=False
    )
  except Exception as error:  # its checks raise classes of many libraries
    reason = ' '.join(str(error).split())
    raise ValueError(f'transformers refuses {file}: {reason}') from error


def _check_fields(family, source):
  """Refuses fields that would change the logits or the training silently."""
  fields: list[tuple[str, Any]] = [
    ('attention_dropout', 0.0),
    ('use_bidirectional_attention', False),
    ('use_mrope', False),
    ('quantization_config', None),
    # Those of experts: dense layers, noise on the way to the router, and a
    # loss that balances loads.
    ('decoder_sparse_step', 1),
    ('mlp_only_layers', []),
    ('router_jitter_noise', 0.0),
    ('output_router_logits', False),
  ]
  for name, plain in (*fields, *FAMILIES[family].plain.items()):
    value = getattr(source, name, plain)
    if name == 'quantization_config' and value:
      raise ValueError(
        f'{family} with {name}={value!r} is not supported; load it with '
        'transformers, dequantized, and save that model.'
      )
    if value and value != plain:
      raise ValueError(
        f'{family} with {name}={value!r} is not supported; the decoder '
        f'computes {name}={plain!r} only.'
      )


def _ropes(family, source) -> tuple[rope.Rope, rope.Rope | None]:
  """Rotation of the layers, and of those with a window where it differs."""
  parameters = source.rope_parameters
  nested = 'full_attention' in parameters or 'sliding_attention' in parameters
  if not nested:
    return _rope(family, source, parameters), None
  full, local = (
    _rope(family, source, parameters[kind])
    for kind in ('full_attention', 'sliding_attention')
  )
  return full, None if local == full else local


def _rope(family, source, parameters) -> rope.Rope:
  kind = parameters.get('rope_type', 'default')
  if kind not in rope.KINDS:
    raise ValueError(
      f'{family} with rope type {kind!r} is not supported; supported are '
      f'{", ".join(rope.KINDS)}.'
    )
  unknown = sorted(set(parameters) - _ROPE_KEYS)
  share = float(parameters.get('partial_rotary_factor') or 1.0)
  if unknown or (share != 1.0 and not FAMILIES[family].partial):
    raise ValueError(
      f'{family} with rope_parameters {parameters} is not supported: '
      + (f'unknown {unknown}' if unknown else 'partial rotation')
      + '.'
    )
  turns = functools.partial(
    rope.Rope,
    float(parameters['rope_theta']),
    kind,
    share=share,
    interleaved=FAMILIES[family].interleaved,
  )
  if kind == 'default':
    return turns()
  if kind == 'linear':
    return turns(float(parameters['factor']))
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
