"""Attention: inside sequences, of responses, and of one token over caches.

Softmax is float32; products have the dtype of the queries. Letters as in
`transformer`: S tokens of a sequence, H heads, K key-value
heads, h head width. Query head i uses key-value head i // (H / K).

Scores, one for every query and key, are the largest arrays of a layer. Here
those of a block of queries exist at a time, and the backward pass makes them
again: memory grows with the length of a sequence and not with its square, and
on a CPU a block stays in its caches.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

Array = jax.Array

# Scores of keys that may not be seen. Finite, so that a row without any key
# averages its values instead of giving NaN.
_UNSEEN = -1e30
# Scores of a block at most, on one device: what the caches of a CPU hold;
# elsewhere a block is rather work for the whole device.
AT_ONCE = {'cpu': 2**20}
ELSEWHERE = 2**28


def within_sequence(
  q: Array, k: Array, v: Array, seen: Array, *, cap: float = 0.0
) -> Array:
  """Every token attends to the tokens of its sequence that it may see.

      y_s = sum_z softmax_z(cap(q_s . k_z)) v_z,    z with seen[s, z]

  Args:
    q: [N, S, H, h], scaled. k, v: [N, S, K, h].
    seen: bool[N, S, S], queries before keys.
    cap: bounds the scores, see `capped`; 0 is off.

  Returns:
    [N, S, H, h]. A token that sees nothing gets the mean of all values.
  """
  k, v = (x.swapaxes(1, 2) for x in (k, v))
  y = _in_blocks(_by_head(q, k.shape[1]), (k,), (v,), seen, cap)
  return jnp.moveaxis(y, 3, 1).reshape(q.shape)


def within_group(
  q: Array,
  prompt_k: Array,
  prompt_v: Array,
  k: Array,
  v: Array,
  seen: Array,
  *,
  cap: float = 0.0,
) -> Array:
  """Tokens of G responses attend to one prompt and to their own response.

  `within_sequence` of prompt and response joined, for the response's queries,
  without joining them: the G rows multiply the keys of one prompt.

  Args:
    q: [B, G, T, H, h], scaled.
    prompt_k, prompt_v: [B, P, K, h]. k, v: [B, G, T, K, h].
    seen: bool[B, G, T, P + T], the prompt's keys first.
    cap: bounds the scores, see `capped`; 0 is off.

  Returns:
    [B, G, T, H, h]. A token that sees nothing gets the mean of all values.
  """
  prompt_k, prompt_v = (x.swapaxes(1, 2) for x in (prompt_k, prompt_v))

  def of_row(row):
    q, k, v, seen = row
    k, v = (x.swapaxes(1, 2) for x in (k, v))
    q = _by_head(q, k.shape[1])
    return _in_blocks(q, (prompt_k, k), (prompt_v, v), seen, cap)

  rows = jax.tree.map(lambda x: x.swapaxes(0, 1), (q, k, v, seen))
  if q.shape[3] * seen.size <= _at_once(len(q)):
    y = jax.vmap(of_row)(rows)
  else:
    y = jax.lax.map(of_row, rows)
  return y.transpose(1, 0, 4, 2, 3, 5).reshape(q.shape)


def over_caches(
  q: Array,
  prompt: dict[str, Array],
  own: dict[str, Array],
  prompt_seen: Array,
  own_seen: Array,
  *,
  cap: float = 0.0,
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
    cap: bounds the scores, see `capped`; 0 is off.

  Returns:
    [N, H, h]. A row that sees nothing gets the mean of all values.
  """
  n, _, h = q.shape
  b, kv = prompt['k'].shape[:2]
  prompt, own = jax.tree.map(lambda x: x.astype(q.dtype), (prompt, own))
  q = q.reshape(b, n // b, kv, -1, h)
  far = _scores('bgkrh,bkhp->bgkrp', q, prompt['k'], cap)
  far = jnp.where(prompt_seen[:, :, None, None], far, _UNSEEN)
  q, far = q.reshape(n, kv, -1, h), far.reshape(n, kv, -1, far.shape[-1])
  near = _scores('nkrh,nkht->nkrt', q, own['k'], cap)
  near = jnp.where(own_seen[..., None, None, :], near, _UNSEEN)
  far, near = _softmax(far, near, dtype=q.dtype)
  far = far.reshape(b, n // b, *far.shape[1:])
  y = jnp.einsum('bgkrp,bkph->bgkrh', far, prompt['v']).reshape(q.shape)
  y = y + jnp.einsum('nkrt,nkth->nkrh', near, own['v'])
  return y.reshape(n, -1, h)


def written(cache: dict[str, Array], k: Array, v: Array, t: Array):
  """A row's cache with k and v, [N, K, h], in slot t; the cache's dtype."""
  k, v = k[..., None], v[:, :, None]
  update = jax.lax.dynamic_update_slice
  return {
    'k': update(cache['k'], k.astype(cache['k'].dtype), (0, 0, 0, t)),
    'v': update(cache['v'], v.astype(cache['v'].dtype), (0, 0, t, 0)),
  }


def capped(x: Array, cap: float) -> Array:
  """cap * tanh(x / cap): x where it is small, never beyond cap; 0 is off.

  Source: Gemma 2, arXiv 2408.00118, section 2.
  """
  return cap * jnp.tanh(x / cap) if cap else x


def _at_once(rows: int) -> int:
  """Scores of a block, on all devices that have its rows and heads."""
  mesh = jax.sharding.get_abstract_mesh().shape
  data, model = mesh.get('data', 1), mesh.get('model', 1)
  devices = model * (1 if rows % data else data)
  return devices * AT_ONCE.get(jax.default_backend(), ELSEWHERE)


def _by_head(q, kv):
  """[N, T, H, h] -> [N, K, R, T, h]."""
  n, t, _, h = q.shape
  return jnp.moveaxis(q.reshape(n, t, kv, -1, h), 1, 3)


def _in_blocks(q, keys, values, seen, cap):
  """`_attend` of all queries, [N, K, R, T, h], in blocks of at most `AT_ONCE`.

  Args:
    seen: bool[N, T, S].
  """
  t = q.shape[3]
  scores = q.shape[1] * q.shape[2] * seen.size
  count = min(-(-scores // _at_once(len(q))), t)

  @jax.checkpoint
  def attend(q, seen):
    return _attend(q, keys, values, seen, cap)

  if count == 1:
    return attend(q, seen)
  # Even blocks waste least; the last queries are padding.
  size = -(-t // count)

  def blocks(x, axis):
    more = [(0, 0)] * x.ndim
    more[axis] = (0, count * size - t)
    shape = (*x.shape[:axis], count, size, *x.shape[axis + 1 :])
    return jnp.moveaxis(jnp.pad(x, more).reshape(shape), axis, 0)

  inputs = blocks(q, 3), blocks(seen, 1)
  y = jnp.moveaxis(jax.lax.map(lambda x: attend(*x), inputs), 0, 3)
  return y.reshape(*q.shape[:3], -1, q.shape[4])[:, :, :, :t]


def _attend(q, keys, values, seen, cap):
  """One softmax over the keys of all parts, [N, K, S_i, h], S in all."""
  n, kv, _, t, h = q.shape
  # As products of matrices: with R and T apart, the compiler would transpose
  # copies of the scores to contract both in the backward pass.
  q = q.reshape(n, kv, -1, h)
  ends = [sum(k.shape[2] for k in keys[:i]) for i in range(1, len(keys))]
  scores = []
  for k, part in zip(keys, jnp.split(seen, ends, axis=-1)):
    each = _scores('nkqh,nksh->nkqs', q, k, cap)
    each = each.reshape(n, kv, -1, t, k.shape[2])
    scores.append(jnp.where(part[:, None, None], each, _UNSEEN))
  y = 0
  for w, v in zip(_softmax(*scores, dtype=q.dtype), values):
    y += jnp.einsum('nkqs,nksh->nkqh', w.reshape(n, kv, -1, v.shape[2]), v)
  return y.reshape(n, kv, -1, t, h)


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


def _scores(subscripts, q, k, cap):
  scores = jnp.einsum(subscripts, q, k, preferred_element_type=jnp.float32)
  return capped(scores, cap)
