"""What a decoder is made of: its sizes and the fields that families vary in.

A family (Llama, Qwen, Gemma, ...) is a setting of the fields of `Config`, never
a class of its own; `hf.configuration` reads it out of what Hugging Face calls
one.
"""

from __future__ import annotations

import dataclasses

from jaxrl_llm.policies.language.delta import Delta
from jaxrl_llm.policies.language.rope import Rope

# Kinds of layers that have no keys and values, and whose they read.
READS = {'reader': 'attention', 'global_reader': 'global'}

ACTIVATIONS = ('silu', 'gelu', 'gelu_pytorch_tanh', 'quick_gelu')


@dataclasses.dataclass(frozen=True)
class Config:
  """A decoder. Hashable, so that it can be a static argument of `jax.jit`.

  Attributes:
    vocab: V. width: D, of the residual stream. layers: L. heads: H, of the
      queries. kv_heads: K, divides H. head_dim: h. mlp_width: F.
    norm_epsilon: added to the mean square, in RMSNorm.
    norm_offset: a norm multiplies by offset + scale (Gemma: 1).
    activation: of the gate; one of `ACTIVATIONS`.
    gate_limit: c, bounds gates from above and ups on both sides, and 1 is
      added to these: act(min(gate, c)) (1 + clip(up, -c, c)) (gpt-oss); 0 is
      off, act(gate) up.
    tied: logits use the embedding transposed.
    qkv_bias, o_bias, mlp_bias: which linear maps add a bias; with experts,
      `mlp_bias` is of the router, too.
    qk_norm: RMSNorm of each query and key head before the rotation.
      qk_norm_joint: of all heads of a token at once (OLMo).
    pre_norms: RMSNorm of what attention and MLP read (all but OLMo).
    post_norms: RMSNorm of what they add to the stream (Gemma, OLMo).
    rope: rotation of the layers. local_rope: of layers with a window; None
      means the same. unrotated: one per layer, True on those without any
      (SmolLM 3); () means none.
    value_norm: values are divided by the root of their mean square (Gemma 4).
    global_head_dim, global_kv_heads: of layers without a window, where those
      with one have others (Gemma 4); 0 means the same. global_values: False
      where keys, before their norm, are the values, too.
    readers: so many layers at the end read the keys and values of the last
      layer of their kind before them, and have MLPs of `reader_width`, 0 the
      same (Gemma 4).
    token_width: of what a token says to every layer beside the stream, made of
      an embedding of its own for each (Gemma 4); 0 is nothing.
    layer_scale: a number of each layer, not trained, multiplies what it says.
    windows: one per layer; a token attends to itself and the window - 1
      before it, 0 to all before it. () means 0 everywhere.
    sinks: a head has the score of a key without a value (gpt-oss).
    attention_cap, logit_cap: x becomes cap * tanh(x / cap); 0 is off.
    embedding_scale: multiplies embeddings (Gemma: sqrt(D)).
    query_scale: multiplies queries; 0 means h ** -0.5.
    residual_scale: multiplies what attention and MLP add to the stream, and
      logit_scale the logits (Granite).
    experts: E, of every layer, each as wide as `mlp_width`; 0 is one MLP that
      all tokens use. experts_per_token: k of them.
    experts_norm: the weights of a token's experts are made to sum to 1.
    shared_width: F of an MLP beside the experts that all tokens use, times a
      sigmoid of its own (Qwen3-Next); 0 is none.
    attention_gate: what attention says is multiplied by sigmoids of what it
      read, one for each head and dimension (Qwen3-Next).
    delta: sizes of the delta nets, and deltas: one per layer, True on those
      that have one in place of attention; () means none.
    kernel: what computes attention inside sequences, see `fused.resolve`.
    replay: the sampler keeps which experts its tokens had, and the scorer goes
      through the same ones, see `routes`.
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
  gate_limit: float = 0.0
  tied: bool = False
  qkv_bias: bool = False
  o_bias: bool = False
  mlp_bias: bool = False
  qk_norm: bool = False
  qk_norm_joint: bool = False
  pre_norms: bool = True
  post_norms: bool = False
  rope: Rope = Rope()
  local_rope: Rope | None = None
  unrotated: tuple[bool, ...] = ()
  value_norm: bool = False
  global_head_dim: int = 0
  global_kv_heads: int = 0
  global_values: bool = True
  readers: int = 0
  reader_width: int = 0
  token_width: int = 0
  layer_scale: bool = False
  windows: tuple[int, ...] = ()
  sinks: bool = False
  attention_cap: float = 0.0
  logit_cap: float = 0.0
  embedding_scale: float = 1.0
  query_scale: float = 0.0
  residual_scale: float = 1.0
  logit_scale: float = 1.0
  experts: int = 0
  experts_per_token: int = 0
  experts_norm: bool = False
  shared_width: int = 0
  attention_gate: bool = False
  delta: Delta | None = None
  deltas: tuple[bool, ...] = ()
  kernel: str = 'tiles'
  replay: bool = False

  def __post_init__(self):
    self._check_attention()
    self._check_layers()
    self._check_experts()
    if self.activation not in ACTIVATIONS:
      raise ValueError(
        f'activation {self.activation!r} is not one of {ACTIVATIONS}.'
      )

  def _check_attention(self):
    if self.heads % self.kv_heads:
      raise ValueError(
        f'{self.heads} heads do not share {self.kv_heads} key-value heads '
        'evenly; choose kv_heads that divides heads.'
      )
    if self.head_dim % 2:
      raise ValueError(
        f'head_dim {self.head_dim} is odd; rotations need pairs, make it even.'
      )
    if bool(self.global_head_dim) != bool(self.global_kv_heads):
      raise ValueError(
        f'global_head_dim {self.global_head_dim} with global_kv_heads '
        f'{self.global_kv_heads}; give both or neither.'
      )
    if self.qk_norm_joint and not self.qk_norm:
      raise ValueError('qk_norm_joint says how; it needs qk_norm=True.')

  def _check_layers(self):
    for name in ('windows', 'unrotated', 'deltas'):
      count = len(getattr(self, name))
      if count not in (0, self.layers):
        raise ValueError(
          f'{count} {name} for {self.layers} layers; give one each.'
        )
    told = {*self.kinds[: self.layers - self.readers]}
    asked = {READS[kind] for kind in self.kinds if kind in READS}
    if not asked <= told or (self.readers and self.experts):
      raise ValueError(
        f'{self.readers} readers of {self.layers} layers with kinds '
        f'{self.kinds} and {self.experts} experts; each needs a layer of its '
        'kind before it, and there may be no experts.'
      )
    turned = {
      (kind, rope.turned, rope.interleaved)
      for kind, rope in zip(self.kinds, self.layer_ropes)
      if rope
    }
    if len(turned) > len({kind for kind, _, _ in turned}):
      raise ValueError(
        f'layers rotate {sorted(turned)} (kind, share, interleaved); one for '
        'all of a kind.'
      )
    if any(self.deltas) != bool(self.delta) or all(self.layer_deltas):
      raise ValueError(
        f'deltas {self.deltas} with delta={self.delta}; give sizes where there '
        'are such layers, and leave at least one to attention.'
      )

  def _check_experts(self):
    if self.shared_width and not self.experts:
      raise ValueError('shared_width is beside experts, of which there are 0.')
    if self.replay and not self.experts:
      raise ValueError(
        'model.replay_routes keeps which experts a token had, and this model '
        'has none; leave it out.'
      )
    fewest = 1 if self.experts else 0
    if not fewest <= self.experts_per_token <= self.experts:
      raise ValueError(
        f'a token cannot choose {self.experts_per_token} of {self.experts} '
        'experts; choose at least one, and none where there are none.'
      )

  @property
  def layer_windows(self) -> tuple[int, ...]:
    """L numbers, whether or not `windows` is given."""
    return self.windows or (0,) * self.layers

  @property
  def layer_deltas(self) -> tuple[bool, ...]:
    """One per layer, whether or not `deltas` is given."""
    return self.deltas or (False,) * self.layers

  @property
  def kinds(self) -> tuple[str, ...]:
    """What mixes the tokens of each layer.

    'attention', or 'global' where that has sizes of its own, or 'delta'; of
    readers a key of `READS`.
    """

    def kind(index, delta, window):
      whole = 'global' if self.global_head_dim else 'attention'
      found = 'delta' if delta else 'attention' if window else whole
      if index < self.layers - self.readers:
        return found
      return next(name for name, read in READS.items() if read == found)

    each = range(self.layers), self.layer_deltas, self.layer_windows
    return tuple(map(kind, *each))

  @property
  def segments(self) -> tuple[tuple[int, int, int], ...]:
    """Runs of layers: the first, that after the last, and a period.

    A period is as few layers as the others of its run repeat, 1 where all have
    the same arrays. Readers are a run of their own.
    """
    split = self.layers - self.readers
    runs = [(0, split), (split, self.layers)]
    return tuple(
      (*run, self._period(*run)) for run in runs[: 2 if self.readers else 1]
    )

  def _period(self, first, end):
    if len(set(self.kinds[first:end])) == 1:
      return 1
    told = [*zip(self.kinds, self.layer_windows, self.layer_ropes)][first:end]
    return next(
      n
      for n in range(1, len(told) + 1)
      if len(told) % n == 0 and told == told[:n] * (len(told) // n)
    )

  @property
  def layer_ropes(self) -> tuple[Rope | None, ...]:
    """The rotation of each layer; None on those without."""
    unrotated = self.unrotated or (False,) * self.layers
    local = self.local_rope or self.rope
    return tuple(
      None if still else local if window else self.rope
      for still, window in zip(unrotated, self.layer_windows)
    )


def check_heads(name: str, width: int, heads: int) -> None:
  """Refuses a width that the heads of a fresh model do not share in pairs.

  Args:
    name: of the settings, for the error.

  Raises:
    ValueError: naming the width, and what it may be.
  """
  if width % (2 * heads):
    raise ValueError(
      f'{name}.width={width} does not give {heads} heads an even size each; '
      f'use a multiple of {2 * heads}'
    )
