"""The next token of every row, and whether the row ends with it."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_llm.policies.language import decoding, transformer, truncation
from jaxrl_llm.policies.language import routes as routes_lib
from jaxrl_llm.types import Array, PyTree

# What stands after the end of a response. Masked everywhere: any token of any
# model will do, and the padding token of a tokenizer need not be one.
_PADDING = 0
# Entries of a large vocabulary in one product, on a CPU: with 49k of them at
# once, one for 8 to 64 rows takes twice to three times as long.
_ENTRIES = 2**12


class State(NamedTuple):
  """What is known of N rows between two steps.

  Attributes:
    t: i32[], steps done, each a token of every row that was at work.
    token: i32[N], the last one. ended: bool[N], and nothing comes after it.
    progress: i32[N], states of the stop automaton.
    outputs: arrays with leading axes [T, N], row t written at step t.
  """

  t: Array
  token: Array
  ended: Array
  progress: Array
  outputs: dict[str, Array]


def initial(sampler, n: int) -> State:
  """Nothing drawn of `n` rows; their outputs are what padding holds."""

  def outputs(fill, *axes):
    return jnp.full((sampler.max_tokens, n, *axes), fill)

  config = sampler.config
  said = {}
  if config.replay:
    said['routes'] = routes_lib.none(
      config, sampler.max_tokens, n, config.layers
    )
  return State(
    t=jnp.int32(0),
    token=jnp.zeros(n, jnp.int32),
    ended=jnp.zeros(n, bool),
    progress=jnp.zeros(n, jnp.int32),
    outputs=said
    | {
      'token': outputs(jnp.int32(_PADDING)),
      'mask': outputs(False),
      'logp': outputs(jnp.float32(0)),
      'log_mass': outputs(jnp.float32(0)),
      'support': outputs(jnp.int32(-1), sampler.support),
    },
  )


def unstacked(params: PyTree, sampler) -> tuple[PyTree, PyTree]:
  """The layers as `decode` reads them and the others, cast to the dtype.

  Once, before a loop: inside it would be done for every token. Where that
  pays, the kernel of the logits comes in parts, see `transformer.logits`.
  """
  dtype = sampler.dtype
  layers = decoding.split_layers(
    params, sampler.config, dtype, unroll=sampler.unroll
  )
  rest = {
    name: jax.tree.map(lambda x: x.astype(dtype), tree)
    for name, tree in params.items()
    if name != 'layers'
  }
  rest |= _vocabulary(rest, sampler.config)
  return layers, jax.lax.optimization_barrier(rest)


def _vocabulary(params, config):
  """The kernel of the logits in parts, by its name; {} where it stays one."""
  # A mesh may have split it already.
  alone = jax.default_backend() == 'cpu' and jax.device_count() == 1
  if not alone or config.vocab < 4 * _ENTRIES:
    return {}
  name, axis = ('embed', 0) if config.tied else ('unembed', 1)
  places = [*range(_ENTRIES, config.vocab, _ENTRIES)]
  parts = jnp.split(params[name]['kernel'], places, axis)
  return {transformer.PARTS: tuple(parts)}


def draw(
  sampler,
  logits,
  keys,
  t,
  live,
  progress,
  sampling,
  stop_table,
  routes=None,
  allowed=None,
):
  """Draws the next token of every row and finds out which rows it ends.

  Args:
    logits: f32[N, V]. keys: of the rows, [N].
    t: i32[] or i32[N], tokens that each row has before this one.
    live: bool[N], rows that go on; others get padding.
    progress: i32[N], states of the stop automaton before this token.
    routes: [N, L, k], experts of the token before it, where they are kept.
    allowed: bool[N, V], tokens that may be drawn; None is all.

  Returns:
    what `State.outputs` keeps of it, leading axis N; bool[N], rows that end;
    i32[N], states of the automaton after it.
  """
  t = jnp.broadcast_to(t, live.shape)
  uniform = jax.vmap(
    lambda key, t: jax.random.uniform(jax.random.fold_in(key, t), (2,))
  )(keys, t)
  drawn = truncation.draw(
    logits, uniform, sampling, support=sampler.support, allowed=allowed
  )
  token = jnp.where(live, drawn.token, _PADDING)
  new = {
    'token': token,
    'mask': live,
    'logp': jnp.where(live, drawn.logp, 0.0),
    'log_mass': jnp.where(live, drawn.log_mass, 0.0),
    'support': jnp.where(live[:, None], drawn.support, -1),
  }
  if sampler.config.replay:
    if routes is None:
      routes = routes_lib.none(
        sampler.config, *live.shape, sampler.config.layers
      )
    new['routes'] = jnp.where(live[:, None, None], routes, -1)
  stop = jnp.asarray(sampler.stop_tokens, jnp.int32)
  ended = jnp.any(token[:, None] == stop, axis=-1)
  if stop_table is not None:
    stop_table = jnp.asarray(stop_table)
    last, width = (size - 1 for size in stop_table.shape)
    moved = stop_table[progress, jnp.minimum(token, width)]
    progress = jnp.where(live & (token <= width), moved, progress)
    ended |= progress == last
  return new, ended, progress
