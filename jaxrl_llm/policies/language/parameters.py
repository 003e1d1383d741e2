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

and, where the configuration asks, biases beside kernels, `q_norm` and
`k_norm` [L, h] or [L, heads, h], `post_attention_norm` and `post_mlp_norm`
[L, D], scores of sinks, `sinks.score` [L, H], and biases of experts,
`experts.gate_bias` and the like, [L, E, F] and [L, E, D]. Letters as in
`transformer`.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.protocol import Param, initial
from jaxrl_llm.types import Array

Params = dict[str, Any]

_zeros = jax.nn.initializers.zeros


def table(config: Config) -> dict[tuple[str, ...], Param]:
  """Every parameter by its path.

  Kernels are normal with standard deviation fan_in ** -0.5; those that write
  to the stream are divided by sqrt(2 L), so that its scale does not grow with
  depth. Norms start as the identity, biases at 0.

  Returns:
    path -> `Param`. Logical axes: 'layers', 'vocab', 'embed', 'heads',
    'kv_heads', 'head_dim', 'mlp', 'experts', and 'routes', which are as many.
  """
  sizes = {
    'layers': config.layers,
    'vocab': config.vocab,
    'embed': config.width,
    'heads': config.heads,
    'kv_heads': config.kv_heads,
    'head_dim': config.head_dim,
    'mlp': config.mlp_width,
    'experts': config.experts,
    'routes': config.experts,
  }
  entries = {}

  def add(path, axes, init):
    shape = tuple(sizes[axis] for axis in axes)
    entries[tuple(path.split('.'))] = Param(shape, axes, init)

  def kernel(name, inputs, outputs, gain, *each):
    fan_in = math.prod(sizes[axis] for axis in inputs)
    init = jax.nn.initializers.normal(gain * fan_in**-0.5)
    add(f'layers.{name}', ('layers', *each, *inputs, *outputs), init)

  def linear(name, inputs, outputs, bias, gain=1.0):
    kernel(f'{name}.kernel', inputs, outputs, gain)
    if bias:
      add(f'layers.{name}.bias', ('layers', *outputs), _zeros)

  def norm(name, *axes):
    identity = jax.nn.initializers.constant(1.0 - config.norm_offset)
    add(f'{name}.scale', axes, identity)

  width = jax.nn.initializers.normal(config.width**-0.5)
  residual = (2 * config.layers) ** -0.5
  add('embed.kernel', ('vocab', 'embed'), width)
  if config.pre_norms:
    norm('layers.attention_norm', 'layers', 'embed')
  linear('q', ('embed',), ('heads', 'head_dim'), config.qkv_bias)
  linear('k', ('embed',), ('kv_heads', 'head_dim'), config.qkv_bias)
  linear('v', ('embed',), ('kv_heads', 'head_dim'), config.qkv_bias)
  if config.qk_norm:
    each = config.qk_norm_joint
    norm('layers.q_norm', 'layers', *['heads'] * each, 'head_dim')
    norm('layers.k_norm', 'layers', *['kv_heads'] * each, 'head_dim')
  if config.sinks:
    add('layers.sinks.score', ('layers', 'heads'), _zeros)
  linear('o', ('heads', 'head_dim'), ('embed',), config.o_bias, residual)
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
  else:
    linear('gate', ('embed',), ('mlp',), config.mlp_bias)
    linear('up', ('embed',), ('mlp',), config.mlp_bias)
    linear('down', ('mlp',), ('embed',), config.mlp_bias, residual)
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
