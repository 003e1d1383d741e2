"""Rows of prompt and response one behind the other in longer rows.

Padding costs a model as much as text. Where rows are short beside the longest,
several have room in one packed row: each is a segment, whose tokens see each
other alone and count their positions from its first (`transformer.hidden`).
Letters as in `jaxrl_llm.types`; R packed rows of W = P + T columns.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct

from jaxrl_llm.types import Array, Places, Rollouts


class Packed(struct.PyTreeNode):
  """Tokens in packed rows, and where those of the responses are.

  Attributes:
    tokens: i32[R, W]. segments: i32[R, W], 1 + the row that a token is of, 0
      where there is none.
    at: i32[N, T], the place of a response's token in [R W]; R W where it has
      none.
  """

  tokens: Array
  segments: Array
  at: Array

  @property
  def mask(self) -> Array:
    """bool[R, W], True on tokens."""
    return self.segments > 0

  @property
  def following(self) -> Array:
    """i32[R, W]: the token behind each; that of the last is not read."""
    return jnp.roll(self.tokens, -1, axis=1)

  def unpacked(self, x: Array, *, before: bool) -> Array:
    """[N, T, ...] of x [R, W, ...]: at a token, or at that before it; or 0."""
    flat = x.reshape(-1, *x.shape[2:])
    at = jnp.where(self.at < len(flat), self.at - before, self.at)
    return flat.at[at].get(mode='fill', fill_value=0)


def pack(rollouts: Rollouts, places: Places) -> Packed:
  """The rows that have a place, each without its padding.

  Args:
    rollouts: prompts of at least one token. places: of its rows, which fit.
  """
  content = rollouts.content
  there = content.read(rollouts.response_mask)
  tokens = jnp.concatenate([content.prompt, content.response], axis=1)
  n, width = there.shape
  size = places.rows * width
  at = places.row * width + places.column
  at = at[:, None] + jnp.cumsum(there, axis=1, dtype=jnp.int32) - 1
  at = jnp.where(there & places.placed[:, None], at, size)
  ids = jnp.broadcast_to(1 + jnp.arange(n, dtype=jnp.int32)[:, None], at.shape)

  def put(x):
    flat = jnp.zeros(size, jnp.int32).at[at].set(x, mode='drop')
    return flat.reshape(places.rows, width)

  return Packed(put(tokens), put(ids), at[:, content.prompt.shape[1] :])
