"""The decoder a token at a time, on keys, values and states that it keeps.

`prefill` reads prompts, `decode` a token of every row and `extend` several, G
rows sharing the keys of their prompt. Layers with delta nets keep a state, and
no keys and values. Letters as in `transformer`.
"""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm.policies.language import (
  attention,
  delta,
  parameters,
  stack,
  transformer,
)
from jaxrl_llm.policies.language.caches import Cache, room_of
from jaxrl_llm.policies.language.config import READS, Config
from jaxrl_llm.policies.language.layers import block, norm
from jaxrl_llm.policies.language.parameters import Params
from jaxrl_llm.types import Array


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
  tokens, mask, _ = transformer.without_gaps(config, tokens, mask, mask)
  x, kept = transformer.sequence(
    params, config, tokens, mask, dtype=dtype, keep=True
  )
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
    cache: from `caches.empty_cache` or the step before; T slots.
    t: i32[], or i32[N] of each row, the slot to write; what is written past
      the last is lost.
    age: i32[N, T], how many tokens before this one each slot of a row was
      written, 0 for slot t and negative where it holds none of the row's.
      None: a row has written its 0..t in order.
    dtype: of the arithmetic; keys and values are written in the cache's own.

  Returns:
    dtype[N, D], hidden states after the final norm, and the new cache.
  """
  n, b = tokens.shape[0], prompt_mask.shape[0]
  chex.assert_shape([tokens, positions], (n,))
  _check_groups(n, b)
  t = jnp.asarray(t)
  prompt_distance = positions.reshape(b, -1)[:, :, None] - stack.positions_of(
    prompt_mask
  ).reshape(b, 1, -1)
  room = room_of(cache)
  if age is None:
    age = t[..., None] - jnp.arange(room)
  # Of a row's tokens, the slots hold this one alone.
  first = jnp.sum(age >= 0, axis=-1) == 1

  def attend(window, prompt, own, period):
    return functools.partial(
      _attend_cached,
      config,
      prompt,
      own,
      prompt_mask[:, None] & _within(prompt_distance, window),
      (age >= 0) & _within(age, window),
      t,
      period=period,
    )

  def recur(prompt, own, period):
    return functools.partial(_recur_cached, prompt, own, first, period=period)

  return _over_layers(
    layers,
    params,
    config,
    tokens,
    positions,
    prompt_mask.shape[1] + room,
    prompt_cache,
    cache,
    attend,
    recur,
    dtype,
  )


def extend(
  layers: tuple[Params, ...] | Params,
  params: Params,
  config: Config,
  tokens: Array,
  count: Array,
  length: Array,
  prompt_cache: Cache,
  prompt_mask: Array,
  cache: Cache,
  *,
  dtype=jnp.float32,
) -> tuple[Array, Cache]:
  """Reads several tokens of every response at once, each row its own number.

  Args:
    layers, params, prompt_cache, prompt_mask, dtype: as of `decode`.
    tokens: i32[N, C], those to read first. count: i32[N], how many there are.
    length: i32[N], how many of the row `cache` holds, in order.

  Returns:
    dtype[N, D], the state of the last token that was read, without meaning
    where there was none; and the new cache, which holds `length + count`.
  """
  n, b = tokens.shape[0], prompt_mask.shape[0]
  chex.assert_shape([count, length], (n,))
  _check_groups(n, b)
  place = jnp.arange(tokens.shape[1])
  slots = length[:, None] + place
  before = jnp.sum(prompt_mask, axis=-1, dtype=jnp.int32)
  before = jnp.repeat(before, n // b)[:, None]
  here = attention.Mask(place < count[:, None], before + slots)
  of_prompt = attention.Mask(prompt_mask, stack.positions_of(prompt_mask))
  room = room_of(cache)
  held = jnp.arange(room)
  of_own = attention.Mask(held < length[:, None], before + held)

  def attend(window, prompt, own, period):
    return functools.partial(
      _attend_block,
      config,
      prompt,
      own,
      of_prompt,
      of_own,
      here.replace(window=window),
      slots,
      period=period,
    )

  def recur(prompt, own, period):
    return functools.partial(
      _recur_block, prompt, own, length == 0, here.valid, period=period
    )

  x, cache = _over_layers(
    layers,
    params,
    config,
    tokens,
    here.positions,
    prompt_mask.shape[1] + room,
    prompt_cache,
    cache,
    attend,
    recur,
    dtype,
  )
  last = jnp.maximum(count - 1, 0)[:, None, None]
  return jnp.take_along_axis(x, last, axis=1)[:, 0], cache


def _check_groups(rows, prompts):
  if rows % prompts:
    raise ValueError(
      f'{rows} rows are not a whole number of groups of {prompts} prompts; '
      'give each prompt equally many rows.'
    )


def _over_layers(
  layers,
  params,
  config,
  tokens,
  positions,
  columns,
  prompt_cache,
  cache,
  attend,
  recur,
  dtype,
):
  """Final states of new tokens [N, ...], and the caches with these written.

  Args:
    columns: of prompt and row, at most.
    attend: f(window, prompt, own, period) -> what mixes the tokens of a layer,
      of whose caches the own one is written; period, i32[], is which of it,
      None for all. recur: the same of a delta net, without the window.
  """
  rotations = stack.rotations_of(config, positions, columns)
  x = stack.embed(params, config, tokens, dtype)
  told = stack.per_layer(params, config, tokens, x)

  visit = functools.partial(_visited, config, attend, recur)
  if isinstance(layers, tuple):
    x, new = _unrolled(
      visit, layers, config, x, prompt_cache, cache, rotations, told
    )
  else:
    x, new = _looped(
      visit, layers, config, x, prompt_cache, cache, rotations, told, columns
    )
  return norm(params['final_norm'], config, x), new


def _visited(
  config, attend, recur, kind, layer, x, said, caches, read=None, period=None
):
  """States after a layer, and what its cache holds then."""
  window, rotation, own = said
  held = [{k: x for k, x in c.items() if k != 'routes'} for c in caches]
  if kind == 'delta':
    mix = recur(*held, period)
  else:
    mix = attend(window, *held, period)
  x, kept, _, chosen = block(layer, config, kind, x, rotation, mix, own, read)
  if config.replay:
    own = {'routes': caches[1]['routes']}
    # Of blocks, which others wrote, nothing is asked.
    one = x.ndim == 2
    kept |= _kept(own, {'routes': chosen}, period) if one else own
  return x, {} if read else kept


def _unrolled(visit, layers, config, x, prompt_cache, cache, rotations, told):
  """All layers, written out."""
  new: list[dict[str, Array]] = []
  writers: dict[str, int] = {}
  for index, layer in enumerate(layers):
    kind, read = config.kinds[index], None
    caches = prompt_cache[index], cache[index]
    if kind in READS:
      writer, read = writers[READS[kind]], (None, None)
      caches = prompt_cache[writer], new[writer]
    writers[kind] = index
    own = {} if told is None else {'told': told[index]}
    said = stack.said(config, rotations, index, own)
    x, kept = visit(kind, layer, x, said, caches, read)
    new.append(kept)
  return x, tuple(new)


def _looped(
  visit, layers, config, x, prompt_cache, cache, rotations, told, columns
):
  """All layers, in a loop over periods of kinds."""
  (segment,) = config.segments
  looked_up, shared = stack.looked_up(config, segment, rotations, columns)
  if told is not None:
    looked_up['told'] = told
  stacks = stack.periods(config, segment, layers, looked_up)

  def body(period, carry):
    x, cache = carry
    here, kept = stack.at(stacks, period), []
    for place, (layer, own) in enumerate(
      stack.apart(config, 0, segment[2], here)
    ):
      said = stack.said(config, rotations, place, own | shared)
      caches = stack.at(prompt_cache[place], period, axis=1), cache[place]
      kind = config.kinds[place]
      x, each = visit(kind, layer, x, said, caches, period=period)
      kept.append(each)
    return x, tuple(kept)

  count = config.layers // segment[2]
  return jax.lax.fori_loop(0, count, body, (x, cache))


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
    cache if period is None else stack.at(cache, period, axis=1),
    prompt_seen,
    own_seen,
    cap=config.attention_cap,
    sinks=sinks,
  )
  return y, cache


def _attend_block(
  config,
  prompt,
  own,
  of_prompt,
  of_own,
  here,
  slots,
  q,
  k,
  v,
  sinks,
  *,
  period=None,
):
  """New tokens of a row, [N, C]; `period` as of `_attend_cached`."""
  cache = own if k is None else attention.written(own, k, v, slots, period)
  if k is None:
    k, v = attention.read(cache, slots, period)
  y = attention.of_block(
    q,
    k,
    v,
    here,
    prompt,
    of_prompt,
    own if period is None else stack.at(own, period, axis=1),
    of_own,
    cap=config.attention_cap,
    sinks=sinks,
  )
  return y, cache


def _recur_cached(
  prompt, own, first, inputs, kernels, rate, beta, *, period=None
):
  """One token a row; the first of a response goes on from its prompt.

  Args:
    period: i32[], whose states of `own` are read and written; None: all.
  """
  states = _before(prompt, own, first, period)
  y, states = delta.step(inputs, kernels, rate, beta, states)
  return y, _kept(own, states, period)


def _recur_block(
  prompt, own, first, valid, inputs, kernels, rate, beta, *, period=None
):
  """New tokens of a row, [N, C]; otherwise as `_recur_cached`."""
  states = _before(prompt, own, first, period)
  y, states = delta.sequence(inputs, kernels, rate, beta, valid, states)
  return y, _kept(own, states, period)


def _before(prompt, own, first, period):
  """The states that rows go on from: those of their prompts, if they begin."""
  held = own if period is None else stack.at(own, period, axis=1)
  rows = held['state'].shape[0]
  prompt = delta.of_rows(prompt, rows // prompt['state'].shape[0])

  def before(of_prompt, of_row):
    new = first.reshape(-1, *[1] * (of_row.ndim - 1))
    return jnp.where(new, of_prompt.astype(of_row.dtype), of_row)

  return jax.tree.map(before, prompt, held)


def _kept(own, states, period):
  """The states of all periods, with new ones of this."""

  def put(whole, one):
    one = one.astype(whole.dtype)
    if period is None:
      return one
    return jax.lax.dynamic_update_index_in_dim(whole, one, period, axis=1)

  return jax.tree.map(put, own, states)


def _within(distance, window):
  return True if window is None else distance < window
