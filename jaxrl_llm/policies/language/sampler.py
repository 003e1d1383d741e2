"""Samples responses: one compiled program reads prompts, one writes answers.

The first, `_read`, runs the prompts through the model once and draws the first
token of every row; the second, `_write`, is a `while_loop` that draws one
token a row and step until every row has ended. G rows share the keys and
values of their prompt, which are never repeated. A step reads all columns of
its cache, so the loop may be several, each with a cache twice as wide as the
one before. In place of the second program, `slots.write` keeps fewer rows
at work, each in a slot that the next one takes.

The random numbers of a row are a function of (key, its uid, the index of the
token), so a sample depends on neither its slot, nor its neighbours, nor the
amount of padding, nor on when other rows end.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm.policies.language import (
  caches,
  decoding,
  drawing,
  routes,
  slots,
  transformer,
)
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.types import Array, Prompts, PyTree, Rollouts, Tokens


@dataclasses.dataclass(frozen=True)
class Sampler:
  """How responses are generated, bound to a model's configuration.

  Samplers whose static fields are equal share their compiled programs.

  Attributes:
    config: of the decoder.
    max_tokens: T, the budget of a response.
    dtype: of the arithmetic; the draw itself is float32.
    cache_dtype: of the keys and values kept; None is `dtype`.
    unroll: the layers of a step are written out, which runs faster; False is
      a loop over them, whose program does not grow with their number.
    slots: rows at work at once; 0 is all of them. Fewer cost less where
      lengths differ, see `jaxrl_llm.policies.language.slots`.
    widths: loops of a response. Each is compiled, and the caches of all but
      the last are narrower than T; 1 where there are slots.
    support: S; when positive, tokens are drawn among the S most probable and
      `extras['support']` says which were kept.
    stop_tokens: ids that end a response.
    stop_table: i32[states, V'] from `text.stop_table`, or None. Tokens from
      V' on have no text.
  """

  config: Config
  max_tokens: int
  _: dataclasses.KW_ONLY
  dtype: Any = jnp.float32
  cache_dtype: Any = None
  unroll: bool = True
  slots: int = 0
  widths: int = 1
  support: int = 0
  stop_tokens: tuple[int, ...] = ()
  stop_table: Any = dataclasses.field(default=None, compare=False)

  def __post_init__(self):
    if self.max_tokens < 1:
      raise ValueError(f'max_tokens {self.max_tokens} must be at least 1')
    if self.slots < 0:
      raise ValueError(f'slots {self.slots} must be at least 0; 0 is all rows')
    if self.widths < 1 or (self.slots and self.widths > 1):
      raise ValueError(
        f'widths {self.widths} with slots {self.slots}: give at least 1, and '
        'with slots 1, whose columns are written in a ring'
      )
    vocab = self.config.vocab
    for token in self.stop_tokens:
      if not 0 <= token < vocab:
        raise ValueError(
          f'token {token} is not in the vocabulary of {vocab}; check '
          'stop_tokens'
        )
    if self.stop_table is not None and self.stop_table.shape[1] > vocab:
      raise ValueError(
        f'stop_table has {self.stop_table.shape[1]} tokens and the model '
        f'{vocab}; make it with the tokenizer of this model'
      )

  @property
  def columns(self) -> tuple[int, ...]:
    """Columns of the cache of each loop, the last of them T."""
    halved = {-(-self.max_tokens // 2**i) for i in range(self.widths)}
    return tuple(sorted(halved))

  def __call__(
    self,
    params: PyTree,
    prompts: Prompts,
    uids: Array,
    key: Array,
    sampling: Sampling,
    *,
    samples: int = 1,
  ) -> Rollouts:
    """`samples` responses to each prompt; those of a prompt are adjacent.

    Args:
      params: of the decoder; other entries, such as heads, are ignored.
      prompts: B prompts.
      uids: i32[N], N = B * samples, the identity of each response: rows of
        equal prompts and uids get equal responses.
      key: PRNG key of the call.
      sampling: traced; its values compile nothing anew.
      samples: G.

    Returns:
      Rollouts. The token that ends a response belongs to it and is masked in.
      `valid` is True everywhere, `action_mask` is `response_mask`, `group` is
      the row of the prompt. extras: those of the prompts, `log_mass`
      f32[N, T], and `support` i32[N, T, S] where S is positive; 0 and -1 off
      the mask. Under `config.replay` also `routes`.
    """
    check_uids(prompts, uids, samples)
    params = decoded(params)
    sampling = sampling.checked()
    keys = row_keys(key, uids)
    state, cache = _read(
      self, samples, params, prompts, keys, sampling, self.stop_table
    )
    write = _write_in_slots if 0 < self.slots < len(uids) else _write
    return write(
      self, params, prompts, keys, sampling, self.stop_table, cache, state
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _read(sampler, samples, params, prompts, keys, sampling, stop_table):
  logits, cache = prompted(sampler, samples, params, prompts)
  state = drawing.initial(sampler, logits.shape[0])
  return emit(sampler, state, logits, keys, sampling, stop_table), cache


@functools.partial(jax.jit, static_argnums=0)
def _write(
  sampler, params, prompts, keys, sampling, stop_table, prompt_cache, state
):
  cache, following = decoder(
    sampler, params, prompts, prompt_cache, state.token.shape[0]
  )

  def step(carry):
    state, cache = carry
    logits, cache = following(state, cache)
    had = routes.of_step(sampler.config, cache)
    state = emit(sampler, state, logits, keys, sampling, stop_table, had)
    return state, cache

  state = until_ended(sampler, step, state, cache, caches.widened)
  return finished(prompts, state)


@functools.partial(jax.jit, static_argnums=0)
def _write_in_slots(
  sampler, params, prompts, keys, sampling, stop_table, prompt_cache, state
):
  state = slots.write(
    sampler, params, prompts, keys, sampling, stop_table, prompt_cache, state
  )
  return finished(prompts, state)


# The parts below also make up the samplers of `mixture` and `held`.


def check_uids(prompts: Prompts, uids: Array, samples: int) -> None:
  """Refuses another number of uids than of rows."""
  chex.assert_rank([prompts.tokens, prompts.mask], 2)
  rows = prompts.tokens.shape[0] * samples
  if uids.shape != (rows,):
    raise ValueError(
      f'{prompts.tokens.shape[0]} prompts x {samples} samples need {rows} '
      f'uids, not {uids.shape}'
    )


@jax.jit
def row_keys(key, uids):
  """The key of every row: of the call's and its uid."""
  return jax.vmap(jax.random.fold_in, (None, 0))(key, uids)


def decoded(params: PyTree) -> PyTree:
  """The parameters that sampling reads, without heads and the like."""
  names = ('embed', 'layers', 'final_norm', 'unembed', 'per_layer')
  return {name: params[name] for name in names if name in params}


def prompted(sampler, samples, params, prompts):
  """Logits f32[N, V] after the prompts, and their keys and values."""
  hidden, cache = told(sampler, params, prompts)
  logits = transformer.logits(params, sampler.config, hidden)
  return jnp.repeat(logits, samples, axis=0), cache


def told(sampler, params, prompts):
  """The states [B, D] that prompts end with, and their keys and values."""
  hidden, cache = decoding.prefill(
    params,
    sampler.config,
    prompts.tokens,
    prompts.mask,
    dtype=sampler.dtype,
    unroll=sampler.unroll,
  )
  return hidden, caches.stored(cache, sampler.cache_dtype or sampler.dtype)


def decoder(sampler, params, prompts, prompt_cache, rows):
  """An empty cache of N rows, and f(state, cache) -> next logits, cache."""
  config = sampler.config
  layers, rest = drawing.unstacked(params, sampler)
  samples = rows // prompts.tokens.shape[0]
  length = jnp.repeat(prompts.mask.sum(-1, dtype=jnp.int32), samples)

  def following(state, cache):
    slot = state.t - 1
    hidden, cache = decoding.decode(
      layers,
      rest,
      config,
      state.token,
      length + slot,
      prompt_cache,
      prompts.mask,
      cache,
      slot,
      dtype=sampler.dtype,
    )
    return transformer.logits(rest, config, hidden), cache

  cache = caches.empty_cache(
    config,
    rows,
    sampler.columns[0],
    sampler.cache_dtype or sampler.dtype,
    unroll=sampler.unroll,
  )
  return cache, following


def until_ended(sampler, step, state, cache, widened):
  """The state when every row has ended, by steps (state, cache) -> same.

  Args:
    cache: of the first of `sampler.columns`, or a tree of such caches.
    widened: f(cache, columns), with more room.
  """
  for columns in sampler.columns:
    # The step writes the column before the token that it draws.
    room = min(columns + 1, sampler.max_tokens)

    def unfinished(carry, room=room):
      state, _ = carry
      return (state.t < room) & ~jnp.all(state.ended)

    carry = state, widened(cache, columns)
    state, cache = jax.lax.while_loop(unfinished, step, carry)
  return state


def emit(
  sampler,
  state,
  logits,
  keys,
  sampling,
  stop_table,
  had=None,
  allowed=None,
):
  """The state with the next token of every row drawn and written down.

  Args:
    had: [N, L, k], experts of the tokens before; None is unknown.
    allowed: bool[N, V], tokens that may be drawn; None is all.
  """
  live = ~state.ended
  new, ended, progress = drawing.draw(
    sampler,
    logits,
    keys,
    state.t,
    live,
    state.progress,
    sampling,
    stop_table,
    had,
    allowed,
  )
  outputs = {
    name: jax.lax.dynamic_update_index_in_dim(array, new[name], state.t, 0)
    for name, array in state.outputs.items()
  }
  return drawing.State(
    t=state.t + 1,
    token=new['token'],
    ended=state.ended | ended,
    progress=progress,
    outputs=outputs,
  )


def finished(prompts, state) -> Rollouts:
  """What was drawn, beside the prompts of each row."""
  samples = state.ended.shape[0] // prompts.tokens.shape[0]

  def by_row(x):
    return jnp.repeat(x, samples, axis=0)

  outputs = {name: jnp.moveaxis(x, 0, 1) for name, x in state.outputs.items()}
  extras = {name: by_row(x) for name, x in prompts.extras.items()}
  extras['log_mass'] = outputs['log_mass']
  if outputs['support'].shape[-1]:
    extras['support'] = outputs['support']
  if 'routes' in outputs:
    extras['routes'] = outputs['routes']
  return Rollouts(
    content=Tokens(
      prompt=by_row(prompts.tokens),
      prompt_mask=by_row(prompts.mask),
      response=outputs['token'],
    ),
    response_mask=outputs['mask'],
    action_mask=outputs['mask'],
    logp=outputs['logp'],
    paid=jnp.zeros_like(outputs['logp']),
    group=by_row(jnp.arange(prompts.tokens.shape[0], dtype=jnp.int32)),
    task=by_row(prompts.task),
    domain=by_row(prompts.domain),
    valid=jnp.ones(state.ended.shape, bool),
    truncated=~state.ended,
    extras=extras,
  )
