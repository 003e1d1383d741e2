"""A softmax over keys in tiles: blocks of queries times blocks of keys.

Scores, one for every query and key, are the largest arrays of a layer, and
the mask that says which of them count would be the next. Neither exists here
as a whole: scores z and mask are made of a block of queries and a block of
keys at a time. Blocks of keys that come wholly after their queries are left
out. The forward pass keeps running sums over the keys s that a query t sees,

    lse_t = log sum_s exp z_ts,     w_ts = exp(z_ts - lse_t)
    y_t   = sum_s w_ts v_s

and the backward pass makes the scores of each tile again, from what is known
by then of the whole row:

    d / d z_ts = w_ts (dy_t . v_s - dy_t . y_t)

A sink is a key more, with a score of its own, one for each head, and without a
value: it takes its share of the softmax and gives nothing.

So memory grows with the length of a sequence and not with its square, and on
a CPU a tile stays in its caches. Letters as in `attention`.

Source: arXiv 2112.05682, section 3; FlashAttention, arXiv 2205.14135,
algorithm 1 and appendix B.2.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

# Scores of keys that may not be seen. Finite, so that a row without any key
# gives numbers and not NaN.
UNSEEN = -1e30
# Scores of a tile at most, on one device: what the caches of a CPU hold;
# elsewhere a tile is rather work for the whole device.
AT_ONCE = {'cpu': 2**20}
ELSEWHERE = 2**28


class Part(NamedTuple):
  """Keys of a softmax, [B, G, S, K, h] and [B, G, S]; G is 1 where shared.

  Attributes:
    k, v: keys and values. valid, positions: as in `attention.Mask`.
  """

  k: Array
  v: Array
  valid: Array
  positions: Array


class _Plan(NamedTuple):
  """What is static.

  Attributes:
    queries: of a block. keys: of a block, for each part.
    causal, cap: as in `attend`.
  """

  queries: int
  keys: tuple[int, ...]
  causal: tuple[bool, ...]
  cap: float


def attend(
  q: Array,
  parts: tuple[Part, ...],
  causal: tuple[bool, ...],
  positions: Array,
  window: int | Array | None,
  cap: float,
  sinks: Array | None = None,
  first: Array | None = None,
) -> Array:
  """One softmax over the keys of all parts, which no copy joins.

  Args:
    q: [B, G, T, H, h].
    parts: the keys. causal: of each part, whether its keys are those of the
      queries' own tokens and a query sees none that comes after it.
    positions: i32[B, G, T], of the queries.
    window: as in `attention.Mask`. cap: bounds the scores, see `capped`.
    sinks: [H], their scores, which `cap` leaves alone; None is no sinks.
    first: i32[], the place of the first query among the keys of causal parts,
      whose blocks are then all visited; None is 0.

  Returns:
    [B, G, T, H, h]. A query that sees nothing gets 0.

  Source of sinks: arXiv 2309.17453, section 3.3, and gpt-oss, arXiv 2508.10925.
  """
  b, g, t, heads, _ = q.shape
  rows, most = b * g * heads, _at_once(b)
  # Square blocks leave out most of what is not seen.
  edge = max(math.isqrt(most // rows), 1)
  room = max(most // (rows * min(t, edge)), 1)
  keys = tuple(_even(part.k.shape[2], room) for part in parts)
  plan = _Plan(_even(t, edge), keys, causal, cap)
  return _mix(plan, q, parts, positions, window, sinks, first)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _mix(plan, q, parts, positions, window, sinks, first):
  return _forward(plan, q, parts, positions, window, sinks, first)[0]


def _forward(plan, q, parts, positions, window, sinks, first):
  queries = _query_blocks(plan, q, parts)
  none = jnp.zeros(queries.shape[:-1], jnp.float32)
  sums = none + UNSEEN, none, jnp.zeros(queries.shape, jnp.float32)
  if sinks is not None:
    # What is seen first: its weight is exp(0), its value 0.
    sums = none + _of_heads(sinks, parts), none + 1.0, sums[2]
  visits = _visits(plan, parts, positions, window, first)
  for pairs, keys, seen in visits:

    def add(sums, i, j, keys=keys, seen=seen):
      top, total, y = _at(sums, i)
      k, v = _at(keys, j)
      there = seen(i, j)
      scores = _pairwise(_at(queries, i), k, plan.cap)
      new = jnp.maximum(top, jnp.where(there, scores, UNSEEN).max(-1))
      # Before the first key that is seen, `new` is far below the scores.
      scores = jnp.where(there, scores - new[..., None], UNSEEN)
      share, shrunk = jnp.exp(scores), jnp.exp(top - new)
      total = total * shrunk + share.sum(-1)
      y = y * shrunk[..., None] + _mixed(share.astype(q.dtype), v)
      return _put(sums, i, (new, total, y))

    sums = _over(pairs, add, sums)
  top, total, y = sums
  total = jnp.where(total > 0, total, 1.0)
  y = _from_query_blocks(y / total[..., None], q)
  lse = top + jnp.log(total)
  return y, (q, parts, positions, window, sinks, first, y, lse)


def _backward(plan, known, slope):
  q, parts, positions, window, sinks, first, y, lse = known
  queries, y, slope = (_query_blocks(plan, x, parts) for x in (q, y, slope))
  slope = slope.astype(jnp.float32)
  mean = jnp.sum(slope * y, axis=-1)
  of_q, of_parts = jnp.zeros(queries.shape, jnp.float32), []
  visits = _visits(plan, parts, positions, window, first)
  for part, (pairs, keys, seen) in zip(parts, visits):

    def add(sums, i, j, keys=keys, seen=seen):
      k, v = _at(keys, j)
      of_score = functools.partial(_pairwise, cap=plan.cap)
      scores, to_scores = jax.vjp(of_score, _at(queries, i), k)
      scores = jnp.where(seen(i, j), scores - _at(lse, i)[..., None], UNSEEN)
      weights = jnp.exp(scores)
      _, to_mix = jax.vjp(_mixed, weights.astype(q.dtype), v)
      of_weights, of_v = to_mix(_at(slope, i))
      of_scores = weights * (of_weights - _at(mean, i)[..., None])
      of_q, of_k = to_scores(of_scores)
      sums_q, sums_k, sums_v = sums
      return (
        _put(sums_q, i, _at(sums_q, i) + of_q),
        _put(sums_k, j, _at(sums_k, j) + of_k),
        _put(sums_v, j, _at(sums_v, j) + of_v),
      )

    zeros = (jnp.zeros(x.shape, jnp.float32) for x in keys)
    of_q, *of_keys = _over(pairs, add, (of_q, *zeros))
    of_keys = (_from_key_blocks(x, part.k) for x in of_keys)
    of_parts.append(Part._make((*of_keys, None, None)))
  of_sinks = None
  if sinks is not None:
    weights = jnp.exp(_of_heads(sinks, parts) - lse)
    # Over all axes but those of the heads.
    of_sinks = -jnp.sum(weights * mean, axis=(0, 1, 3, 5))
    of_sinks = of_sinks.reshape(sinks.shape).astype(sinks.dtype)
  of_q = _from_query_blocks(of_q, q)
  return of_q, tuple(of_parts), None, None, of_sinks, None


_mix.defvjp(_forward, _backward)


def _visits(plan, parts, positions, window, first):
  """For each part: pairs of blocks, keys and values, and a pair's mask.

  Yields:
    i32[pairs, 2], of a block of queries and one of keys;
    k and v, dtype[blocks, B, K, G or 1, size, h];
    f(i, j) -> bool, fit for scores [B, K, G, R, queries, keys].
  """
  of_query = _cut(positions, 2, plan.queries)
  for part, size, causal in zip(parts, plan.keys, plan.causal):
    keys = tuple(_key_blocks(x, size) for x in (part.k, part.v))
    valid = _cut(part.valid, 2, size)
    of_key = _cut(part.positions, 2, size)

    def seen(i, j, size=size, causal=causal, valid=valid, of_key=of_key):
      there = _at(valid, j)[:, :, None]
      if causal:
        t = i * plan.queries + jnp.arange(plan.queries)
        t = t if first is None else first + t
        there &= j * size + jnp.arange(size) <= t[:, None]
      if window is not None:
        far = _at(of_query, i)[..., None] - _at(of_key, j)[:, :, None]
        there &= jnp.abs(far) < window
      return there[:, None, :, None]

    pairs = [
      (i, j)
      for i in range(len(of_query))
      for j in range(len(valid))
      # A block whose first key comes after the last query is seen by none.
      if not causal or first is not None or j * size < (i + 1) * plan.queries
    ]
    yield np.array(pairs, np.int32), keys, seen


def _over(pairs, add, sums):
  """The sums after `add(sums, i, j)` of every pair, in order."""
  if len(pairs) == 1:
    return add(sums, *pairs[0])
  pairs = jnp.asarray(pairs)

  def step(carry):
    n, sums = carry
    return n + 1, add(sums, *pairs[n])

  # No scan: inside another loop, such as that over layers, JAX would take what
  # depends on the rule alone out of both and keep the masks of all pairs.
  carry = jnp.int32(0), sums
  return jax.lax.while_loop(lambda c: c[0] < len(pairs), step, carry)[1]


def _pairwise(q, k, cap=0.0):
  """[B, K, G, R, T, h] and [B, K, G or 1, S, h] -> scores [..., T, S]."""
  # As products of matrices: with more axes apart, the compiler would
  # transpose copies of the scores to contract them in the backward pass.
  rows = q.reshape(*k.shape[:3], -1, q.shape[-1])
  z = scored('bkgqh,bkgsh->bkgqs', rows, k, cap)
  return z.reshape(*q.shape[:-1], -1)


def _mixed(weights, v):
  """[B, K, G, R, T, S] and [B, K, G or 1, S, h] -> f32[..., T, h]."""
  rows = weights.reshape(*v.shape[:3], -1, weights.shape[-1])
  y = jnp.einsum(
    'bkgqs,bkgsh->bkgqh', rows, v, preferred_element_type=jnp.float32
  )
  return y.reshape(*weights.shape[:-1], -1)


def _of_heads(sinks, parts):
  """[H] -> f32[K, 1, R, 1], beside [..., K, G, R, queries]."""
  sinks = sinks.astype(jnp.float32)
  return sinks.reshape(parts[0].k.shape[3], 1, -1, 1)


def _query_blocks(plan, q, parts):
  """[B, G, T, H, h] -> [blocks, B, K, G, R, queries, h]."""
  b, g, t, _, h = q.shape
  q = q.reshape(b, g, t, parts[0].k.shape[3], -1, h)
  return _cut(q.transpose(0, 3, 1, 4, 2, 5), 4, plan.queries)


def _from_query_blocks(x, like):
  x = _joined(x, 4, like.shape[2]).transpose(0, 2, 4, 1, 3, 5)
  return x.reshape(like.shape).astype(like.dtype)


def _key_blocks(k, size):
  """[B, G, S, K, h] -> [blocks, B, K, G, size, h]."""
  return _cut(k.transpose(0, 3, 1, 2, 4), 3, size)


def _from_key_blocks(x, like):
  x = _joined(x, 3, like.shape[2])
  return x.transpose(0, 2, 3, 1, 4).astype(like.dtype)


def _even(length, most):
  """The size of as few blocks of at most `most` as there can be."""
  return -(-length // -(-length // most))


def _cut(x, axis, size):
  """Blocks of `size` along an axis, which come first; 0 where it has ended."""
  count = -(-x.shape[axis] // size)
  more = [(0, 0)] * x.ndim
  more[axis] = (0, count * size - x.shape[axis])
  shape = (*x.shape[:axis], count, size, *x.shape[axis + 1 :])
  return jnp.moveaxis(jnp.pad(x, more).reshape(shape), axis, 0)


def _joined(blocks, axis, length):
  """The array whose blocks `_cut` made."""
  x = jnp.moveaxis(blocks, 0, axis)
  x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
  return jax.lax.slice_in_dim(x, 0, length, axis=axis)


def _at(blocks, i):
  return jax.tree.map(
    lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), blocks
  )


def _put(blocks, i, new):
  return jax.tree.map(
    lambda x, one: jax.lax.dynamic_update_index_in_dim(x, one, i, 0),
    blocks,
    new,
  )


def _at_once(rows: int) -> int:
  """Scores of a block, on all devices that have its rows and heads."""
  mesh = jax.sharding.get_abstract_mesh().shape
  data, model = mesh.get('data', 1), mesh.get('model', 1)
  devices = model * (1 if rows % data else data)
  return devices * AT_ONCE.get(jax.default_backend(), ELSEWHERE)


def capped(x: Array, cap: float) -> Array:
  """cap * tanh(x / cap): x where it is small, never beyond cap; 0 is off.

  Source: Gemma 2, arXiv 2408.00118, section 2.
  """
  return cap * jnp.tanh(x / cap) if cap else x


def scored(subscripts: str, q: Array, k: Array, cap: float) -> Array:
  """The products of queries and keys in float32, bounded by `cap`."""
  z = jnp.einsum(subscripts, q, k, preferred_element_type=jnp.float32)
  return capped(z, cap)
