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
from jaxrl_llm.policies.protocol import Param, initial
from jaxrl_llm.types import Array

Params = dict[str, Any]

_zeros = jax.nn.initializers.zeros


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
  sizes = {
    'layers': config.layers,
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
  entries = {}

  def add(path, axes, init):
    words = tuple(path.split('.'))
    own = {'layers': len(layers_with(config, words[1]))}
    # A number is the size of an axis without a name.
    shape = tuple((sizes | own).get(axis, axis) for axis in axes)
    names = tuple(None if isinstance(axis, int) else axis for axis in axes)
    entries[words] = Param(shape, names, init)

  def kernel(name, inputs, outputs, gain, *each):
    fan_in = math.prod(sizes.get(axis, axis) for axis in inputs)
    init = jax.nn.initializers.normal(gain * fan_in**-0.5)
    add(f'layers.{name}', ('layers', *each, *inputs, *outputs), init)

  def linear(name, inputs, outputs, bias, gain=1.0):
    kernel(f'{name}.kernel', inputs, outputs, gain)
    if bias:
      add(f'layers.{name}.bias', ('layers', *outputs), _zeros)

  def norm(name, *axes):
    identity = jax.nn.initializers.constant(1.0 - config.norm_offset)
    add(f'{name}.scale', axes, identity)

  def attention(kind):
    own = PREFIXES[kind]
    queries = 'heads', f'{own}head_dim'
    keys = f'{own}kv_heads', f'{own}head_dim'
    linear(f'{own}q', ('embed',), queries, config.qkv_bias)
    linear(f'{own}k', ('embed',), keys, config.qkv_bias)
    if kind == 'attention' or config.global_values:
      linear(f'{own}v', ('embed',), keys, config.qkv_bias)
    if config.qk_norm:
      whole = slice(0 if config.qk_norm_joint else 1, None)
      norm(f'layers.{own}q_norm', 'layers', *queries[whole])
      norm(f'layers.{own}k_norm', 'layers', *keys[whole])
    if config.attention_gate:
      linear(f'{own}q_gate', ('embed',), queries, config.qkv_bias)
    if config.sinks:
      add(f'layers.{own}sinks.score', ('layers', 'heads'), _zeros)
    linear(f'{own}o', queries, ('embed',), config.o_bias, residual)

  def reader(kind):
    own, read = PREFIXES[kind], PREFIXES[READS[kind]]
    queries = 'heads', f'{read}head_dim'
    linear(f'{own}q', ('embed',), queries, config.qkv_bias)
    if config.qk_norm:
      norm(f'layers.{own}q_norm', 'layers', queries[1])
    linear(f'{own}o', queries, ('embed',), config.o_bias, residual)
    wide = 'reader_mlp' if config.reader_width else 'mlp'
    linear(f'{own}gate', ('embed',), (wide,), config.mlp_bias)
    linear(f'{own}up', ('embed',), (wide,), config.mlp_bias)
    linear(f'{own}down', (wide,), ('embed',), config.mlp_bias, residual)

  width = jax.nn.initializers.normal(config.width**-0.5)
  residual = (2 * config.layers) ** -0.5
  add('embed.kernel', ('vocab', 'embed'), width)
  if config.pre_norms:
    norm('layers.attention_norm', 'layers', 'embed')
  for kind in dict.fromkeys(config.kinds):
    if kind in READS:
      reader(kind)
    elif kind != 'delta':
      attention(kind)
  if config.delta:
    keys = 'delta_key_heads', config.delta.key_dim
    values = 'delta_heads', config.delta.value_dim
    for name, columns in (('q', keys), ('k', keys), ('v', values)):
      linear(f'delta_{name}', ('embed',), columns, False)
      taps = config.delta.taps
      near = jax.nn.initializers.normal(taps**-0.5)
      add(f'layers.delta_conv.{name}', ('layers', *columns, taps), near)
    linear('delta_z', ('embed',), values, False)
    linear('delta_a', ('embed',), ('delta_heads',), False)
    linear('delta_b', ('embed',), ('delta_heads',), False)
    add('layers.delta_rate.log', ('layers', 'delta_heads'), _log_uniform)
    ones = jax.nn.initializers.ones
    add('layers.delta_rate.bias', ('layers', 'delta_heads'), ones)
    add('layers.delta_norm.scale', ('layers', values[1]), ones)
    linear('delta_o', values, ('embed',), False, residual)
  if config.pre_norms:
    norm('layers.mlp_norm', 'layers', 'embed')
  if config.experts:
    linear('router', ('embed',), ('routes',), config.mlp_bias)
    kernel('experts.gate', ('embed',), ('mlp',), 1.0, 'experts')
    kernel('experts.up', ('embed',), ('mlp',), 1.0, 'experts')
    kernel('experts.down', ('mlp',), ('embed',), residual, 'experts')
    if config.mlp_bias:
      add('layers.experts.gate_bias', ('layers', 'experts', 'mlp'), _zeros)
      add('layers.experts.up_bias', ('layers', 'experts', 'mlp'), _zeros)
      # Small, and every device adds its own rows' biases.
      add('layers.experts.down_bias', ('layers', 'routes', 'embed'), _zeros)
    if config.shared_width:
      linear('shared_gate', ('embed',), ('shared',), False)
      linear('shared_up', ('embed',), ('shared',), False)
      linear('shared_down', ('shared',), ('embed',), False, residual)
      linear('shared_weight', ('embed',), (1,), False)
  else:
    linear('gate', ('embed',), ('mlp',), config.mlp_bias)
    linear('up', ('embed',), ('mlp',), config.mlp_bias)
    linear('down', ('mlp',), ('embed',), config.mlp_bias, residual)
  if config.token_width:
    per_layer = 'layers', 'token'
    small = jax.nn.initializers.normal(config.token_width**-0.5)
    add('per_layer.embed', ('vocab', *per_layer), small)
    add('per_layer.kernel', ('embed', *per_layer), width)
    norm('per_layer', 'token')
    linear('token_gate', ('embed',), ('token',), False)
    linear('token_out', ('token',), ('embed',), False, residual)
    norm('layers.token_norm', 'layers', 'embed')
  if config.layer_scale:
    ones = jax.nn.initializers.ones
    add('layers.layer_scale.scale', ('layers', 1), ones)
  if config.post_norms:
    norm('layers.post_attention_norm', 'layers', 'embed')
    norm('layers.post_mlp_norm', 'layers', 'embed')
  norm('final_norm', 'embed')
  if not config.tied:
    add('unembed.kernel', ('embed', 'vocab'), width)
  return entries


def init(config: Config, key: Array, dtype=jnp.float32) -> Params:
  """Random parameters, as `table` says. Pure, so that `jit` can shard them."""
  return initial(table(config), key, dtype)
