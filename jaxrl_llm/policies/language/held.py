"""Responses in turns: keys and values of what was read and written stay.

    held       = opened(sampler, samples, params, prompts)
    held       = read(sampler, params, held, tokens, count)
    more, held = write(sampler, params, held, keys, sampling, going)

Between two turns of a row somebody else writes into it. The policy then reads
what is new, with the last token that it drew, in one block, and writes on. So
a turn costs what is new in it, whatever came before, while the sampler alone
would read the whole row again. G rows share the keys of their prompt. What is
held belongs to one version of the parameters, and is used up by the next call.

The draws are those of `Sampler` on rows that were moved into the prompt; their
log-probs differ by rounding.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_llm.policies.language import (
  caches,
  decoding,
  drawing,
  routes,
  transformer,
)
from jaxrl_llm.policies.language import sampler as sampler_lib
from jaxrl_llm.policies.language.caches import Cache
from jaxrl_llm.policies.language.sampler import Sampler
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.types import Array, Prompts, PyTree, Rollouts


class Rows(NamedTuple):
  """What N responses hold.

  Attributes:
    cache: keys and values, T slots. length: i32[N], how many are in use.
    last: [N, D], the states that the next tokens are drawn from.
  """

  cache: Cache
  length: Array
  last: Array


class Held(NamedTuple):
  """What is kept of B prompts and of their N responses.

  Attributes:
    prompts: what was asked. cache: keys and values of the prompts.
    rows: those of responses.
  """

  prompts: Prompts
  cache: Cache
  rows: Rows


@functools.partial(jax.jit, static_argnums=(0, 1))
def opened(
  sampler: Sampler, samples: int, params: PyTree, prompts: Prompts
) -> Held:
  """Prompts that were read, and room for `samples` responses to each.

  Args:
    sampler: whose `max_tokens` is T, of whole responses.
    params: of the decoder. prompts: B of them.
  """
  rows = samples * prompts.tokens.shape[0]
  dtype = sampler.cache_dtype or sampler.dtype
  params = sampler_lib.decoded(params)
  last, cache = sampler_lib.told(sampler, params, prompts)
  own = caches.empty_cache(
    sampler.config, rows, sampler.max_tokens, dtype, unroll=sampler.unroll
  )
  length = jnp.zeros(rows, jnp.int32)
  last = jnp.repeat(last, samples, axis=0)
  return Held(prompts, cache, Rows(own, length, last))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def vacant(sampler: Sampler, rows: int, columns: int) -> Held:
  """Room for `columns` tokens of each of `rows` rows, behind no prompt."""
  dtype = sampler.cache_dtype or sampler.dtype
  empty = functools.partial(
    caches.empty_cache, sampler.config, dtype=dtype, unroll=sampler.unroll
  )
  nothing = jnp.zeros((1, 1), jnp.int32)
  prompts = Prompts(nothing, nothing > 0, nothing[0], nothing[0])
  length = jnp.zeros(rows, jnp.int32)
  last = jnp.zeros((rows, sampler.config.width), sampler.dtype)
  return Held(prompts, empty(1, 1), Rows(empty(rows, columns), length, last))


def read(
  sampler: Sampler, params: PyTree, held: Held, tokens: Array, count: Array
) -> Held:
  """Reads what others wrote behind what responses hold.

  Args:
    tokens: i32[N, C], those to read first. count: i32[N], how many they are.
  """
  rows = _read(
    sampler, params, held.prompts, held.cache, held.rows, tokens, count
  )
  return held._replace(rows=rows)


def write(
  sampler: Sampler,
  params: PyTree,
  held: Held,
  keys: Array,
  sampling: Sampling,
  going: Array,
) -> tuple[Rollouts, Held]:
  """A turn of every response.

  Of its tokens all but the last are held then; that one is still to be read.

  Args:
    sampler: whose `max_tokens` is the budget of a turn. Rows are at work all at
      once, and in one loop.
    keys: of the rows, see `sampler.row_keys`. sampling: traced.
    going: bool[N], those that say something.

  Returns:
    Rollouts of the prompts, with what was said now alone.
  """
  more, rows = _write(
    sampler,
    params,
    held.prompts,
    held.cache,
    held.rows,
    keys,
    sampling.checked(),
    going,
    sampler.stop_table,
  )
  return more, held._replace(rows=rows)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=4)
def _read(sampler, params, prompts, cache, rows, tokens, count):
  layers, rest = drawing.unstacked(sampler_lib.decoded(params), sampler)
  x, own = decoding.extend(
    layers,
    rest,
    sampler.config,
    tokens,
    count,
    rows.length,
    cache,
    prompts.mask,
    rows.cache,
    dtype=sampler.dtype,
  )
  last = jnp.where(count[:, None] > 0, x, rows.last)
  return Rows(own, rows.length + count, last)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=4)
def _write(
  sampler, params, prompts, cache, rows, keys, sampling, going, stop_table
):
  layers, rest = drawing.unstacked(sampler_lib.decoded(params), sampler)
  samples = len(going) // len(prompts.mask)
  before = jnp.repeat(prompts.mask.sum(-1, dtype=jnp.int32), samples)

  def following(state, last, had=None):
    logits = transformer.logits(rest, sampler.config, last)
    return sampler_lib.emit(
      sampler, state, logits, keys, sampling, stop_table, had
    )

  def step(carry):
    state, rows = carry
    last, own = decoding.decode(
      layers,
      rest,
      sampler.config,
      state.token,
      before + rows.length,
      cache,
      prompts.mask,
      rows.cache,
      rows.length,
      dtype=sampler.dtype,
    )
    # Of rows that have ended no token is read.
    own = caches.where(~state.ended, own, rows.cache)
    length = rows.length + ~state.ended
    had = routes.of_step(sampler.config, own)
    return following(state, last, had), Rows(own, length, last)

  def unfinished(carry):
    state, _ = carry
    return (state.t < sampler.max_tokens) & ~jnp.all(state.ended)

  state = drawing.initial(sampler, len(going))._replace(ended=~going)
  carry = following(state, rows.last), rows
  state, rows = jax.lax.while_loop(unfinished, step, carry)
  return sampler_lib.finished(prompts, state), rows
