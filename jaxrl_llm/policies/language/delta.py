"""Gated delta nets: tokens mixed by a state of one size, instead of by keys.

    S'_t = exp(g_t) S_{t-1}                                    what is left
    S_t  = S'_t + k_t (beta_t (v_t - S'_t' k_t))'              and corrected
    y_t  = S_t' q_t

for each head, with S [key_dim, value_dim], g_t <= 0 and beta_t in (0, 1).
Before, each column of q, k and v is mixed with those of the K - 1 tokens
before it,

    x_t <- silu(sum_i w_i x_{t-K+1+i}),     i = 0..K-1

and q and k are brought to length one (q also divided by sqrt(key_dim)), where
a row of zeros stays one, with a slope of its own.

A sequence is read in chunks: inside one the corrections solve a triangular
system, so that it is products of matrices, and only the state passes on.
Letters: S tokens, N rows, H heads of values, J heads of keys, each for H / J
of values, K taps of the convolution, C tokens of a chunk.

Source: Gated Delta Networks, arXiv 2412.06464, sections 3.1 and 3.3; the
published code of Qwen3-Next in `transformers`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

Array = jax.Array
# What is known of the tokens before: 'past_q', 'past_k' and 'past_v', the K - 1
# last columns, and 'state'.
States = dict[str, Array]

# Tokens of a chunk at most, a power of 2.
_CHUNK = 64
# Added to squared lengths, as in the published code.
_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class Delta:
  """Sizes of the delta nets of a model.

  Attributes:
    heads: H, of values. key_heads: J, divides H. key_dim, value_dim: widths of
      a head. taps: K, of the convolution.
  """

  heads: int
  key_heads: int
  key_dim: int
  value_dim: int
  taps: int

  def __post_init__(self):
    if self.heads % self.key_heads:
      raise ValueError(
        f'{self.heads} heads of values do not share {self.key_heads} heads of '
        'keys evenly; choose key_heads that divides heads.'
      )

  def empty(self, rows: int, dtype) -> States:
    """Before the first token. The state is float32 whatever the dtype."""
    past = rows, self.taps - 1
    keys = jnp.zeros((*past, self.key_heads, self.key_dim), dtype)
    return {
      'past_q': keys,
      'past_k': keys,
      'past_v': jnp.zeros((*past, self.heads, self.value_dim), dtype),
      'state': jnp.zeros(
        (rows, self.heads, self.key_dim, self.value_dim), jnp.float32
      ),
    }


def sequence(
  inputs: Mapping[str, Array],
  kernels: Mapping[str, Array],
  rate: Array,
  beta: Array,
  mask: Array,
  before: States,
  segments: Array | None = None,
) -> tuple[Array, States]:
  """Every token of a sequence, which goes on from what was before.

  Args:
    inputs: 'q' and 'k' [N, S, J, key_dim], 'v' [N, S, H, value_dim].
    kernels: w, for each of them [heads, width, K].
    rate: g, f32[N, S, H], at most 0. beta: [N, S, H].
    mask: bool[N, S], True on tokens: a number of columns without gaps, the
      first of them the first of all where there were tokens before. Other
      columns change nothing.
    before: of N rows.
    segments: i32[N, S], of rows that hold several sequences: where the id is
      another than that of the column before, nothing is known of what was.
      `before` is then of no sequence, and so is what is known at the end.

  Returns:
    [N, S, H, value_dim] of the dtype of v, without meaning off the mask, and
    what is then known.
  """
  here = mask[..., None]
  length = mask.shape[1]
  # Past the last token; where there is none, what was known remains.
  end = jnp.max(mask * (1 + jnp.arange(length)), axis=1)
  after, mixed = {}, []
  for name in 'qkv':
    x = jnp.where(here[..., None], inputs[name], 0)
    whole = jnp.concatenate([before[f'past_{name}'].astype(x.dtype), x], axis=1)
    past = whole.shape[1] - length
    taps = kernels[name].astype(x.dtype)
    y = sum(
      taps[..., i] * _within(segments, whole[:, i : i + length], i - past)
      for i in range(taps.shape[-1])
    )
    mixed.append(jax.nn.silu(y))
    last = end[:, None] + jnp.arange(taps.shape[-1] - 1)
    last = last.reshape(*last.shape, *[1] * (whole.ndim - 2))
    after[f'past_{name}'] = jnp.take_along_axis(whole, last, axis=1)
  q, k, v = _prepared(*mixed)
  rate, beta = (jnp.where(here, x.astype(jnp.float32), 0) for x in (rate, beta))
  y, after['state'] = _chunked(q, k, v, rate, beta, before['state'], segments)
  return y.astype(inputs['v'].dtype), after


def step(
  inputs: Mapping[str, Array],
  kernels: Mapping[str, Array],
  rate: Array,
  beta: Array,
  before: States,
) -> tuple[Array, States]:
  """One token a row: `sequence` of one column, without the axis S."""
  after, mixed = {}, []
  for name in 'qkv':
    x, past = inputs[name], before[f'past_{name}']
    whole = jnp.concatenate([past.astype(x.dtype), x[:, None]], axis=1)
    taps = jnp.moveaxis(kernels[name].astype(x.dtype), -1, 0)
    mixed.append(jax.nn.silu(jnp.sum(taps * whole, axis=1)))
    after[f'past_{name}'] = whole[:, 1:].astype(past.dtype)
  q, k, v = _prepared(*mixed)
  state = before['state'] * jnp.exp(rate.astype(jnp.float32))[..., None, None]
  correction = beta[..., None] * (v - jnp.einsum('nhkv,nhk->nhv', state, k))
  state = state + k[..., None] * correction[..., None, :]
  after['state'] = state
  y = jnp.einsum('nhkv,nhk->nhv', state, q)
  return y.astype(inputs['v'].dtype), after


def of_rows(states: States, samples: int) -> States:
  """The states of prompts, once for each of the `samples` rows of a group."""
  return jax.tree.map(lambda x: jnp.repeat(x, samples, axis=0), states)


def _within(segments, x, shift):
  """Columns x [N, S, ...] of so much earlier, 0 where of another segment."""
  if segments is None or not shift:
    return x
  same = segments == jnp.roll(segments, -shift, axis=1)
  same &= jnp.arange(x.shape[1]) >= -shift
  return jnp.where(same.reshape(*same.shape, *[1] * (x.ndim - 2)), x, 0)


def _prepared(q, k, v):
  """q and k in float32, of length one and a head for each of v."""
  q, k, v = (x.astype(jnp.float32) for x in (q, k, v))
  each = v.shape[-2] // k.shape[-2]

  def unit(x):
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    x = x * jax.lax.rsqrt(square + _EPSILON)
    return jnp.repeat(x, each, axis=-2)

  return unit(q) * q.shape[-1] ** -0.5, unit(k), v


def _chunked(q, k, v, rate, beta, state, segments=None):
  """[N, S, H, value_dim] and the last state, of float32 [N, S, H, ...]."""
  n, length, heads, _ = q.shape
  size = min(_CHUNK, 1 << (length - 1).bit_length())
  count = -(-length // size)

  def chunks(x):
    # Columns beyond the end, where beta and rate are 0, change no state.
    more = [(0, 0)] * x.ndim
    more[1] = (0, count * size - length)
    x = jnp.pad(x, more).reshape(n, count, size, *x.shape[2:])
    return jnp.moveaxis(jnp.moveaxis(x, 1, 0), 3, 2)  # [chunks, N, H, C, ...]

  inputs = [chunks(x) for x in (q, k, v, rate, beta)]
  if segments is None:
    state, y = jax.lax.scan(_chunk, state, inputs)
  else:
    # Of one head, for all; no id is that of what was before.
    own = chunks(segments[..., None])
    last = jnp.roll(own[..., -1], 1, axis=0).at[0].set(-1)
    state, y = jax.lax.scan(_chunk, state, (*inputs, own, last))
  y = jnp.moveaxis(jnp.moveaxis(y, 2, 3), 0, 1)
  return y.reshape(n, count * size, heads, -1)[:, :length], state


def _chunk(state, inputs):
  """One chunk, [N, H, C, ...], after a state [N, H, key_dim, value_dim].

  With G the running sum of g, and D_ij = exp(G_i - G_j) for i >= j, else 0:

      (1 + lower(beta k k' * D)) U = beta (v - exp(G) k S)
      y = exp(G) q S + (q k' * D) U
      S <- exp(G_C) S + (exp(G_C - G) k)' U

  Of segments, what would pass from one to another is 0: entries of D, of
  exp(G) where S is of another than the token's, and likewise at the end.
  """
  q, k, v, rate, beta, *segments = inputs
  run = jnp.cumsum(rate, axis=-1)
  lower = jnp.tri(run.shape[-1], dtype=bool)
  goes_on = ends = jnp.bool_(True)
  if segments:
    own, last = segments
    lower &= own[..., :, None] == own[..., None, :]
    goes_on, ends = own == last[..., None], own == own[..., -1:]
  gap = jnp.where(lower, run[..., :, None] - run[..., None, :], 0)
  kept = jnp.where(lower, jnp.exp(gap), 0)
  since = jnp.where(goes_on, jnp.exp(run), 0)[..., None]
  beta = beta[..., None]
  of_keys = k @ k.swapaxes(-1, -2)
  correction = _solved(beta * of_keys * kept, beta * (v - since * k @ state))
  y = since * q @ state + (q @ k.swapaxes(-1, -2) * kept) @ correction
  until = jnp.where(ends, jnp.exp(run[..., -1:] - run), 0)[..., None]
  state = since[..., -1:, :] * state
  return state + (until * k).swapaxes(-1, -2) @ correction, y


def _solved(x, y):
  """z with (1 + x below its diagonal) z = y; C is a power of 2.

  By inverses of blocks of 1, 2, 4, ... on the diagonal,

      [A  ]^-1   [    A^-1           ]
      [B D]    = [-D^-1 B A^-1   D^-1]

  which are products of matrices. A solver for triangular systems would bring
  all rows to every device of a mesh, and powers of x cancel.
  """
  size, edge = x.shape[-1], 1
  inverse = jnp.ones((*x.shape[:-1], 1, 1), x.dtype)
  while edge < size:
    pairs = size // (2 * edge)
    blocks = x.reshape(*x.shape[:-2], pairs, 2, edge, pairs, 2, edge)
    below = blocks[..., :, 1, :, :, 0, :]
    below = jnp.moveaxis(jnp.diagonal(below, axis1=-4, axis2=-2), -1, -3)
    first, second = inverse[..., ::2, :, :], inverse[..., 1::2, :, :]
    corner = -second @ below @ first
    top = jnp.concatenate([first, jnp.zeros_like(corner)], axis=-1)
    bottom = jnp.concatenate([corner, second], axis=-1)
    inverse = jnp.concatenate([top, bottom], axis=-2)
    edge *= 2
  return inverse[..., 0, :, :] @ y
