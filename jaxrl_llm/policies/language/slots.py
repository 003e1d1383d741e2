"""Writes N responses in S slots: a row that ends leaves its slot to the next.

Where lengths differ, rows that run all at once wait for the longest of them.
In slots a step costs S rows, not N, and there are about

    sum of lengths / S    steps, and at most T more while the last rows end,

in place of T steps of N rows: the cost follows the mean length and not
the largest. All of it is one compiled loop; nothing returns to the host.

The cache of a slot is a ring. All slots write the same column in a step,
`clock` modulo T, so a write stays one slice whatever the age of the rows, and
a row sees the columns that are not older than itself: with at most T tokens a
row never meets what it overwrites, nor what the row before it left.

A slot keeps a copy of its row's prompt, because which prompts are at work at
once is known only when rows end. Where all responses have one length, or
prompts are much longer than responses, all rows at once are better: they
share the keys of a prompt instead.

Random numbers belong to the row and the index of the token, so a response is
the same in any slot, at any time, beside any other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_llm.policies.language import (
  caches,
  decoding,
  drawing,
  routes,
  transformer,
)
from jaxrl_llm.policies.language.caches import Cache
from jaxrl_llm.types import Array


class _Slots(NamedTuple):
  """Rows at work, leading axis S, and where their next ones come from.

  Attributes:
    row: i32[S], which one; N in an idle slot. t: i32[S], its tokens so far.
    token: i32[S], the last of them. progress: i32[S], of the stop automaton.
    taken: i32[], waiting rows that were given a slot.
    prompts: keys and values of the rows' prompts, as `prefill` makes them.
  """

  row: Array
  t: Array
  token: Array
  progress: Array
  taken: Array
  prompts: Cache


class _Loop(NamedTuple):
  """What a step changes.

  Attributes:
    clock: i32[], steps done. slots: the rows at work.
    cache: what they wrote, in rings of T columns.
    ended: bool[N], rows that stopped before their budget did.
    outputs: as in `drawing.State`.
  """

  clock: Array
  slots: _Slots
  cache: Cache
  ended: Array
  outputs: dict[str, Array]


class _Fixed(NamedTuple):
  """What no step changes.

  Attributes:
    sampler: with S = `slots`. layers, rest: of the decoder, unstacked.
    prompts: B. length: i32[B], their tokens. samples: responses of each.
    keys: of the rows, [N]. sampling, stops: as `drawing.draw` takes them.
  """

  sampler: Any
  layers: Any
  rest: Any
  prompts: Any
  length: Array
  samples: int
  keys: Array
  sampling: Any
  stops: Any


def write(
  sampler, params, prompts, keys, sampling, stop_table, prompt_cache, first
) -> drawing.State:
  """All responses to the end, from their first tokens on.

  Args:
    sampler: a `sampler.Sampler` with S = `slots`, 0 < S < N.
    params: of the decoder. prompts: B. keys: of the rows, [N].
    prompt_cache: of the B prompts. first: the state after one token a row.

  Returns:
    The state when all rows have ended, as far as their outputs need it.
  """
  n, most = first.ended.shape[0], sampler.max_tokens
  samples = n // prompts.tokens.shape[0]
  length = prompts.mask.sum(-1, dtype=jnp.int32)
  fixed = _Fixed(
    *(sampler, *drawing.unstacked(params, sampler), prompts, length),
    *(samples, keys, sampling, stop_table),
  )
  # A response of one token is finished and needs no slot.
  order = jnp.argsort(first.ended, stable=True)
  waiting = jnp.sum(~first.ended) if most > 1 else jnp.int32(0)

  def vacant(slots):
    return (slots.taken < waiting) & jnp.any(slots.row == n)

  def take(slots):
    row = order[slots.taken]
    return _seated(slots, row, row // samples, first, prompt_cache, n)

  def busy(loop):
    return (loop.slots.taken < waiting) | jnp.any(loop.slots.row < n)

  def step(loop):
    slots = jax.lax.while_loop(vacant, take, loop.slots)
    return _stepped(fixed, loop._replace(slots=slots))

  loop = jax.lax.while_loop(busy, step, _start(sampler, first, prompt_cache))
  return first._replace(
    t=first.t + loop.clock, ended=loop.ended, outputs=loop.outputs
  )


def _start(sampler, first, prompt_cache) -> _Loop:
  """All slots idle."""
  cache = caches.empty_cache(
    sampler.config,
    sampler.slots,
    sampler.max_tokens,
    sampler.cache_dtype or sampler.dtype,
    unroll=sampler.unroll,
  )
  slots = _idle(sampler.slots, first.ended.shape[0], prompt_cache)
  return _Loop(jnp.int32(0), slots, cache, first.ended, first.outputs)


def _stepped(fixed: _Fixed, loop: _Loop) -> _Loop:
  """One token more of every row at work."""
  sampler, slots, n = fixed.sampler, loop.slots, loop.ended.shape[0]
  row = jnp.minimum(slots.row, n - 1)
  hidden, cache = _decoded(fixed, loop, row // fixed.samples)
  new, ended, progress = drawing.draw(
    sampler,
    transformer.logits(fixed.rest, sampler.config, hidden),
    fixed.keys[row],
    slots.t,
    slots.row < n,
    slots.progress,
    fixed.sampling,
    fixed.stops,
    routes.of_step(sampler.config, cache),
  )
  # Idle slots are row N, which is out of bounds and dropped.
  outputs = {
    name: array.at[slots.t, slots.row].set(new[name], mode='drop')
    for name, array in loop.outputs.items()
  }
  t = slots.t + 1
  left = slots._replace(
    row=jnp.where(ended | (t == sampler.max_tokens), n, slots.row),
    t=t,
    token=new['token'],
    progress=progress,
  )
  stopped = loop.ended.at[slots.row].max(ended, mode='drop')
  return _Loop(loop.clock + 1, left, cache, stopped, outputs)


def _decoded(fixed: _Fixed, loop: _Loop, prompt: Array) -> tuple[Array, Cache]:
  """The hidden states after the last tokens, and the cache with those.

  Args:
    prompt: i32[S], of the row in each slot.
  """
  sampler, slots = fixed.sampler, loop.slots
  most = sampler.max_tokens
  column = loop.clock % most
  age = (column - jnp.arange(most)) % most
  return decoding.decode(
    fixed.layers,
    fixed.rest,
    sampler.config,
    slots.token,
    fixed.length[prompt] + slots.t - 1,
    slots.prompts,
    fixed.prompts.mask[prompt],
    loop.cache,
    column,
    age=jnp.where(age < slots.t[:, None], age, -1),
    dtype=sampler.dtype,
  )


def _idle(size, n, prompt_cache) -> _Slots:
  return _Slots(
    row=jnp.full(size, n, jnp.int32),
    t=jnp.ones(size, jnp.int32),
    token=jnp.zeros(size, jnp.int32),
    progress=jnp.zeros(size, jnp.int32),
    taken=jnp.int32(0),
    prompts=jax.tree.map(
      lambda x: jnp.zeros((size, *x.shape[1:]), x.dtype), prompt_cache
    ),
  )


def _seated(slots, row, prompt, first, prompt_cache, n) -> _Slots:
  """The slots with the first idle one given to a row."""
  slot = jnp.argmax(slots.row == n)

  def copied(kept, source):
    one = jax.lax.dynamic_slice_in_dim(source, prompt, 1)
    return jax.lax.dynamic_update_slice_in_dim(kept, one, slot, 0)

  return _Slots(
    row=slots.row.at[slot].set(row),
    t=slots.t.at[slot].set(1),
    token=slots.token.at[slot].set(first.token[row]),
    progress=slots.progress.at[slot].set(first.progress[row]),
    taken=slots.taken + 1,
    prompts=jax.tree.map(copied, slots.prompts, prompt_cache),
  )
