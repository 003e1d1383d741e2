"""What a decoder is made of: sizes, rotations, and the fields families vary in.

A family (Llama, Mistral, Mixtral, Qwen, Gemma) is a setting of the fields of
`Config`, never a class of its own. `from_hf` reads the setting out of a Hugging
Face configuration and refuses, by name, whatever the decoder does not compute.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
from typing import Any

import numpy as np

ACTIVATIONS = ('silu', 'gelu', 'gelu_pytorch_tanh')
ROPE_KINDS = ('default', 'linear', 'llama3', 'yarn')
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
  'partial_rotary_factor',
}


@dataclasses.dataclass(frozen=True)
class Rope:
  """How fast each pair of head dimensions turns with the position.

  Attributes:
    theta: base wavelength; pair i of h / 2 turns by theta^(-2i/h) a token.
    kind: one of `ROPE_KINDS`.
    factor: how many times longer than trained contexts may be; 'linear',
      'llama3' and 'yarn'.
    length: tokens of a context before extension; 'llama3' and 'yarn'.
    low: 'llama3': wavelengths above length / low are stretched by `factor`.
      'yarn': pairs that turn fewer than `low` times in `length` are.
    high: 'llama3': wavelengths below length / high are kept. 'yarn': pairs
      that turn more than `high` times are.
    amplitude: multiplies cosine and sine ('yarn': the attention factor).
    truncate: 'yarn': round the bounds of the ramp to whole pairs.
  """

  theta: float = 10_000.0
  kind: str = 'default'
  factor: float = 1.0
  length: int = 0
  low: float = 1.0
  high: float = 1.0
  amplitude: float = 1.0
  truncate: bool = True

  def frequencies(self, head_dim: int) -> np.ndarray:
    """Radians per token of each pair of dimensions.

    Args:
      head_dim: h, even.

    Returns:
      f32[h / 2].

    Source: RoFormer, arXiv 2104.09864, section 3.2.2; 'linear' arXiv
    2306.15595; 'yarn' arXiv 2309.00071, section 3.2; 'llama3' arXiv
    2407.21783 and the released model code.
    """
    # float32 throughout, in the order of the reference implementation: at
    # position 10,000 an ulp of the frequency is 1e-3 radians.
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / head_dim
    frequencies = 1.0 / np.float32(self.theta) ** exponents
    if self.kind == 'linear':
      frequencies = frequencies / self.factor
    elif self.kind == 'llama3':
      turns = self.length * frequencies / (2 * math.pi)
      kept = np.clip((turns - self.low) / (self.high - self.low), 0.0, 1.0)
      frequencies = frequencies * (kept + (1.0 - kept) / self.factor)
    elif self.kind == 'yarn':
      kept = self._yarn_kept(head_dim)
      frequencies = frequencies * (kept + (1.0 - kept) / self.factor)
    return frequencies.astype(np.float32)

  def _yarn_kept(self, head_dim: int) -> np.ndarray:
    """f64[h / 2]: 1 where a pair keeps its frequency, 0 where stretched."""

    def pair(turns):  # the pair, as a real number, that turns so many times
      ratio = math.log(self.length / (turns * 2 * math.pi))
      return head_dim * ratio / (2 * math.log(self.theta))

    first, last = pair(self.high), pair(self.low)
    if self.truncate:
      first, last = math.floor(first), math.ceil(last)
    # The published code clips to h - 1, not to h / 2 - 1.
    first, last = max(first, 0), min(last, head_dim - 1)
    width = last - first or 1e-3
    return 1.0 - np.clip((np.arange(head_dim // 2) - first) / width, 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Config:
  """A decoder. Hashable, so that it can be a static argument of `jax.jit`.

  Attributes:
    vocab: V. width: D, of the residual stream. layers: L. heads: H, of the
      queries. kv_heads: K, divides H. head_dim: h. mlp_width: F.
    norm_epsilon: added to the mean square, in RMSNorm.
    norm_offset: a norm multiplies by offset + scale (Gemma: 1).
    activation: of the gate; one of `ACTIVATIONS`.
    tied: logits use the embedding transposed.
    qkv_bias, o_bias, mlp_bias: which linear maps add a bias.
    qk_norm: RMSNorm of each query and key head before the rotation.
    post_norms: RMSNorm of what attention and MLP add to the stream (Gemma).
    rope: rotation of the layers. local_rope: of layers with a window; None
      means the same.
    windows: one per layer; a token attends to itself and the window - 1
      before it, 0 to all before it. () means 0 everywhere.
    attention_cap, logit_cap: x becomes cap * tanh(x / cap); 0 is off.
    embedding_scale: multiplies embeddings (Gemma: sqrt(D)).
    query_scale: multiplies queries; 0 means h ** -0.5.
    experts: E, of every layer, each as wide as `mlp_width`; 0 is one MLP that
      all tokens use. experts_per_token: k of them.
    experts_norm: the weights of a token's experts are made to sum to 1.
  """

  vocab: int
  width: int
  layers: int
  heads: int
  kv_heads: int
  head_dim: int
  mlp_width: int
  norm_epsilon: float = 1e-6
  norm_offset: float = 0.0
  activation: str = 'silu'
  tied: bool = False
  qkv_bias: bool = False
  o_bias: bool = False
  mlp_bias: bool = False
  qk_norm: bool = False
  post_norms: bool = False
  rope: Rope = Rope()
  local_rope: Rope | None = None
  windows: tuple[int, ...] = ()
  attention_cap: float = 0.0
  logit_cap: float = 0.0
  embedding_scale: float = 1.0
  query_scale: float = 0.0
  experts: int = 0
  experts_per_token: int = 0
  experts_norm: bool = False

  def __post_init__(self):
    if self.heads % self.kv_heads:
      raise ValueError(
        f'{self.heads} heads do not share {self.kv_heads} key-value heads '
        'evenly; choose kv_heads that divides heads.'
      )
    if self.head_dim % 2:
      raise ValueError(
        f'head_dim {self.head_dim} is odd; rotations need pairs, make it even.'
      )
    if self.activation not in ACTIVATIONS:
      raise ValueError(
        f'activation {self.activation!r} is not one of {ACTIVATIONS}.'
      )
    if len(self.windows) not in (0, self.layers):
      raise ValueError(
        f'{len(self.windows)} windows for {self.layers} layers; give one each.'
      )
    fewest = 1 if self.experts else 0
    if not fewest <= self.experts_per_token <= self.experts:
      raise ValueError(
        f'a token cannot choose {self.experts_per_token} of {self.experts} '
        'experts; choose at least one, and none where there are none.'
      )
    if self.experts and self.mlp_bias:
      raise ValueError('experts have no biases; leave mlp_bias out.')

  @property
  def layer_windows(self) -> tuple[int, ...]:
    """L numbers, whether or not `windows` is given."""
    return self.windows or (0,) * self.layers


def from_hf(source: Any) -> Config:
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
  if family not in _FAMILIES:
    raise ValueError(_unsupported_family(family))
  _check_fields(family, source)
  rope, local_rope = _ropes(family, source)
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
    'windows': _windows(family, source),
    'rope': rope,
    'local_rope': local_rope,
  }
  return Config(**fields | _FAMILIES[family](source))


def _llama(source):
  return {
    'activation': source.hidden_act,
    'qkv_bias': source.attention_bias,
    'o_bias': source.attention_bias,
    'mlp_bias': source.mlp_bias,
  }


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


_FAMILIES = {
  'llama': _llama,
  'mistral': _mistral,
  'qwen2': _qwen2,
  'qwen3': _qwen3,
  'qwen3_moe': _qwen3_moe,
  'mixtral': _mixtral,
  'gemma2': _gemma2,
  'gemma3_text': _gemma3,
}


def _unsupported_family(family) -> str:
  return (
    f'architecture {family!r} is not supported; supported are '
    f'{", ".join(_FAMILIES)}.'
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
  if not isinstance(family, str) or family not in _FAMILIES:
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
  fields = [
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
  # The reference applies this cap in Gemma 2 only, and ignores it here.
  fields += [('attn_logit_softcapping', None)] * (family == 'gemma3_text')
  for name, plain in fields:
    value = getattr(source, name, plain)
    if value and value != plain:
      raise ValueError(
        f'{family} with {name}={value!r} is not supported; the decoder '
        f'computes {name}={plain!r} only.'
      )


def _windows(family, source) -> tuple[int, ...]:
  layers, window = source.num_hidden_layers, 0
  if family != 'llama':
    window = source.sliding_window or 0
  if family in ('llama', 'mistral', 'mixtral', 'qwen3_moe'):
    return (window,) * layers if window else ()
  kinds = tuple(source.layer_types)
  unknown = sorted(set(kinds) - {'full_attention', 'sliding_attention'})
  if unknown:
    raise ValueError(
      f'{family} with layer_types {unknown} is not supported; supported are '
      'full_attention and sliding_attention.'
    )
  windows = tuple(window * (kind == 'sliding_attention') for kind in kinds)
  return windows if any(windows) else ()


def _ropes(family, source) -> tuple[Rope, Rope | None]:
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


def _rope(family, source, parameters) -> Rope:
  kind = parameters.get('rope_type', 'default')
  if kind not in ROPE_KINDS:
    raise ValueError(
      f'{family} with rope type {kind!r} is not supported; supported are '
      f'{", ".join(ROPE_KINDS)}.'
    )
  unknown = sorted(set(parameters) - _ROPE_KEYS)
  partial = parameters.get('partial_rotary_factor') or 1.0
  if unknown or partial != 1.0:
    raise ValueError(
      f'{family} with rope_parameters {parameters} is not supported: '
      + (f'unknown {unknown}' if unknown else 'partial rotation')
      + '.'
    )
  theta = float(parameters['rope_theta'])
  if kind == 'default':
    return Rope(theta)
  if kind == 'linear':
    return Rope(theta, kind, float(parameters['factor']))
  length = parameters['original_max_position_embeddings']
  # The reference derives a yarn factor that is absent from the lengths.
  factor = parameters['factor'] or source.max_position_embeddings / length
  if kind == 'llama3':
    low, high = parameters['low_freq_factor'], parameters['high_freq_factor']
    return Rope(theta, kind, float(factor), length, low, high)
  return Rope(
    theta,
    kind,
    float(factor),
    length,
    low=parameters.get('beta_slow') or 1.0,
    high=parameters.get('beta_fast') or 32.0,
    amplitude=_yarn_amplitude(factor, parameters),
    truncate=parameters.get('truncate', True),
  )


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
