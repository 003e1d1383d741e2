"""The decoder: one block for every family, on plain dictionaries of arrays.

`parameters` lists what they hold. Parameters of the layers are stacked on axis
0 and scanned. A linear map that also holds `lora_a`, `lora_b` and `lora_scale`
adds their product.

Four ways through the same block: `hidden` (whole sequences, for learning),
`hidden_of_groups` (the same where G rows share their prompt), `prefill`
(prompts, keeping keys and values) and `decode` (one token a row, G rows
sharing the keys of their prompt). Layers with delta nets keep a state in the
place of keys and values. Letters of the docstrings: S tokens of a
sequence, D width, H heads, K key-value heads, R = H / K, h head width, F MLP
width, E experts, L layers; the others as in `jaxrl_llm.types`.
"""

from __future__ import annotations

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm.policies.language import attention, delta, parameters, tiles
from jaxrl_llm.policies.language.config import READS, Config
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
  if config.delta and not causal:
    raise ValueError(
      'delta nets read forth alone; a policy whose tokens see those after '
      'them needs a model with attention in all layers.'
    )
  tokens, mask, order = _without_gaps(config, tokens, mask, mask)
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
  return _back(x, order)


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
  prompt, prompt_mask, _ = _without_gaps(
    config, prompt, prompt_mask, prompt_mask
  )
  response, response_mask, order = _without_gaps(
    config, response, response_mask, ~response_mask
  )
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
  recur = functools.partial(_recur_group, config, prompt_mask, own)
  x, _ = _layers(
    params,
    config,
    tokens,
    positions,
    p + t,
    attend,
    recur,
    dtype,
    remat,
    unroll,
  )
  return x[:, p - 1], _back(x[:, p:].reshape(n, t, -1), order)


def prefill(
  params: Params,
  config: Config,
  tokens: Array,
  mask: Array,
  *,
  dtype=jnp.float32,
  unroll: bool = True,
) -> tuple[Array, Cache]:
  """Reads prompts, keeping what `decode` attends to.

  Args:
    tokens: i32[B, P], left padded.
    mask: bool[B, P], True on tokens.
    dtype: of the arithmetic and of the cache.
    unroll: as in `split_layers`.

  Returns:
    dtype[B, D], the hidden state of the last column, and the cache: for each
    layer 'k' dtype[B, K, h, P] and 'v' dtype[B, K, P, h], or `delta.States`.
    Not unrolled, for each layer of a period, periods being axis 1.
  """
  chex.assert_rank([tokens, mask], 2)
  chex.assert_equal_shape([tokens, mask])
  tokens, mask, _ = _without_gaps(config, tokens, mask, mask)
  x, kept = _sequence(params, config, tokens, mask, dtype=dtype, keep=True)
  if not unroll:
    (kept,) = kept
    return x[:, -1], jax.tree.map(lambda each: jnp.moveaxis(each, 0, 1), kept)
  cache = []
  for (first, end, period), stacks in zip(config.segments, kept):
    for i in range(end - first):
      own = stacks[i % period]
      cache.append(jax.tree.map(lambda x, n=i // period: x[n], own))
  return x[:, -1], tuple(cache)


def decode(
  layers: tuple[Params, ...] | Params,
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
    layers: from `split_layers`, by layer, or stacked for a loop over periods.
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
  room = next(each['k'].shape[-1] for each in cache if 'k' in each)
  if age is None:
    age = t - jnp.arange(room)
  columns = prompt_mask.shape[1] + room
  rotations = _rotations(config, positions, columns)
  # Of a row's tokens, the slots hold this one alone.
  first = jnp.sum(age >= 0, axis=-1) == 1
  x = _embed(params, config, tokens, dtype)
  told = _per_layer(params, config, tokens, x)

  def one(kind, layer, x, said, caches, read=None, period=None):
    window, rotation, own = said
    prompt, held = caches
    mix = functools.partial(_recur_cached, prompt, held, first, period=period)
    if kind != 'delta':
      mix = functools.partial(
        _attend_cached,
        config,
        prompt,
        held,
        prompt_mask[:, None] & _within(prompt_distance, window),
        (age >= 0) & _within(age, window),
        t,
        period=period,
      )
    x, kept, _ = block(layer, config, kind, x, rotation, mix, own, read)
    return x, {} if read else kept

  if isinstance(layers, tuple):
    new_cache: list[dict[str, Array]] = []
    writers: dict[str, int] = {}
    for index, layer in enumerate(layers):
      kind, read = config.kinds[index], None
      caches = prompt_cache[index], cache[index]
      if kind in READS:
        writer, read = writers[READS[kind]], (None, None)
        caches = prompt_cache[writer], new_cache[writer]
      writers[kind] = index
      own = {} if told is None else {'told': told[index]}
      said = _said(config, rotations, index, own)
      x, kept = one(kind, layer, x, said, caches, read)
      new_cache.append(kept)
    return norm(params['final_norm'], config, x), tuple(new_cache)

  (segment,) = config.segments
  looked_up, shared = _looked_up(config, segment, rotations, columns)
  if told is not None:
    looked_up['told'] = told
  stacks = _periods(config, segment, layers, looked_up)

  def body(period, carry):
    x, cache = carry
    here, kept = _at(stacks, period), []
    for place, (layer, own) in enumerate(_apart(config, 0, segment[2], here)):
      said = _said(config, rotations, place, own | shared)
      caches = _at(prompt_cache[place], period, axis=1), cache[place]
      kind = config.kinds[place]
      x, each = one(kind, layer, x, said, caches, period=period)
      kept.append(each)
    return x, tuple(kept)

  count = config.layers // segment[2]
  x, cache = jax.lax.fori_loop(0, count, body, (x, cache))
  return norm(params['final_norm'], config, x), cache


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
  params: Params, config: Config, dtype=None, *, unroll: bool = True
) -> tuple[Params, ...] | Params:
  """The stacked layers as one tree each, cast to `dtype` if one is given.

  But for `parameters.EXACT`, of which exponentials are made.

  For `decode`, once before its loop: the barrier keeps the compiler from
  slicing (and casting) the stacks again in every step.

  Args:
    unroll: False leaves them stacked, and `decode` loops over them: the size
      of its program then does not grow with depth.
  """

  def cast(name, module):
    to = None if name == parameters.EXACT else dtype
    return jax.tree.map(lambda x: x.astype(to or x.dtype), module)

  def layer(index):
    return {
      name: module_of(name, module, index)
      for name, module in params['layers'].items()
      if index in parameters.layers_with(config, name)
    }

  def module_of(name, module, index):
    place = parameters.layers_with(config, name).index(index)
    return cast(name, jax.tree.map(lambda x: x[place], module))

  if not unroll:
    if config.readers:
      raise ValueError(
        f'{config.readers} layers read the keys of others, which no loop over '
        'layers does; write them out with sample.unroll=True.'
      )
    stacks = params['layers'].items()
    return jax.lax.optimization_barrier({k: cast(k, x) for k, x in stacks})
  layers = tuple(layer(index) for index in range(config.layers))
  return jax.lax.optimization_barrier(layers)


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
    unroll: as in `split_layers`.

  Returns:
    For each layer 'k' dtype[N, K, h, T] and 'v' dtype[N, K, T, h]: the layout
    in which both products of attention read rows of memory in order. Or
    `delta.States`, which have no length; of readers nothing. Not unrolled, for
    each layer of a period, periods being axis 1.
  """

  def empty(kind):
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


def stored(cache: Cache, dtype) -> Cache:
  """The cache in another dtype, but for states, to which all tokens add up."""
  return tuple(
    {k: x if k == 'state' else x.astype(dtype) for k, x in layer.items()}
    for layer in cache
  )


def widened(cache: Cache, length: int) -> Cache:
  """The cache with room for `length` tokens, what is written in its place."""

  def widen(x, axis):
    more = [(0, 0)] * x.ndim
    more[axis] = (0, length - x.shape[axis])
    return jnp.pad(x, more)

  return tuple(
    {'k': widen(layer['k'], -1), 'v': widen(layer['v'], -2)}
    if 'k' in layer
    else layer
    for layer in cache
  )


def _without_gaps(config, tokens, mask, later):
  """Tokens and mask, columns where `later` last, and how they are ordered.

  Delta nets go on from the column before. Attention alone sees what the mask
  says, and its rows stay as they are: then the order is None.
  """
  if not config.delta:
    return tokens, mask, None
  order = jnp.argsort(later, axis=1, stable=True)
  tokens, mask = (jnp.take_along_axis(x, order, 1) for x in (tokens, mask))
  return tokens, mask, order


def _back(x, order):
  """Columns [N, S, D] where they were before `_without_gaps`."""
  if order is None:
    return x
  return jnp.take_along_axis(x, jnp.argsort(order, axis=1)[..., None], 1)


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
  """Final hidden states and, if `keep`, caches of a period, stacked."""
  positions = _positions(mask)
  rule = attention.Mask(mask, positions, causal=causal)
  attend = functools.partial(_attend_sequence, config, rule, keep)
  recur = functools.partial(_recur_sequence, config, mask, keep)
  columns = tokens.shape[1]
  return _layers(
    params,
    config,
    tokens,
    positions,
    columns,
    attend,
    recur,
    dtype,
    remat,
    unroll,
  )


def _layers(
  params,
  config,
  tokens,
  positions,
  columns,
  attend,
  recur,
  dtype,
  remat,
  unroll,
):
  """All layers over tokens [..., S] of rows as long as `columns` at most.

  A step of the scan is a period of layers. If it is one layer, its window and
  rotation are looked up.

  Args:
    attend: mixes the tokens of a layer, told its window. recur: the same of a
      delta net.
  """
  ropes = _rotations(config, positions, columns)
  x = _embed(params, config, tokens, dtype)
  told = _per_layer(params, config, tokens, x)

  def one(place, x, layer, own, read):
    kind = config.kinds[place]
    window, rotation, told = _said(config, ropes, place, own)
    mix = recur if kind == 'delta' else functools.partial(attend, window)
    return block(layer, config, kind, x, rotation, mix, told, read)

  if remat:
    # Inside a loop nothing can merge the recomputation with the original;
    # without the loop the compiler would, and undo it.
    one = jax.checkpoint(one, prevent_cse=unroll != 1, static_argnums=0)

  def period_of(first, size, shared, carry, inputs):
    x, known = carry
    caches = []
    for place, (layer, own) in enumerate(_apart(config, first, size, inputs)):
      kind = config.kinds[first + place]
      read = known[READS[kind]] if kind in READS else None
      x, cache, pair = one(first + place, x, layer, own | shared, read)
      if kind in known:
        known = known | {kind: pair}
      caches.append({} if kind in READS else cache)
    return (x, known), tuple(caches)

  carry, kept = (x, _unread(config, x)), []
  for segment in config.segments:
    own, shared = _looked_up(config, segment, ropes, tokens.shape[-1])
    if told is not None:
      own['told'] = told[segment[0] : segment[1]]
    inputs = _periods(config, segment, params['layers'], own)
    body = functools.partial(period_of, segment[0], segment[2], shared)
    carry, caches = jax.lax.scan(body, carry, inputs, unroll=unroll)
    kept.append(caches)
  return norm(params['final_norm'], config, carry[0]), kept


def _said(config, ropes, place, own):
  """Window, rotation and what tokens say, of a layer that is told `own`."""
  window = own.get('window', config.layer_windows[place] or None)
  rotation = ropes[config.kinds[place], config.layer_ropes[place]]
  if 'rotation' in own:
    rotation = own['rotations'][own['rotation']]
  return window, rotation, own.get('told')


def _looked_up(config, segment, ropes, every):
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


def _at(tree, period, axis=0):
  """One period of stacked arrays."""
  return jax.tree.map(
    lambda x: jax.lax.dynamic_index_in_dim(x, period, axis, keepdims=False),
    tree,
  )


def _periods(config, segment, stacks, own):
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


def _apart(config, first, period, inputs):
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


def _unread(config, x):
  """Zeros in the place of keys and values, of the kinds that readers read."""
  sizes = {
    'attention': (config.kv_heads, config.head_dim),
    'global': (config.global_kv_heads, config.global_head_dim),
  }
  kinds = {READS[kind] for kind in config.kinds if kind in READS}
  return {
    kind: (jnp.zeros((*x.shape[:-1], *sizes[kind]), x.dtype),) * 2
    for kind in sorted(kinds)
  }


def _attend_sequence(config, mask, keep, window, q, k, v, sinks):
  mask = mask.replace(window=window)
  y = attention.within_sequence(
    q, k, v, mask, cap=config.attention_cap, sinks=sinks
  )
  if not keep:
    return y, None
  return y, {'k': k.transpose(0, 2, 3, 1), 'v': v.transpose(0, 2, 1, 3)}


def _recur_sequence(config, mask, keep, inputs, kernels, rate, beta):
  before = config.delta.empty(mask.shape[0], inputs['v'].dtype)
  y, after = delta.sequence(inputs, kernels, rate, beta, mask, before)
  return y, after if keep else None


def _recur_group(config, prompt_mask, mask, inputs, kernels, rate, beta):
  b, p = prompt_mask.shape
  groups = mask.shape

  def read(cut, mask, before):
    x, own_rate, own_beta = jax.tree.map(cut, (inputs, rate, beta))
    return delta.sequence(x, kernels, own_rate, own_beta, mask, before)

  empty = config.delta.empty(b, inputs['v'].dtype)
  y, states = read(lambda x: x[:, :p], prompt_mask, empty)
  own_y, _ = read(
    lambda x: x[:, p:].reshape(-1, groups[2], *x.shape[2:]),
    mask.reshape(-1, groups[2]),
    _of_rows(states, groups[1]),
  )
  own_y = own_y.reshape(b, -1, *y.shape[2:])
  return jnp.concatenate([y, own_y], axis=1), None


def _recur_cached(
  prompt, own, first, inputs, kernels, rate, beta, *, period=None
):
  """One token a row; the first of a response goes on from its prompt.

  Args:
    period: i32[], whose states of `own` are read and written; None: all.
  """
  held = own if period is None else _at(own, period, axis=1)
  rows = held['state'].shape[0]
  prompt = _of_rows(prompt, rows // prompt['state'].shape[0])

  def before(of_prompt, of_row):
    new = first.reshape(-1, *[1] * (of_row.ndim - 1))
    return jnp.where(new, of_prompt.astype(of_row.dtype), of_row)

  states = jax.tree.map(before, prompt, held)
  y, states = delta.step(inputs, kernels, rate, beta, states)
  if period is None:
    return y, states

  def put(whole, one):
    one = one.astype(whole.dtype)
    return jax.lax.dynamic_update_index_in_dim(whole, one, period, axis=1)

  return y, jax.tree.map(put, own, states)


def _of_rows(states, samples):
  """The states of prompts, once for each row of a group."""
  return jax.tree.map(lambda x: jnp.repeat(x, samples, axis=0), states)


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
  config,
  prompt,
  own,
  prompt_seen,
  own_seen,
  t,
  q,
  k,
  v,
  sinks,
  *,
  period=None,
):
  """One token a row.

  Args:
    period: i32[], whose keys of `own` are read and written; None: all.
  """
  # A reader's cache is that of another layer, which has written already.
  cache = own if k is None else attention.written(own, k, v, t, period)
  y = attention.over_caches(
    q,
    prompt,
    cache if period is None else _at(cache, period, axis=1),
    prompt_seen,
    own_seen,
    cap=config.attention_cap,
    sinks=sinks,
  )
  return y, cache


def _within(distance, window):
  return True if window is None else distance < window


def _positions(mask):
  """i32[N, S]: how many tokens come before each; 0 before the first."""
  return jnp.maximum(jnp.cumsum(mask, axis=-1, dtype=jnp.int32) - 1, 0)


def _rotations(config, positions, columns):
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


def _per_layer(params, config, tokens, x):
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


def _embed(params, config, tokens, dtype):
  x = params['embed']['kernel'][tokens].astype(dtype)
  # The scale is rounded to the arithmetic's dtype, as in the released models.
  return x * jnp.asarray(config.embedding_scale, dtype)
