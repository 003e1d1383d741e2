"""One layer of the decoder: attention or a delta net, and an MLP or experts.

How tokens are mixed is given by who calls: `transformer` has four ways to.
Letters as there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxrl_llm.policies.language import experts, parameters
from jaxrl_llm.types import Array

_ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
  'silu': jax.nn.silu,
  'gelu': functools.partial(jax.nn.gelu, approximate=False),
  'gelu_pytorch_tanh': functools.partial(jax.nn.gelu, approximate=True),
  'quick_gelu': lambda x: x * jax.nn.sigmoid(1.702 * x),
}


def block(
  layer, config, kind, x, rotation, mix, told=None, read=None, routes=None
):
  """One layer on [..., D], of one of `Config.kinds`.

  Args:
    mix: f(q, k, v, sinks) -> what attention says, and a cache, where sinks are
      their scores or None; of a delta net f(inputs, kernels, rate, beta), as
      of `delta.sequence`.
    told: [..., d], what the tokens say to this layer; None where nothing.
    read: keys and values, of a reader.
    routes: [..., k], experts that tokens have, see `experts.route`.

  Returns:
    [..., D], the cache, the keys and values of attention, and i32[..., k], the
    experts of each token, or None.
  """
  y = norm(layer['attention_norm'], config, x) if config.pre_norms else x
  if kind == 'delta':
    (y, kept), pair = _delta(layer, config, y, mix), None
  else:
    own = parameters.PREFIXES[kind]
    layer = {name.removeprefix(own): each for name, each in layer.items()}
    y, kept, pair = _attention(layer, config, y, rotation, mix, read)
  if config.post_norms:
    y = norm(layer['post_attention_norm'], config, y)
  x = x + config.residual_scale * y
  y = norm(layer['mlp_norm'], config, x) if config.pre_norms else x
  y, chosen = _mlp(layer, config, y, routes)
  if config.post_norms:
    y = norm(layer['post_mlp_norm'], config, y)
  x = x + config.residual_scale * y
  if told is not None:
    gate = _ACTIVATIONS[config.activation](linear(layer['token_gate'], x))
    y = linear(layer['token_out'], gate * told)
    x = x + norm(layer['token_norm'], config, y)
  if config.layer_scale:
    scale = jax.lax.stop_gradient(layer['layer_scale']['scale'])
    x = x * scale.astype(x.dtype)
  return x, kept, pair, chosen


def _attention(layer, config, x, rotation, mix, read):
  q = linear(layer['q'], x)
  if config.qk_norm:
    q = norm(layer['q_norm'], config, q)
  scale = config.query_scale or q.shape[-1] ** -0.5
  q = rotated(config, q, rotation, scale)
  k, v = read or _keys_and_values(layer, config, x, rotation)
  sinks = layer['sinks']['score'] if config.sinks else None
  y, kept = mix(q, k, v, sinks)
  if config.attention_gate:
    y = y * jax.nn.sigmoid(linear(layer['q_gate'], x))
  return linear(layer['o'], y, inputs=2), kept, (k, v)


def _keys_and_values(layer, config, x, rotation):
  k = linear(layer['k'], x)
  v = linear(layer['v'], x) if 'v' in layer else k
  if config.value_norm:
    v = _unit(v, 1, config.norm_epsilon).astype(v.dtype)
  if config.qk_norm:
    k = norm(layer['k_norm'], config, k)
  return rotated(config, k, rotation), v


def _delta(layer, config, x, mix):
  inputs = {name: linear(layer[f'delta_{name}'], x) for name in 'qkv'}
  log, bias = (
    layer[parameters.EXACT][name].astype(jnp.float32)
    for name in ('log', 'bias')
  )
  speed = linear(layer['delta_a'], x).astype(jnp.float32)
  rate = -jnp.exp(log) * jax.nn.softplus(speed + bias)
  beta = jax.nn.sigmoid(linear(layer['delta_b'], x))
  y, kept = mix(inputs, layer['delta_conv'], rate, beta)
  scale = layer['delta_norm']['scale']
  # The gate is applied after the norm, whose scale has no offset.
  y = _unit(y, 1, config.norm_epsilon) * scale.astype(jnp.float32)
  gate = linear(layer['delta_z'], x).astype(jnp.float32)
  y = (y * jax.nn.silu(gate)).astype(x.dtype)
  return linear(layer['delta_o'], y, inputs=2), kept


def _mlp(layer, config, x, routes):
  gated = _gated(config.activation, config.gate_limit)

  def mlp(gate, up, down):
    y = gated(linear(layer[gate], x), linear(layer[up], x))
    return linear(layer[down], y)

  if not config.experts:
    return mlp('gate', 'up', 'down'), None
  routed = experts.route(layer['router'], config, x, routes)
  y = experts.mixture(layer, config, x, gated, routed)
  if config.shared_width:
    weight = jax.nn.sigmoid(linear(layer['shared_weight'], x))
    y = y + weight * mlp('shared_gate', 'shared_up', 'shared_down')
  return y, routed[1]


@functools.cache  # one function for all layers, by which programs are shared
def _gated(activation, limit):
  """f(gate, up): what goes down again, see `Config.gate_limit`."""
  act = _ACTIVATIONS[activation]

  def gated(gate, up):
    if limit:
      gate, up = jnp.minimum(gate, limit), 1 + jnp.clip(up, -limit, limit)
    return act(gate) * up

  return gated


def rotated(config, x, rotation, scale=1.0):
  """Turns the pairs of the first r of [..., heads, h], and scales all."""
  cosine, sine = scale * rotation[:, ..., None, :]
  pairs = cosine.shape[-1]
  y, rest = jnp.split(x.astype(jnp.float32), [2 * pairs], axis=-1)
  if config.rope.interleaved:
    first, second = y[..., ::2], y[..., 1::2]
  else:
    first, second = jnp.split(y, 2, axis=-1)
  turned = [first * cosine - second * sine, second * cosine + first * sine]
  if config.rope.interleaved:
    y = jnp.stack(turned, axis=-1).reshape(y.shape)
  else:
    y = jnp.concatenate(turned, axis=-1)
  return jnp.concatenate([y, scale * rest], axis=-1).astype(x.dtype)


def norm(params, config, x):
  """RMSNorm over the axes of its scale, in float32.

  Source: arXiv 1910.07467.
  """
  y = _unit(x, params['scale'].ndim, config.norm_epsilon)
  scale = config.norm_offset + params['scale'].astype(jnp.float32)
  return (y * scale).astype(x.dtype)


def _unit(x, axes, epsilon):
  """x in float32, divided by the root of its mean square over last axes."""
  y = x.astype(jnp.float32)
  square = jnp.mean(y * y, axis=tuple(range(-axes, 0)), keepdims=True)
  return y * jax.lax.rsqrt(square + epsilon)


def linear(params, x, inputs=1):
  """x W + b, and (x A) B * scale where LoRA leaves are present.

  The last `inputs` axes of x meet the first ones of the kernel.
  """
  kernel = params['kernel'].astype(x.dtype)
  # As a product of matrices: with more axes the compiler would transpose
  # copies of activations and kernels in the backward pass.
  width = math.prod(kernel.shape[:inputs])
  y = x.reshape(-1, width) @ kernel.reshape(width, -1)
  y = y.reshape(*x.shape[:-inputs], *kernel.shape[inputs:])
  if 'lora_a' in params:
    low = jnp.tensordot(x, params['lora_a'].astype(x.dtype), inputs)
    delta = jnp.tensordot(low, params['lora_b'].astype(x.dtype), 1)
    y = y + delta * params['lora_scale'].astype(x.dtype)
  if 'bias' in params:
    y = y + params['bias'].astype(x.dtype)
  return y
