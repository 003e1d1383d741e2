"""What is kept of the tokens of a response: keys and values, or states.

A cache is one dictionary a layer; letters as in `transformer`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_llm.policies.language import routes
from jaxrl_llm.policies.language.config import READS, Config
from jaxrl_llm.types import Array

Cache = tuple[dict[str, Array], ...]


def empty_cache(
  config: Config,
  rows: int,
  length: int,
  dtype=jnp.float32,
  *,
  unroll: bool = True,
) -> Cache:
  """Room for `length` tokens of `rows` responses.

  Args:
    unroll: as in `decoding.split_layers`.

  Returns:
    For each layer 'k' dtype[N, K, h, T] and 'v' dtype[N, K, T, h]: the layout
    in which both products of attention read rows of memory in order. Or
    `delta.States`, which have no length; of readers nothing. Not unrolled, for
    each layer of a period, periods being axis 1. Under `config.replay`, also
    'routes' [N, k], the experts of the last token that was read.
  """

  def empty(kind):
    said = {'routes': routes.none(config, rows)} if config.replay else {}
    return said | mixed(kind)

  def mixed(kind):
    if config.delta and kind == 'delta':
      return config.delta.empty(rows, dtype)
    if kind in READS:
      return {}
    heads, width = config.kv_heads, config.head_dim
    if kind == 'global':
      heads, width = config.global_kv_heads, config.global_head_dim
    return {
      'k': jnp.zeros((rows, heads, width, length), dtype),
      'v': jnp.zeros((rows, heads, length, width), dtype),
    }

  if unroll:
    return tuple(map(empty, config.kinds))
  ((_, _, period),) = config.segments
  count = config.layers // period
  cache = tuple(map(empty, config.kinds[:period]))
  return jax.tree.map(lambda x: jnp.repeat(x[:, None], count, 1), cache)


def room_of(cache: Cache) -> int:
  """Tokens of a response that the cache has slots for."""
  return next(each['k'].shape[-1] for each in cache if 'k' in each)


def stored(cache: Cache, dtype) -> Cache:
  """The cache in another dtype, but for states, to which all tokens add up."""
  return tuple(
    {k: x if k == 'state' else x.astype(dtype) for k, x in layer.items()}
    for layer in cache
  )


def where(rows: Array, new: Cache, old: Cache) -> Cache:
  """The new states of rows bool[N], the old ones of others.

  Of keys and values the new ones: each has a slot of its own, and a row says
  how many it has.
  """

  def chosen(name, x, before):
    here = rows.reshape(-1, *[1] * (x.ndim - 1))
    return x if name in 'kv' else jnp.where(here, x, before)

  return tuple(
    {name: chosen(name, x, before[name]) for name, x in layer.items()}
    for layer, before in zip(new, old)
  )


def widened(cache: Cache, length: int) -> Cache:
  """The cache with room for `length` tokens, what is written in its place."""

  def widen(x, axis):
    more = [(0, 0)] * x.ndim
    more[axis] = (0, length - x.shape[axis])
    return jnp.pad(x, more)

  return tuple(
    layer | {'k': widen(layer['k'], -1), 'v': widen(layer['v'], -2)}
    if 'k' in layer
    else layer
    for layer in cache
  )
