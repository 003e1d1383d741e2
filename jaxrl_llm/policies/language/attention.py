"""Attention: inside sequences, of responses, and of one token over caches.

Softmax is float32; products have the dtype of the queries. Letters as in
`jaxrl_llm.policies.language.transformer`: S tokens of a sequence, H heads, K
key-value heads, h head width. Query head i uses key-value head i // (H / K).
Scores of whole sequences exist in tiles only, see `tiles`.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl_llm.policies.language import fused, tiles

Array = jax.Array


class Mask(struct.PyTreeNode):
  """Which keys a query of the same sequence sees: a rule, not an array.

      seen[t, s] = valid_s  and  (s <= t, if causal)
                   and |position_t - position_s| < window, if there is one

  Attributes:
    valid: bool[..., S], keys that exist.
    positions: i32[..., S], in which windows are counted.
    window: int or i32[], at least 1; None is no window.
    causal: False lets a query see what comes after it, too. Static.
  """

  valid: Array
  positions: Array
  window: int | Array | None = None
  causal: bool = struct.field(pytree_node=False, default=True)


def within_sequence(
  q: Array,
  k: Array,
  v: Array,
  mask: Mask,
  *,
  cap: float = 0.0,
  sinks: Array | None = None,
  kernel: str = 'tiles',
) -> Array:
  """Every token attends to the tokens of its sequence that it may see.

      y_t = sum_s softmax_s(cap(q_t . k_s)) v_s,    s with seen[t, s]

  Args:
    q: [N, S, H, h], scaled. k, v: [N, S, K, h].
    mask: of [N, S].
    cap: bounds the scores, see `tiles.capped`; 0 is off.
    sinks: [H], scores of sinks, see `tiles.attend`.
    kernel: of `fused.KERNELS`, if it does not refuse these; or 'tiles'.

  Returns:
    [N, S, H, h]. A token that sees nothing gets 0.
  """
  if kernel != 'tiles':
    return fused.attend(kernel, q, k, v, mask.valid, mask.window)
  part = tiles.Part(k, v, mask.valid, mask.positions)
  return _of_rows(q, part, mask, cap, sinks)


def over_context(
  q: Array,
  k: Array,
  v: Array,
  mask: Mask,
  *,
  cap: float = 0.0,
  sinks: Array | None = None,
) -> Array:
  """`within_sequence` of rows whose tokens are split over the axis 'context'.

  Each device has S tokens of every row, and reads the keys and values of all,
  which are sent once a layer, and their gradients back once.

  Args:
    q, k, v, mask: the device's own; cap, sinks: as there.
  """
  whole = jax.tree.map(
    lambda x: jax.lax.all_gather(x, 'context', axis=1, tiled=True),
    tiles.Part(k, v, mask.valid, mask.positions),
  )
  first = jax.lax.axis_index('context') * q.shape[1]
  return _of_rows(q, whole, mask, cap, sinks, first)


def _of_rows(q, part, mask, cap, sinks, first=None):
  """Attention of rows, each a group of its own, to one part."""
  q, part, positions = jax.tree.map(
    lambda x: x[:, None], (q, part, mask.positions)
  )
  y = tiles.attend(
    q, (part,), (mask.causal,), positions, mask.window, cap, sinks, first
  )
  return y[:, 0]


def within_group(
  q: Array,
  prompt_k: Array,
  prompt_v: Array,
  k: Array,
  v: Array,
  prompt_mask: Mask,
  mask: Mask,
  *,
  cap: float = 0.0,
  sinks: Array | None = None,
) -> Array:
  """Tokens of G responses attend to one prompt and to their own response.

  `within_sequence` of prompt and response joined, for the response's queries,
  without joining them: the G rows multiply the keys of one prompt.

  Args:
    q: [B, G, T, H, h], scaled.
    prompt_k, prompt_v: [B, P, K, h]. k, v: [B, G, T, K, h].
    prompt_mask: of [B, P]; all that it holds comes before the responses.
    mask: of [B, G, T]. Both have one window.
    cap: bounds the scores, see `tiles.capped`; 0 is off.
    sinks: [H], scores of sinks, see `tiles.attend`.

  Returns:
    [B, G, T, H, h]. A token that sees nothing gets 0.
  """
  prompt = tiles.Part(
    prompt_k, prompt_v, prompt_mask.valid, prompt_mask.positions
  )
  prompt = jax.tree.map(lambda x: x[:, None], prompt)
  own = tiles.Part(k, v, mask.valid, mask.positions)
  causal = (False, mask.causal)
  return tiles.attend(
    q, (prompt, own), causal, mask.positions, mask.window, cap, sinks
  )


def over_caches(
  q: Array,
  prompt: dict[str, Array],
  own: dict[str, Array],
  prompt_seen: Array,
  own_seen: Array,
  *,
  cap: float = 0.0,
  sinks: Array | None = None,
) -> Array:
  """One token a row attends to its prompt and to its own past at once.

  Row n belongs to prompt n // G, with G = N / B. There is one softmax, but no
  copy joins the two parts and none repeats the prompt.

  Args:
    q: [N, H, h], scaled.
    prompt: 'k' [B, K, h, P] and 'v' [B, K, P, h].
    own: 'k' [N, K, h, T] and 'v' [N, K, T, h].
    prompt_seen: bool[B, G or 1, P].
    own_seen: bool[N, T], or bool[T] where all rows see the same.
    cap: bounds the scores, see `tiles.capped`; 0 is off.
    sinks: [H], scores of sinks, see `tiles.attend`.

  Returns:
    [N, H, h]. A row that sees nothing gets the mean of all values.
  """
  n, _, h = q.shape
  b, kv = prompt['k'].shape[:2]
  prompt, own = jax.tree.map(lambda x: x.astype(q.dtype), (prompt, own))
  q = q.reshape(b, n // b, kv, -1, h)
  # As a product of matrices: XLA runs no other one on a CPU in a loop over
  # layers, of bfloat16 with a sum in float32.
  rows = q.swapaxes(1, 2).reshape(b, kv, -1, h)
  far = tiles.scored('bkqh,bkhp->bkqp', rows, prompt['k'], cap)
  far = far.reshape(b, kv, n // b, -1, far.shape[-1]).swapaxes(1, 2)
  far = jnp.where(prompt_seen[:, :, None, None], far, tiles.UNSEEN)
  q, far = q.reshape(n, kv, -1, h), far.reshape(n, kv, -1, far.shape[-1])
  near = tiles.scored('nkrh,nkht->nkrt', q, own['k'], cap)
  near = jnp.where(own_seen[..., None, None, :], near, tiles.UNSEEN)
  scores = [far, near]
  if sinks is not None:
    sinks = sinks.astype(jnp.float32).reshape(kv, -1, 1)
    scores.append(jnp.broadcast_to(sinks, (*near.shape[:-1], 1)))
  far, near, *_ = _softmax(*scores, dtype=q.dtype)
  far = far.reshape(b, n // b, *far.shape[1:])
  y = jnp.einsum('bgkrp,bkph->bgkrh', far, prompt['v']).reshape(q.shape)
  y = y + jnp.einsum('nkrt,nkth->nkrh', near, own['v'])
  return y.reshape(n, -1, h)


def written(
  cache: dict[str, Array],
  k: Array,
  v: Array,
  t: Array,
  period: Array | None = None,
) -> dict[str, Array]:
  """A row's cache with k and v, [N, K, h], in slot t; the cache's dtype.

  Args:
    t: i32[], or i32[N], of each row; what is past the last slot is dropped.
      With i32[N, C], k and v are [N, C, K, h].
    period: i32[], which is written of a cache whose axis 1 is periods.
  """
  if jnp.ndim(t):
    if jnp.ndim(t) == 1:
      k, v, t = k[:, None], v[:, None], t[:, None]
    of_k, of_v = _slots(t, period)
    return {'k': _put(cache['k'], of_k, k), 'v': _put(cache['v'], of_v, v)}
  k, v = k[..., None], v[:, :, None]
  rows: tuple[Array | int, ...] = (0,)
  if period is not None:
    k, v, rows = k[:, None], v[:, None], (0, period)
  update = jax.lax.dynamic_update_slice
  return {
    'k': update(cache['k'], k.astype(cache['k'].dtype), (*rows, 0, 0, t)),
    'v': update(cache['v'], v.astype(cache['v'].dtype), (*rows, 0, t, 0)),
  }


def _put(x, place, new):
  return x.at[place].set(new.astype(x.dtype), mode='drop', unique_indices=True)


def read(
  cache: dict[str, Array], t: Array, period: Array | None = None
) -> tuple[Array, Array]:
  """k and v [N, C, K, h] of slots t i32[N, C]: what `written` wrote."""
  of_k, of_v = _slots(t, period)
  return (
    cache['k'].at[of_k].get(mode='clip'),
    cache['v'].at[of_v].get(mode='clip'),
  )


def _slots(t, period):
  """Where the keys and the values of slots i32[N, C] are in a cache."""
  row: tuple[Array, ...] = (jnp.arange(t.shape[0])[:, None],)
  row = row if period is None else (*row, period)
  return (*row, slice(None), slice(None), t), (*row, slice(None), t)


def of_block(
  q: Array,
  k: Array,
  v: Array,
  mask: Mask,
  prompt: dict[str, Array],
  prompt_mask: Mask,
  own: dict[str, Array],
  own_mask: Mask,
  *,
  cap: float = 0.0,
  sinks: Array | None = None,
) -> Array:
  """C new tokens of a row attend to two caches and to each other at once.

  Args:
    q: [N, C, H, h], scaled. k, v: [N, C, K, h]. mask: of [N, C].
    prompt: as of `over_caches`; prompt_mask: of [B, P].
    own: as there; own_mask: of [N, T], all of it before the new tokens.
    cap, sinks: as there.

  Returns:
    [N, C, H, h].
  """
  b = prompt['k'].shape[0]

  def groups(x):
    return x.reshape(b, -1, *x.shape[1:])

  def part(cache, mask):
    """Of a cache, whose order of axes is that of `over_caches`."""
    k, v = cache['k'].transpose(0, 3, 1, 2), cache['v'].transpose(0, 2, 1, 3)
    k, v = k.astype(q.dtype), v.astype(q.dtype)
    return jax.tree.map(groups, tiles.Part(k, v, mask.valid, mask.positions))

  parts = (
    part(prompt, prompt_mask),
    part(own, own_mask),
    jax.tree.map(groups, tiles.Part(k, v, mask.valid, mask.positions)),
  )
  y = tiles.attend(
    groups(q),
    parts,
    (False, False, True),
    groups(mask.positions),
    mask.window,
    cap,
    sinks,
  )
  return y.reshape(q.shape)


def _softmax(*scores: Array, dtype) -> list[Array]:
  """One softmax over the last axes of several arrays, which no copy joins.

  Each part is exponentiated against the common maximum, and the sums added.
  """
  # What is subtracted changes no weight, so no gradient passes through it.
  top = functools.reduce(jnp.maximum, (x.max(-1) for x in scores))
  top = jax.lax.stop_gradient(top)[..., None]
  weights = [jnp.exp(x - top) for x in scores]
  total = sum(x.sum(-1, keepdims=True) for x in weights)
  return [(x / total).astype(dtype) for x in weights]
