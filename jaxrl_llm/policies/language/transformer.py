"""The decoder: one block for every family, on plain dictionaries of arrays.

`parameters` lists what they hold. Parameters of the layers are stacked on axis
0 and scanned. A linear map that also holds `lora_a`, `lora_b` and `lora_scale`
adds their product.

Four ways through the same block: `hidden` (whole sequences, for learning),
`hidden_of_groups` (the same where G rows share their prompt), `prefill`
(prompts, keeping keys and values) and `decode` (one token a row, G rows
sharing the keys of their prompt). Letters of the docstrings: S tokens of a
sequence, D width, H heads, K key-value heads, R = H / K, h head width, F MLP
width, E experts, L layers; the others as in `jaxrl_llm.types`.
"""

from __future__ import annotations

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm.policies.language import attention, tiles
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.layers import block, norm
from jaxrl_llm.policies.language.parameters import Params
from jaxrl_llm.types import Array

Cache = tuple[dict[str, Array], ...]


def hidden(
  params: Params,
  config: Config,
  tokens: Array,
  mask: Array,
  *,
  causal: bool = True,
  dtype=jnp.float32,
  remat: bool = False,
  unroll: int | bool = 1,
) -> Array:
  """The last hidden state of every token, after the final norm.

  A token's position is the number of tokens before it, so that padding on
  either side or in between changes nothing; windows count positions too.

  Args:
    tokens: i32[N, S].
    mask: bool[N, S], True on tokens; others are never attended to.
    causal: False lets every token see those after it as well.
    dtype: of the arithmetic; norms and softmax are float32 in any case.
    remat: recompute each layer in the backward pass instead of keeping it.
    unroll: layers per step of the scan; True is all of them, faster to run
      and slower to compile.

  Returns:
    dtype[N, S, D]; finite but without meaning off the mask.
  """
  chex.assert_rank([tokens, mask], 2)
  chex.assert_equal_shape([tokens, mask])
  x, _ = _sequence(
    params,
    config,
    tokens,
    mask,
    causal=causal,
    dtype=dtype,
    remat=remat,
    unroll=unroll,
  )
  return x


def hidden_of_groups(
  params: Params,
  config: Config,
  prompt: Array,
  prompt_mask: Array,
  response: Array,
  response_mask: Array,
  *,
  dtype=jnp.float32,
  remat: bool = False,
  unroll: int | bool = 1,
) -> tuple[Array, Array]:
  """`hidden` of responses whose prompt is read once a group, forth and back.

  Row n continues prompt n // G, with G = N / B. Every token gets the position
  it has in the whole sequence and sees what it sees there, so the states are
  those of `hidden` up to the order of sums.

  Args:
    prompt: i32[B, P]. prompt_mask: bool[B, P], at least one token each.
    response: i32[N, T]. response_mask: bool[N, T].
    dtype, remat, unroll: as in `hidden`.

  Returns:
    dtype[B, D] of the last column of every prompt, dtype[N, T, D].
  """
  b, p = prompt.shape
  n, t = response.shape
  chex.assert_equal_shape([prompt, prompt_mask])
  chex.assert_equal_shape([response, response_mask])
  # One row a group, so that its tokens stay on one device of a mesh: the
  # prompt, then the responses one after the other.
  own = response_mask.reshape(b, -1, t)
  length = jnp.sum(prompt_mask, axis=-1, dtype=jnp.int32)[:, None, None]
  before = _positions(prompt_mask)
  after = jnp.maximum(length + jnp.cumsum(own, -1, dtype=jnp.int32) - 1, 0)
  tokens = jnp.concatenate([prompt, response.reshape(b, -1)], axis=1)
  positions = jnp.concatenate([before, after.reshape(b, -1)], axis=1)
  attend = functools.partial(
    _attend_group,
    config,
    attention.Mask(prompt_mask, before),
    attention.Mask(own, after),
  )
  x, _ = _layers(
    params, config, tokens, positions, p + t, attend, dtype, remat, unroll
  )
  return x[:, p - 1], x[:, p:].reshape(n, t, -1)


def prefill(
  params: Params,
  config: Config,
  tokens: Array,
  mask: Array,
  *,
  dtype=jnp.float32,
) -> tuple[Array, Cache]:
  """Reads prompts, keeping what `decode` attends to.

  Args:
    tokens: i32[B, P], left padded.
    mask: bool[B, P], True on tokens.
    dtype: of the arithmetic and of the cache.

  Returns:
    dtype[B, D], the hidden state of the last column, and the cache: for each
    layer 'k' dtype[B, K, h, P] and 'v' dtype[B, K, P, h].
  """
  chex.assert_rank([tokens, mask], 2)
  chex.assert_equal_shape([tokens, mask])
  x, (keys, values) = _sequence(
    params, config, tokens, mask, dtype=dtype, keep=True
  )
  cache = tuple(
    {'k': keys[layer], 'v': values[layer]} for layer in range(config.layers)
  )
  return x[:, -1], cache


def decode(
  layers: tuple[Params, ...],
  params: Params,
  config: Config,
  tokens: Array,
  positions: Array,
  prompt_cache: Cache,
  prompt_mask: Array,
  cache: Cache,
  t: Array,
  *,
  age: Array | None = None,
  dtype=jnp.float32,
) -> tuple[Array, Cache]:
  """One token of every response; rows of a group share their prompt's cache.

  Row n continues prompt n // G, with G = N / B. It attends to the prompt and,
  in one softmax, to its own tokens 0..t.

  Args:
    layers: parameters by layer, from `split_layers`.
    params: the whole tree, or what is left of it without 'layers'.
    tokens: i32[N], the t-th token of each response.
    positions: i32[N], tokens of the row's prompt + t.
    prompt_cache: from `prefill`.
    prompt_mask: bool[B, P].
    cache: from `empty_cache` or the step before; T slots.
    t: i32[], the slot to write, below T.
    age: i32[N, T], how many tokens before this one each slot of a row was
      written, 0 for slot t and negative where it holds none of the row's.
      None: all rows have written 0..t in order.
    dtype: of the arithmetic; keys and values are written in the cache's own.

  Returns:
    dtype[N, D], hidden states after the final norm, and the new cache.
  """
  n, b = tokens.shape[0], prompt_mask.shape[0]
  chex.assert_shape([tokens, positions], (n,))
  if n % b:
    raise ValueError(
      f'{n} rows are not a whole number of groups of {b} prompts; give each '
      'prompt equally many rows.'
    )
  prompt_distance = positions.reshape(b, -1)[:, :, None] - _positions(
    prompt_mask
  ).reshape(b, 1, -1)
  if age is None:
    age = t - jnp.arange(cache[0]['k'].shape[-1])
  columns = prompt_mask.shape[1] + cache[0]['k'].shape[-1]
  rotations = _rotations(config, positions, columns)
  x = _embed(params, config, tokens, dtype)
  new_cache = []
  for index, layer in enumerate(layers):
    window = config.layer_windows[index]
    attend = functools.partial(
      _attend_cached,
      config,
      prompt_cache[index],
      cache[index],
      prompt_mask[:, None] & _within(prompt_distance, window),
      (age >= 0) & _within(age, window),
      t,
    )
    rotation = rotations[config.layer_ropes[index]]
    x, kept = block(layer, config, x, rotation, attend)
    new_cache.append(kept)
  return norm(params['final_norm'], config, x), tuple(new_cache)


def logits(params: Params, config: Config, hidden: Array) -> Array:
  """Scores of the next token, f32[..., V] from dtype[..., D]."""
  if config.tied:
    kernel, axis = params['embed']['kernel'], 1
  else:
    kernel, axis = params['unembed']['kernel'], 0
  scores = jax.lax.dot_general(
    hidden,
    kernel.astype(hidden.dtype),
    (((hidden.ndim - 1,), (axis,)), ((), ())),
    preferred_element_type=jnp.float32,
  )
  return tiles.capped(config.logit_scale * scores, config.logit_cap)


def split_layers(
  params: Params, config: Config, dtype=None
) -> tuple[Params, ...]:
  """The stacked layers as one tree each, cast to `dtype` if one is given.

  For `decode`, once before its loop: the barrier keeps the compiler from
  slicing (and casting) the stacks again in every step.
  """

  def layer(index):
    return jax.tree.map(
      lambda leaf: leaf[index].astype(dtype or leaf.dtype), params['layers']
    )

  layers = tuple(layer(index) for index in range(config.layers))
  return jax.lax.optimization_barrier(layers)


def empty_cache(
  config: Config, rows: int, length: int, dtype=jnp.float32
) -> Cache:
  """Room for `length` tokens of `rows` responses.

  Returns:
    For each layer 'k' dtype[N, K, h, T] and 'v' dtype[N, K, T, h]: the layout
    in which both products of attention read rows of memory in order.
  """
  k = (rows, config.kv_heads, config.head_dim, length)
  v = (rows, config.kv_heads, length, config.head_dim)
  return tuple(
    {'k': jnp.zeros(k, dtype), 'v': jnp.zeros(v, dtype)}
    for _ in range(config.layers)
  )


def widened(cache: Cache, length: int) -> Cache:
  """The cache with room for `length` tokens, what is written in its place."""

  def widen(x, axis):
    more = [(0, 0)] * x.ndim
    more[axis] = (0, length - x.shape[axis])
    return jnp.pad(x, more)

  return tuple(
    {'k': widen(layer['k'], 3), 'v': widen(layer['v'], 2)} for layer in cache
  )


def _sequence(
  params,
  config,
  tokens,
  mask,
  *,
  dtype,
  causal=True,
  remat=False,
  unroll=1,
  keep=False,
):
  """Final hidden states and, if `keep`, keys and values stacked over layers."""
  positions = _positions(mask)
  rule = attention.Mask(mask, positions, causal=causal)
  attend = functools.partial(_attend_sequence, config, rule, keep)
  columns = tokens.shape[1]
  return _layers(
    params, config, tokens, positions, columns, attend, dtype, remat, unroll
  )


def _layers(
  params, config, tokens, positions, columns, attend, dtype, remat, unroll
):
  """All layers over tokens [..., S] of rows as long as `columns` at most.

  `attend` is told each layer's window.
  """
  ropes = _rotations(config, positions, columns)
  rotations = jnp.stack([*ropes.values()])
  per_layer = {}
  if len(set(config.layer_windows)) > 1:
    # A window of all tokens reaches every one, as 0 does.
    every = tokens.shape[-1]
    per_layer['window'] = jnp.array([w or every for w in config.layer_windows])
  if len(ropes) > 1:
    places = [[*ropes].index(rope) for rope in config.layer_ropes]
    per_layer['rotation'] = jnp.array(places)

  def body(x, inputs):
    layer, own = inputs
    window = own.get('window', config.layer_windows[0] or None)
    rotation = rotations[own.get('rotation', 0)]
    return block(layer, config, x, rotation, functools.partial(attend, window))

  if remat:
    # Inside a loop nothing can merge the recomputation with the original;
    # without the loop the compiler would, and undo it.
    body = jax.checkpoint(body, prevent_cse=unroll != 1)
  x = _embed(params, config, tokens, dtype)
  x, kept = jax.lax.scan(body, x, (params['layers'], per_layer), unroll=unroll)
  return norm(params['final_norm'], config, x), kept


def _attend_sequence(config, mask, keep, window, q, k, v, sinks):
  mask = mask.replace(window=window)
  y = attention.within_sequence(
    q, k, v, mask, cap=config.attention_cap, sinks=sinks
  )
  kept = (k.transpose(0, 2, 3, 1), v.transpose(0, 2, 1, 3)) if keep else None
  return y, kept


def _attend_group(config, prompt_mask, mask, window, q, k, v, sinks):
  b, p = prompt_mask.valid.shape
  groups = mask.valid.shape

  def parts(x):
    return x[:, :p], x[:, p:].reshape(*groups, *x.shape[2:])

  (q, own_q), (k, own_k), (v, own_v) = map(parts, (q, k, v))
  masks = prompt_mask.replace(window=window), mask.replace(window=window)
  options = {'cap': config.attention_cap, 'sinks': sinks}
  y = attention.within_sequence(q, k, v, masks[0], **options)
  own_y = attention.within_group(own_q, k, v, own_k, own_v, *masks, **options)
  own_y = own_y.reshape(b, -1, *y.shape[2:])
  return jnp.concatenate([y, own_y], axis=1), None


def _attend_cached(
  config, prompt, own, prompt_seen, own_seen, t, q, k, v, sinks
):
  cache = attention.written(own, k, v, t)
  y = attention.over_caches(
    q,
    prompt,
    cache,
    prompt_seen,
    own_seen,
    cap=config.attention_cap,
    sinks=sinks,
  )
  return y, cache


def _within(distance, window):
  return distance < window if window else True


def _positions(mask):
  """i32[N, S]: how many tokens come before each; 0 before the first."""
  return jnp.maximum(jnp.cumsum(mask, axis=-1, dtype=jnp.int32) - 1, 0)


def _rotations(config, positions, columns):
  """Cosine and sine of each rope of the layers, f32[2, ..., r / 2]."""
  config.rope.check(columns)
  rotations = {}
  for rope in dict.fromkeys(config.layer_ropes):
    # By an angle of zero where there is no rotation.
    turns = rope or dataclasses.replace(config.rope, amplitude=1.0)
    frequencies = turns.frequencies(config.head_dim) * (rope is not None)
    angles = positions[..., None] * frequencies
    pair = jnp.stack([jnp.cos(angles), jnp.sin(angles)])
    rotations[rope] = turns.amplitude * pair
  return rotations


def _embed(params, config, tokens, dtype):
  x = params['embed']['kernel'][tokens].astype(dtype)
  # The scale is rounded to the arithmetic's dtype, as in the released models.
  return x * jnp.asarray(config.embedding_scale, dtype)
