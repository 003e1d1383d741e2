"""A tiny `transformers` configuration of every supported family and variant."""

import transformers

_SIZES = {
  'vocab_size': 48,
  'hidden_size': 32,
  'intermediate_size': 40,
  'num_hidden_layers': 3,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'max_position_embeddings': 64,
  'initializer_range': 0.2,
  'pad_token_id': 0,
  'bos_token_id': 1,
  'eos_token_id': 2,
}
# Chosen so that some pairs are kept, some stretched, and some in between.
_LLAMA3 = {
  'rope_type': 'llama3',
  'rope_theta': 500.0,
  'factor': 8.0,
  'low_freq_factor': 1.0,
  'high_freq_factor': 4.0,
  'original_max_position_embeddings': 64,
}
_YARN = {
  'rope_type': 'yarn',
  'rope_theta': 10_000.0,
  'factor': 4.0,
  'original_max_position_embeddings': 256,
}
# 16 wide heads, for a ramp over several pairs.
_WIDE = {'num_attention_heads': 2, 'num_key_value_heads': 1}
_MOE = {
  'head_dim': 12,
  'num_experts': 6,
  'num_experts_per_tok': 2,
  'moe_intermediate_size': 24,
}
_GEMMA = {'head_dim': 12, 'query_pre_attn_scalar': 20, 'sliding_window': 5}
_GRANITE = {
  'num_hidden_layers': 2,
  'embedding_multiplier': 12.0,
  'attention_multiplier': 0.2,
  'residual_multiplier': 0.3,
  'logits_scaling': 8.0,
}
_DELTA = {
  'num_hidden_layers': 4,
  'full_attention_interval': 2,
  'head_dim': 16,
  'linear_num_key_heads': 2,
  'linear_num_value_heads': 4,
  'linear_key_head_dim': 6,
  'linear_value_head_dim': 4,
  'linear_conv_kernel_dim': 3,
  'shared_expert_intermediate_size': 20,
}
_MOE_DELTA = _MOE | _DELTA
_VARIANTS = {
  'llama2': ('llama', {'num_key_value_heads': 4}),
  'llama3': (
    'llama',
    {'rope_parameters': _LLAMA3, 'max_position_embeddings': 512},
  ),
  'llama_tied': ('llama', {'tie_word_embeddings': True, 'head_dim': 12}),
  'llama_biases': ('llama', {'attention_bias': True, 'mlp_bias': True}),
  'llama_linear': (
    'llama',
    {
      'rope_parameters': {
        'rope_type': 'linear',
        'rope_theta': 1000.0,
        'factor': 3.0,
      }
    },
  ),
  'llama_gelu': ('llama', {'hidden_act': 'gelu'}),
  'smollm3': (
    'smollm3',
    {
      'no_rope_layer_interval': 2,
      'use_sliding_window': True,
      'sliding_window': 5,
      'num_hidden_layers': 2,
    },
  ),
  'mistral': ('mistral', {'sliding_window': 5, 'head_dim': 12}),
  'mistral_unwindowed': ('mistral', {'sliding_window': None}),
  'qwen2': ('qwen2', {'tie_word_embeddings': True}),
  'qwen2_window': (
    'qwen2',
    {
      'use_sliding_window': True,
      'sliding_window': 5,
      'max_window_layers': 1,
    },
  ),
  'qwen2_yarn': (
    'qwen2',
    _WIDE | {'rope_parameters': _YARN, 'max_position_embeddings': 1024},
  ),
  'qwen2_yarn_tuned': (
    'qwen2',
    _WIDE
    | {
      'max_position_embeddings': 16_384,
      'rope_parameters': {
        'rope_type': 'yarn',
        'rope_theta': 1000.0,
        'factor': 4.0,
        'original_max_position_embeddings': 4096,
        'beta_slow': 0.5,
        'mscale': 0.7,
        'mscale_all_dim': 0.3,
        'truncate': False,
      },
    },
  ),
  'qwen3': ('qwen3', {'head_dim': 12, 'tie_word_embeddings': True}),
  'qwen3_biases': ('qwen3', {'head_dim': 12, 'attention_bias': True}),
  'qwen3_moe': ('qwen3_moe', _MOE | {'norm_topk_prob': True}),
  'qwen3_moe_raw': (
    'qwen3_moe',
    _MOE
    | {'num_experts_per_tok': 3, 'use_sliding_window': True}
    | {'sliding_window': 5, 'attention_bias': True},
  ),
  'qwen3_next': ('qwen3_next', _MOE_DELTA),
  'qwen3_5': (
    'qwen3_5_text',
    _DELTA
    | {
      'num_hidden_layers': 2,
      'rope_parameters': {
        'rope_type': 'default',
        'rope_theta': 1000.0,
        'partial_rotary_factor': 0.25,
        'mrope_section': [1, 1, 0],
        'mrope_interleaved': True,
      },
    },
  ),
  'qwen3_5_moe': ('qwen3_5_moe_text', _MOE_DELTA | {'num_hidden_layers': 2}),
  'mixtral': ('mixtral', {'num_local_experts': 4, 'sliding_window': 5}),
  'phi3': ('phi3', {'sliding_window': 5, 'num_hidden_layers': 2}),
  # Phi-4 mini: 6 of 8 dimensions turn, by the factors of short contexts.
  'phi4': (
    'phi3',
    {
      'num_hidden_layers': 2,
      'tie_word_embeddings': True,
      'original_max_position_embeddings': 64,
      'max_position_embeddings': 512,
      'rope_parameters': {
        'rope_type': 'longrope',
        'rope_theta': 1000.0,
        'partial_rotary_factor': 0.75,
        'short_factor': [1.0, 1.5, 2.5],
        'long_factor': [1.0, 4.0, 9.0],
      },
    },
  ),
  'granite': ('granite', _GRANITE),
  'granitemoe': ('granitemoe', _GRANITE | {'num_local_experts': 4}),
  'glm': ('glm', {'num_hidden_layers': 2, 'head_dim': 12}),
  'glm4': ('glm4', {'num_hidden_layers': 2, 'attention_bias': False}),
  'gpt_oss': (
    'gpt_oss',
    _WIDE
    | {
      'head_dim': 16,
      'num_hidden_layers': 2,
      'num_local_experts': 4,
      'num_experts_per_tok': 2,
      'swiglu_limit': 1.5,
      'sliding_window': 5,
      'max_position_embeddings': 1024,
      'rope_parameters': _YARN | {'truncate': False},
    },
  ),
  'olmo2': ('olmo2', {'num_hidden_layers': 2}),
  'olmo3': (
    'olmo3',
    _WIDE
    | {
      'num_hidden_layers': 2,
      'max_position_embeddings': 1024,
      'sliding_window': 5,
      'layer_types': ['sliding_attention', 'full_attention'],
      'rope_parameters': {
        'full_attention': _YARN,
        'sliding_attention': {'rope_type': 'default', 'rope_theta': 10_000.0},
      },
    },
  ),
  'gemma2': ('gemma2', _GEMMA),
  'gemma3': (
    'gemma3_text',
    _GEMMA
    | {
      'sliding_window_pattern': 3,
      'rope_parameters': {
        'full_attention': {
          'rope_type': 'linear',
          'factor': 4.0,
          'rope_theta': 1000.0,
        },
        'sliding_attention': {'rope_type': 'default', 'rope_theta': 100.0},
      },
    },
  ),
  'gemma4': (
    'gemma4_text',
    {
      'num_hidden_layers': 4,
      'layer_types': ['sliding_attention', 'full_attention'] * 2,
      'head_dim': 8,
      'global_head_dim': 16,
      'num_global_key_value_heads': 1,
      'attention_k_eq_v': True,
      'sliding_window': 5,
      'hidden_size_per_layer_input': 0,
      'final_logit_softcapping': 4.0,
    },
  ),
  # The small ones: what tokens say to layers, and the last layers read keys.
  'gemma4_small': (
    'gemma4_text',
    {
      'num_hidden_layers': 4,
      'layer_types': ['sliding_attention', 'full_attention'] * 2,
      'head_dim': 8,
      'global_head_dim': 16,
      'sliding_window': 5,
      'hidden_size_per_layer_input': 6,
      'vocab_size_per_layer_input': 48,
      'num_kv_shared_layers': 2,
      'use_double_wide_mlp': True,
    },
  ),
  'gemma3_caps': (
    'gemma3_text',
    _GEMMA | {'sliding_window_pattern': 2, 'final_logit_softcapping': 4.0},
  ),
}
NAMES = tuple(_VARIANTS)


def hf_config(name: str, **changes):
  """The configuration of a variant, with some fields changed."""
  family, fields = _VARIANTS[name]
  return transformers.AutoConfig.for_model(family, **_SIZES | fields | changes)
