"""Small decoders of every kind of layer, with random parameters."""

import dataclasses

import jax
import numpy as np
from flax import traverse_util

from jaxrl_llm.policies.language import decoding, parameters, transformer
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.delta import Delta
from jaxrl_llm.policies.language.rope import Rope

PLAIN = Config(
  vocab=50,
  width=32,
  layers=3,
  heads=4,
  kv_heads=2,
  head_dim=8,
  mlp_width=48,
  qk_norm=True,
)

CONFIGS = {
  'plain': dataclasses.replace(PLAIN, tied=True),
  'biased': dataclasses.replace(
    PLAIN, qkv_bias=True, o_bias=True, mlp_bias=True
  ),
  'window': dataclasses.replace(
    PLAIN, windows=(3, 3, 3), unrotated=(False, True, False)
  ),
  'alternating': dataclasses.replace(
    PLAIN,
    windows=(3, 0, 3),
    local_rope=Rope(100.0),
    norm_offset=1.0,
    post_norms=True,
    embedding_scale=32**0.5,
    attention_cap=5.0,
    logit_cap=3.0,
    activation='gelu_pytorch_tanh',
  ),
  'late': dataclasses.replace(
    PLAIN,
    qk_norm_joint=True,
    pre_norms=False,
    post_norms=True,
    rope=Rope(100.0, share=0.5, interleaved=True),
    residual_scale=0.3,
    logit_scale=2.0,
  ),
  'experts': dataclasses.replace(
    PLAIN,
    experts=4,
    experts_per_token=2,
    experts_norm=True,
    mlp_bias=True,
    activation='quick_gelu',
    gate_limit=0.5,
    sinks=True,
  ),
}

CONFIGS['global'] = dataclasses.replace(
  PLAIN,
  layers=4,
  windows=(3, 0) * 2,
  local_rope=Rope(100.0),
  rope=Rope(100.0, 'proportional', share=0.25),
  global_head_dim=12,
  global_kv_heads=1,
  global_values=False,
  value_norm=True,
  readers=2,
  reader_width=20,
  token_width=6,
  layer_scale=True,
)

CONFIGS['delta'] = dataclasses.replace(
  PLAIN,
  layers=4,
  deltas=(True, False) * 2,
  delta=Delta(heads=4, key_heads=2, key_dim=6, value_dim=4, taps=3),
  attention_gate=True,
  rope=Rope(100.0, share=0.5),
  norm_offset=1.0,
  experts=4,
  experts_per_token=2,
  shared_width=12,
)

# float32 sums of tens of terms of order one, in another order: 2e-6 of most,
# but delta nets bring keys and outputs of four to six numbers to length one,
# whatever is left of a short one's precision. Of one state in 192 that was
# 7.2e-5 on one processor, 1.3e-4 on another and 2.8e-4 with other weights; a
# token too many or in the wrong place moves states by 0.01 and more.
TOLERANCE = 1e-3

hidden = jax.jit(
  transformer.hidden,
  static_argnums=1,
  static_argnames=('causal', 'dtype', 'remat', 'unroll'),
)

prefill = jax.jit(decoding.prefill, static_argnums=1, static_argnames='dtype')


def params(config):
  rng = np.random.default_rng(0)
  # Random norms and biases too: they start alike, which would hide mix-ups.
  return traverse_util.unflatten_dict(
    {
      path: np.float32(
        rng.normal(0.0, 0.2, entry.shape) + (path[-1] == 'scale')
      )
      for path, entry in parameters.table(config).items()
    }
  )


def tokens(shape, seed=0):
  return np.random.default_rng(seed).integers(0, 50, shape)


def close(actual, expected):
  np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)
