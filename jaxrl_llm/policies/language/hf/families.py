"""Families of Hugging Face models, as settings of the one decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxrl_llm.policies.language.delta import Delta
from jaxrl_llm.policies.language.hf.layouts import (
  GEMMA,
  GLM,
  GLM4,
  GPT_OSS,
  GRANITE_MOE,
  LLAMA,
  MIXTRAL,
  PHI,
  QWEN3_5,
  QWEN3_NEXT,
  Naming,
)


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
    naming: of tensors in files.
    rope_keys: that say nothing about text.
    partial: only some dimensions of a head are rotated. interleaved: as
      `Rope.interleaved`.
  """

  architecture: str
  fields: Callable[[Any], Mapping[str, Any]]
  windows: Callable[[Any], tuple[int, ...]] = _no_windows
  plain: Mapping[str, Any] = MappingProxyType({})
  naming: Naming = LLAMA
  rope_keys: tuple[str, ...] = ()
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


def _qwen3_5(source):
  kinds = tuple(source.layer_types)
  unknown = sorted({*kinds} - {'full_attention', 'linear_attention'})
  if unknown:
    raise ValueError(
      f'{source.model_type} with layer_types {unknown} is not supported; '
      'supported are full_attention and linear_attention.'
    )
  deltas = tuple(kind == 'linear_attention' for kind in kinds)
  return {
    **_qwen3(source),
    'norm_offset': 1.0,
    'attention_gate': True,
    'deltas': deltas if any(deltas) else (),
    'delta': Delta(
      heads=source.linear_num_value_heads,
      key_heads=source.linear_num_key_heads,
      key_dim=source.linear_key_head_dim,
      value_dim=source.linear_value_head_dim,
      taps=source.linear_conv_kernel_dim,
    )
    if any(deltas)
    else None,
  }


def _qwen3_5_moe(source):
  return {
    **_qwen3_5(source),
    'mlp_width': source.moe_intermediate_size,
    'shared_width': source.shared_expert_intermediate_size,
    'experts': source.num_experts,
    'experts_per_token': source.num_experts_per_tok,
    'experts_norm': getattr(source, 'norm_topk_prob', True),
  }


def _gemma4(source):
  plain = source.head_dim, source.num_key_value_heads
  sizes = {'sliding_attention': {plain}, 'full_attention': set()}
  for layer, kind in enumerate(source.layer_types):
    own = source.per_layer_config[layer]
    sizes[kind].add((own.head_dim, own.num_key_value_heads))
  if any(len(each) > 1 for each in sizes.values()):
    raise ValueError(
      f'gemma4_text with heads of the sizes {sizes} is not supported: layers '
      'with a window must have those of the model, and others one.'
    )
  full = max(sizes['full_attention'], default=plain)
  apart = full != plain or source.attention_k_eq_v
  return {
    'activation': source.hidden_activation,
    'qkv_bias': source.attention_bias,
    'o_bias': source.attention_bias,
    'qk_norm': True,
    'value_norm': True,
    'post_norms': True,
    'layer_scale': True,
    'logit_cap': float(source.final_logit_softcapping or 0.0),
    'embedding_scale': source.hidden_size**0.5,
    'query_scale': 1.0,
    'global_head_dim': full[0] if apart else 0,
    'global_kv_heads': full[1] if apart else 0,
    'global_values': not source.attention_k_eq_v,
    'readers': source.num_kv_shared_layers,
    'reader_width': 2 * source.intermediate_size
    if source.num_kv_shared_layers and source.use_double_wide_mlp
    else 0,
    'token_width': source.hidden_size_per_layer_input or 0,
  }


# Gates and queries are one tensor, whose bias none of the models has.
_NO_BIAS = {'attention_bias': False}
# One position a token, which all grids of images share.
_GRIDS = ('mrope_section', 'mrope_interleaved')

FAMILIES = {
  'llama': Family('LlamaForCausalLM', _llama),
  'smollm3': Family('SmolLM3ForCausalLM', _smollm3, _window_by_layer),
  'mistral': Family('MistralForCausalLM', _mistral, _one_window),
  'qwen2': Family('Qwen2ForCausalLM', _qwen2, _window_by_layer),
  'qwen3': Family('Qwen3ForCausalLM', _qwen3, _window_by_layer),
  'qwen3_moe': Family('Qwen3MoeForCausalLM', _qwen3_moe, _one_window),
  'qwen3_next': Family(
    'Qwen3NextForCausalLM',
    _qwen3_5_moe,
    plain=_NO_BIAS,
    naming=QWEN3_NEXT,
    partial=True,
  ),
  'qwen3_5_text': Family(
    'Qwen3_5ForCausalLM',
    _qwen3_5,
    plain=_NO_BIAS,
    naming=QWEN3_5,
    rope_keys=_GRIDS,
    partial=True,
  ),
  'qwen3_5_moe_text': Family(
    'Qwen3_5MoeForCausalLM',
    _qwen3_5_moe,
    plain=_NO_BIAS,
    naming=QWEN3_5,
    rope_keys=_GRIDS,
    partial=True,
  ),
  'mixtral': Family(
    'MixtralForCausalLM', _mixtral, _one_window, naming=MIXTRAL
  ),
  'phi3': Family(
    'Phi3ForCausalLM',
    _mistral,
    _one_window,
    plain={'resid_pdrop': 0.0, 'embd_pdrop': 0.0},
    naming=PHI,
    partial=True,
  ),
  'granite': Family('GraniteForCausalLM', _granite),
  'granitemoe': Family(
    'GraniteMoeForCausalLM',
    _granitemoe,
    naming=GRANITE_MOE,
  ),
  'gpt_oss': Family(
    'GptOssForCausalLM',
    _gpt_oss,
    _window_by_layer,
    # That of quick_gelu.
    plain={'swiglu_alpha': 1.702},
    naming=GPT_OSS,
  ),
  'glm': Family(
    'GlmForCausalLM',
    _glm,
    naming=GLM,
    partial=True,
    interleaved=True,
  ),
  'glm4': Family(
    'Glm4ForCausalLM',
    _glm4,
    naming=GLM4,
    partial=True,
    interleaved=True,
  ),
  'olmo2': Family('Olmo2ForCausalLM', _olmo2, naming=GEMMA),
  'olmo3': Family('Olmo3ForCausalLM', _olmo2, _window_by_layer, naming=GEMMA),
  'gemma2': Family(
    'Gemma2ForCausalLM', _gemma2, _window_by_layer, naming=GEMMA
  ),
  'gemma4_text': Family(
    'Gemma4ForCausalLM',
    _gemma4,
    _window_by_layer,
    plain={'enable_moe_block': False},
    naming=GEMMA,
    partial=True,
  ),
  # The reference caps attention in Gemma 2 only, and ignores the field here.
  'gemma3_text': Family(
    'Gemma3ForCausalLM',
    _gemma3,
    _window_by_layer,
    plain={'attn_logit_softcapping': None},
    naming=GEMMA,
  ),
}


# Models of text and images, and the family of their part that is about text.
COMPOSITES = {
  'gemma3': 'gemma3_text',
  'gemma4': 'gemma4_text',
  'qwen3_5': 'qwen3_5_text',
  'qwen3_5_moe': 'qwen3_5_moe_text',
}
