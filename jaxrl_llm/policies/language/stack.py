"""A stack of layers, computed in one loop, and what each layer is told.

Parameters of the layers are stacked on axis 0, of those that have them. A step
of the loop is a period of layers: the fewest after which the kinds repeat.
Letters as in `transformer`.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jaxrl_llm.policies.language import parameters
from jaxrl_llm.policies.language.config import READS
from jaxrl_llm.policies.language.layers import block, norm
from jaxrl_llm.policies.language.parameters import Params
from jaxrl_llm.types import Array


def apply(
  params,
  config,
  tokens,
  positions,
  columns,
  attend,
  recur,
  *,
  dtype,
  remat,
  unroll,
  routes=None,
):
  """All layers over tokens [..., S] of rows as long as `columns` at most.

  If a period is one layer, its window and rotation are looked up.

  Args:
    attend: mixes the tokens of a layer, told its window. recur: the same of a
      delta net.
    routes: [..., S, L, k], experts that tokens have, see `experts.route`.

  Returns:
    States after the final norm, and what the layers keep, by run of layers.
  """
  ropes = rotations_of(config, positions, columns)
  x = embed(params, config, tokens, dtype)
  told = per_layer(params, config, tokens, x)

  def one(place, x, layer, own, read):
    kind = config.kinds[place]
    window, rotation, told = said(config, ropes, place, own)
    mix = recur if kind == 'delta' else functools.partial(attend, window)
    routes = own.get('routes')
    return block(layer, config, kind, x, rotation, mix, told, read, routes)[:3]

  if remat:
    # Inside a loop nothing can merge the recomputation with the original;
    # without the loop the compiler would, and undo it.
    one = jax.checkpoint(one, prevent_cse=unroll != 1, static_argnums=0)

  def period_of(first, size, shared, carry, inputs):
    x, known = carry
    caches = []
    for place, (layer, own) in enumerate(apart(config, first, size, inputs)):
      kind = config.kinds[first + place]
      read = known[READS[kind]] if kind in READS else None
      x, cache, pair = one(first + place, x, layer, own | shared, read)
      if kind in known:
        known = known | {kind: pair}
      caches.append({} if kind in READS else cache)
    return (x, known), tuple(caches)

  carry, kept = (x, _unread(config, x)), []
  for segment in config.segments:
    own, shared = looked_up(config, segment, ropes, columns)
    if told is not None:
      own['told'] = told[segment[0] : segment[1]]
    if routes is not None:
      own['routes'] = jnp.moveaxis(routes, -2, 0)[segment[0] : segment[1]]
    inputs = periods(config, segment, params['layers'], own)
    body = functools.partial(period_of, segment[0], segment[2], shared)
    carry, caches = jax.lax.scan(body, carry, inputs, unroll=unroll)
    kept.append(caches)
  return norm(params['final_norm'], config, carry[0]), kept


def embed(params, config, tokens, dtype):
  """dtype[..., D] of ids; what has no id comes as f32[..., D], as it is."""
  if jnp.issubdtype(tokens.dtype, jnp.floating):
    return tokens.astype(dtype)
  x = params['embed']['kernel'][tokens].astype(dtype)
  # The scale is rounded to the arithmetic's dtype, as in the released models.
  return x * jnp.asarray(config.embedding_scale, dtype)


def per_layer(params, config, tokens, x):
  """What the tokens say to each layer, [L, ..., d], beside their embedding x.

  (norm(P_l x / sqrt(D)) + sqrt(d) e_l(token)) / sqrt(2),   of layer l
  """
  if not config.token_width:
    return None
  own = params['per_layer']
  scale = jnp.asarray(config.token_width**0.5, x.dtype)
  embedded = own['embed'][tokens].astype(x.dtype) * scale
  y = jnp.tensordot(x, own['kernel'].astype(x.dtype), 1) * config.width**-0.5
  y = (norm(own, config, y) + embedded) * 2.0**-0.5
  return jnp.moveaxis(y, -2, 0)


def positions_of(mask):
  """i32[N, S]: how many tokens come before each; 0 before the first."""
  return jnp.maximum(jnp.cumsum(mask, axis=-1, dtype=jnp.int32) - 1, 0)


def rotations_of(config, positions, columns):
  """Cosine and sine by kinds of layers and ropes, f32[2, ..., r / 2]."""
  config.rope.check(columns)
  rotations = {}
  for kind, rope in dict.fromkeys(zip(config.kinds, config.layer_ropes)):
    whole = READS.get(kind, kind) == 'global'
    width = config.global_head_dim if whole else config.head_dim
    # By an angle of zero where there is no rotation.
    turns = rope or dataclasses.replace(config.rope, amplitude=1.0)
    frequencies = turns.frequencies(width) * (rope is not None)
    angles = positions[..., None] * frequencies
    pair = jnp.stack([jnp.cos(angles), jnp.sin(angles)])
    rotations[kind, rope] = turns.amplitude * pair
  return rotations


def said(config, ropes, place, own):
  """Window, rotation and what tokens say, of a layer that is told `own`."""
  window = own.get('window', config.layer_windows[place] or None)
  rotation = ropes[config.kinds[place], config.layer_ropes[place]]
  if 'rotation' in own:
    rotation = own['rotations'][own['rotation']]
  return window, rotation, own.get('told')


def looked_up(config, segment, ropes, every):
  """Of layers that one body computes: what differs, and where it is found."""
  first, end, period = segment
  windows = config.layer_windows[first:end]
  pairs = [*zip(config.kinds, config.layer_ropes)][first:end]
  found = [*dict.fromkeys(pairs)]
  own, shared = {}, {}
  if period == 1 and len(set(windows)) > 1:
    # A window of all tokens reaches every one, as 0 does.
    own['window'] = jnp.array([w or every for w in windows])
  if period == 1 and len(found) > 1:
    own['rotation'] = jnp.array([found.index(each) for each in pairs])
    shared['rotations'] = jnp.stack([ropes[each] for each in found])
  return own, shared


def periods(config, segment, stacks, own):
  """Arrays of a run of layers, with an axis in front over its periods."""
  first, end, period = segment
  count = (end - first) // period

  def folded(x):
    return x if period == 1 else x.reshape(count, -1, *x.shape[1:])

  arrays = {}
  for name, module in stacks.items():
    places = parameters.layers_with(config, name)
    here = [i for i, place in enumerate(places) if first <= place < end]
    if len(here) < len(places):  # A slice of all would still be an operation.
      inside = slice(here[0], here[-1] + 1) if here else slice(0)
      module = jax.tree.map(lambda x, i=inside: x[i], module)
    if here:
      arrays[name] = jax.tree.map(folded, module)
  return arrays, jax.tree.map(folded, own)


def apart(config, first, period, inputs):
  """The layers of one period, with what is known of each."""
  arrays, own = inputs
  if period == 1:
    return [(arrays, own)]
  layers: list[tuple[Params, dict[str, Array]]] = [
    ({}, jax.tree.map(lambda x, i=i: x[i], own)) for i in range(period)
  ]
  for name, module in arrays.items():
    places = parameters.layers_with(config, name)
    here = [place - first for place in places if place >= first]
    for i, place in enumerate(each for each in here if each < period):
      layers[place][0][name] = jax.tree.map(lambda x, i=i: x[i], module)
  return layers


def at(tree, period, axis=0):
  """One period of stacked arrays."""
  return jax.tree.map(
    lambda x: jax.lax.dynamic_index_in_dim(x, period, axis, keepdims=False),
    tree,
  )


def _unread(config, x):
  """Zeros in place of keys and values, of the kinds that readers read."""
  sizes = {
    'attention': (config.kv_heads, config.head_dim),
    'global': (config.global_kv_heads, config.global_head_dim),
  }
  kinds = {READS[kind] for kind in config.kinds if kind in READS}
  return {
    kind: (jnp.zeros((*x.shape[:-1], *sizes[kind]), x.dtype),) * 2
    for kind in sorted(kinds)
  }
