"""What parameters the decoder has: the one description of them.

A nested dictionary; those of the layers are stacked on axis 0. Initial values,
the sharding specs and the Hugging Face import derive from `table`:

    embed.kernel [V, D]
    layers.{attention_norm, mlp_norm}.scale [L, D]
    layers.{q, k, v}.kernel [L, D, heads, h]   layers.o.kernel [L, H, h, D]
    layers.{gate, up}.kernel [L, D, F]         layers.down.kernel [L, F, D]
      or, with experts,                        layers.router.kernel [L, D, E]
    layers.experts.{gate, up} [L, E, D, F]     layers.experts.down [L, E, F, D]
    final_norm.scale [D]                       unembed.kernel [D, V], if untied

Layers without a window that have sizes of their own have `global_q` and so on,
and readers `reader_q`, `reader_gate` and so on, but no keys and values. What
tokens say to each layer is made of per_layer.embed [V, L, d], per_layer.kernel
[D, L, d] and per_layer.scale [d], and read by layers.token_gate.kernel
[L, D, d], token_out.kernel [L, d, D] and token_norm.scale [L, D].
Where some layers have delta nets (letters as in `delta`), arrays are as many as
layers that have them, L' in place of L, and those with a name of attention
are of the other layers:

    layers.delta_{q, k}.kernel [L', D, J, key_dim]    layers.delta_v.kernel,
    layers.delta_{a, b}.kernel [L', D, H]             delta_z.kernel
    layers.delta_rate.{log, bias} [L', H]               [L', D, H, value_dim]
    layers.delta_conv.{q, k, v} [L', heads, width, K] layers.delta_o.kernel
    layers.delta_norm.scale [L', value_dim]             [L', H, value_dim, D]

and, where the configuration asks, biases beside kernels, `q_norm` and
`k_norm` [L, h] or [L, heads, h], `post_attention_norm` and `post_mlp_norm`
[L, D], numbers of layers, `layer_scale.scale` [L, 1], scores of sinks,
`sinks.score` [L, H], and biases of experts,
`experts.gate_bias` and the like, [L, E, F] and [L, E, D]. Letters as in
`transformer`.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxrl_llm.policies.language.config import READS, Config
from jaxrl_llm.policies.language.delta import Delta
from jaxrl_llm.policies.protocol import Param, initial
from jaxrl_llm.types import Array

Params = dict[str, Any]

_zeros, _ones = jax.nn.initializers.zeros, jax.nn.initializers.ones


def _log_uniform(key, shape, dtype=jnp.float32):
  """log of U(0.01, 16), from which decays of many speeds come."""
  return jnp.log(jax.random.uniform(key, shape, dtype, 0.01, 16.0))


# Modules that only layers with attention have.
_ATTENTION = ('q', 'k', 'v', 'o', 'q_gate', 'q_norm', 'k_norm', 'sinks')
_MLP = ('gate', 'up', 'down')
# Of kinds of layers with arrays of their own, what these are called by; no
# earlier one begins a later one.
PREFIXES = {
  'global_reader': 'global_reader_',
  'reader': 'reader_',
  'global': 'global_',
  'delta': 'delta_',
  'attention': '',
}
# Leaves of layers that stay in their dtype whatever that of the arithmetic.
EXACT = 'delta_rate'


def layers_with(config: Config, module: str) -> tuple[int, ...]:
  """The layers that have a module of `table`, in the order of its arrays."""
  kind = next(kind for kind, own in PREFIXES.items() if module.startswith(own))
  kinds = {kind}
  if kind == 'attention' and module not in _ATTENTION:
    # Readers have MLPs of their own width; all else is in every layer.
    kinds = {*config.kinds} - {*(READS if module in _MLP else ())}
  return tuple(i for i, each in enumerate(config.kinds) if each in kinds)


def table(config: Config) -> dict[tuple[str, ...], Param]:
  """Every parameter by its path.

  Kernels are normal with standard deviation fan_in ** -0.5; those that write
  to the stream are divided by sqrt(2 L), so that its scale does not grow with
  depth. Norms start as the identity, biases at 0.

  Returns:
    path -> `Param`. Logical axes: 'layers', 'vocab', 'embed', 'heads',
    'kv_heads', 'head_dim', 'mlp', 'experts', and 'routes', which are as many;
    'delta_heads' and 'delta_key_heads', 'global_kv_heads' and
    'global_head_dim'.
  """
  to = _Table(config)
  # The order decides which key each parameter is drawn by.
  to.add('embed.kernel', ('vocab', 'embed'), to.wide)
  if config.pre_norms:
    to.norm('layers.attention_norm', 'layers', 'embed')
  for kind in dict.fromkeys(config.kinds):
    if kind in READS:
      _reader(to, kind)
    elif kind != 'delta':
      _attention(to, kind)
  if config.delta:
    _delta(to, config.delta)
  if config.pre_norms:
    to.norm('layers.mlp_norm', 'layers', 'embed')
  if config.experts:
    _experts(to)
  else:
    _mlp(to, '', 'mlp')
  if config.token_width:
    _per_layer(to)
  if config.layer_scale:
    to.add('layers.layer_scale.scale', ('layers', 1), _ones)
  if config.post_norms:
    to.norm('layers.post_attention_norm', 'layers', 'embed')
    to.norm('layers.post_mlp_norm', 'layers', 'embed')
  to.norm('final_norm', 'embed')
  if not config.tied:
    to.add('unembed.kernel', ('embed', 'vocab'), to.wide)
  return to.entries


class _Table:
  """A table that parameters are added to.

  Attributes:
    entries: so far. wide: the initial values of what the stream is read by.
    residual: the gain of kernels that write to the stream.
  """

  def __init__(self, config: Config):
    self.config, self._sizes = config, _sizes(config)
    self.entries: dict[tuple[str, ...], Param] = {}
    self.wide = jax.nn.initializers.normal(config.width**-0.5)
    self.residual = (2 * config.layers) ** -0.5

  def add(self, path, axes, init):
    words = tuple(path.split('.'))
    own = {'layers': len(layers_with(self.config, words[1]))}
    # A number is the size of an axis without a name.
    shape = tuple((self._sizes | own).get(axis, axis) for axis in axes)
    names = tuple(None if isinstance(axis, int) else axis for axis in axes)
    self.entries[words] = Param(shape, names, init)

  def kernel(self, name, inputs, outputs, gain, *each):
    fan_in = math.prod(self._sizes.get(axis, axis) for axis in inputs)
    init = jax.nn.initializers.normal(gain * fan_in**-0.5)
    self.add(f'layers.{name}', ('layers', *each, *inputs, *outputs), init)

  def linear(self, name, inputs, outputs, bias, gain=1.0):
    self.kernel(f'{name}.kernel', inputs, outputs, gain)
    if bias:
      self.add(f'layers.{name}.bias', ('layers', *outputs), _zeros)

  def norm(self, name, *axes):
    identity = jax.nn.initializers.constant(1.0 - self.config.norm_offset)
    self.add(f'{name}.scale', axes, identity)


def _sizes(config: Config) -> dict[str, int]:
  """Of every logical axis but 'layers', which modules have in other numbers."""
  sizes = {
    'vocab': config.vocab,
    'embed': config.width,
    'heads': config.heads,
    'kv_heads': config.kv_heads,
    'head_dim': config.head_dim,
    'global_kv_heads': config.global_kv_heads,
    'global_head_dim': config.global_head_dim,
    'mlp': config.mlp_width,
    'experts': config.experts,
    'routes': config.experts,
    'shared': config.shared_width,
    'reader_mlp': config.reader_width,
    'token': config.token_width,
  }
  if config.delta:
    sizes['delta_heads'] = config.delta.heads
    sizes['delta_key_heads'] = config.delta.key_heads
  return sizes


def _attention(to: _Table, kind: str) -> None:
  config, own = to.config, PREFIXES[kind]
  queries = 'heads', f'{own}head_dim'
  keys = f'{own}kv_heads', f'{own}head_dim'
  to.linear(f'{own}q', ('embed',), queries, config.qkv_bias)
  to.linear(f'{own}k', ('embed',), keys, config.qkv_bias)
  if kind == 'attention' or config.global_values:
    to.linear(f'{own}v', ('embed',), keys, config.qkv_bias)
  if config.qk_norm:
    whole = slice(0 if config.qk_norm_joint else 1, None)
    to.norm(f'layers.{own}q_norm', 'layers', *queries[whole])
    to.norm(f'layers.{own}k_norm', 'layers', *keys[whole])
  if config.attention_gate:
    to.linear(f'{own}q_gate', ('embed',), queries, config.qkv_bias)
  if config.sinks:
    to.add(f'layers.{own}sinks.score', ('layers', 'heads'), _zeros)
  to.linear(f'{own}o', queries, ('embed',), config.o_bias, to.residual)


def _reader(to: _Table, kind: str) -> None:
  """Attention to another layer's keys and values, and an MLP."""
  config, own, read = to.config, PREFIXES[kind], PREFIXES[READS[kind]]
  queries = 'heads', f'{read}head_dim'
  to.linear(f'{own}q', ('embed',), queries, config.qkv_bias)
  if config.qk_norm:
    to.norm(f'layers.{own}q_norm', 'layers', queries[1])
  to.linear(f'{own}o', queries, ('embed',), config.o_bias, to.residual)
  _mlp(to, own, 'reader_mlp' if config.reader_width else 'mlp')


def _mlp(to: _Table, own: str, width: str) -> None:
  bias = to.config.mlp_bias
  to.linear(f'{own}gate', ('embed',), (width,), bias)
  to.linear(f'{own}up', ('embed',), (width,), bias)
  to.linear(f'{own}down', (width,), ('embed',), bias, to.residual)


def _delta(to: _Table, delta: Delta) -> None:
  keys = 'delta_key_heads', delta.key_dim
  values = 'delta_heads', delta.value_dim
  near = jax.nn.initializers.normal(delta.taps**-0.5)
  for name, columns in (('q', keys), ('k', keys), ('v', values)):
    to.linear(f'delta_{name}', ('embed',), columns, False)
    to.add(f'layers.delta_conv.{name}', ('layers', *columns, delta.taps), near)
  to.linear('delta_z', ('embed',), values, False)
  to.linear('delta_a', ('embed',), ('delta_heads',), False)
  to.linear('delta_b', ('embed',), ('delta_heads',), False)
  to.add('layers.delta_rate.log', ('layers', 'delta_heads'), _log_uniform)
  to.add('layers.delta_rate.bias', ('layers', 'delta_heads'), _ones)
  to.add('layers.delta_norm.scale', ('layers', values[1]), _ones)
  to.linear('delta_o', values, ('embed',), False, to.residual)


def _experts(to: _Table) -> None:
  config = to.config
  to.linear('router', ('embed',), ('routes',), config.mlp_bias)
  to.kernel('experts.gate', ('embed',), ('mlp',), 1.0, 'experts')
  to.kernel('experts.up', ('embed',), ('mlp',), 1.0, 'experts')
  to.kernel('experts.down', ('mlp',), ('embed',), to.residual, 'experts')
  if config.mlp_bias:
    to.add('layers.experts.gate_bias', ('layers', 'experts', 'mlp'), _zeros)
    to.add('layers.experts.up_bias', ('layers', 'experts', 'mlp'), _zeros)
    # Small, and every device adds its own rows' biases.
    to.add('layers.experts.down_bias', ('layers', 'routes', 'embed'), _zeros)
  if config.shared_width:
    to.linear('shared_gate', ('embed',), ('shared',), False)
    to.linear('shared_up', ('embed',), ('shared',), False)
    to.linear('shared_down', ('shared',), ('embed',), False, to.residual)
    to.linear('shared_weight', ('embed',), (1,), False)


def _per_layer(to: _Table) -> None:
  """What tokens say to each layer."""
  width, per_layer = to.config.token_width, ('layers', 'token')
  small = jax.nn.initializers.normal(width**-0.5)
  to.add('per_layer.embed', ('vocab', *per_layer), small)
  to.add('per_layer.kernel', ('embed', *per_layer), to.wide)
  to.norm('per_layer', 'token')
  to.linear('token_gate', ('embed',), ('token',), False)
  to.linear('token_out', ('token',), ('embed',), False, to.residual)
  to.norm('layers.token_norm', 'layers', 'embed')


def init(config: Config, key: Array, dtype=jnp.float32) -> Params:
  """Random parameters, as `table` says. Pure, so that `jit` can shard them."""
  return initial(table(config), key, dtype)
