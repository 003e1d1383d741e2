"""Attention: inside sequences, of responses, and of one token over caches.

Softmax is float32; products have the dtype of the queries. Letters as in
`jaxrl_llm.models.transformer`: S tokens of a sequence, H heads, K key-value
heads, h head width. Query head i uses key-value head i // (H / K).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array

# Scores of keys that may not be seen. Finite, so that a row without any key
# averages its values instead of giving NaN.
_UNSEEN = -1e30


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
  n, s, _, h = q.shape
  q = q.reshape(n, s, k.shape[2], -1, h)
  scores = _scores('nskrh,nzkh->nkrsz', q, k, cap)
  scores = jnp.where(seen[:, None, None], scores, _UNSEEN)
  weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
  return jnp.einsum('nkrsz,nzkh->nskrh', weights, v).reshape(n, s, -1, h)


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
  without joining them: the G rows multiply the keys of one prompt at once.

  Args:
    q: [B, G, T, H, h], scaled.
    prompt_k, prompt_v: [B, P, K, h]. k, v: [B, G, T, K, h].
    seen: bool[B, G, T, P + T], the prompt's keys first.
    cap: bounds the scores, see `capped`; 0 is off.

  Returns:
    [B, G, T, H, h]. A token that sees nothing gets the mean of all values.
  """
  b, g, t, heads, h = q.shape
  p, kv = prompt_k.shape[1:3]
  q = q.reshape(b, g, t, kv, -1, h)
  far = _scores('bgtkrh,bpkh->bkgrtp', q, prompt_k, cap)
  near = _scores('bgtkrh,bgzkh->bkgrtz', q, k, cap)
  seen = seen[:, None, :, None]
  far = jnp.where(seen[..., :p], far, _UNSEEN)
  near = jnp.where(seen[..., p:], near, _UNSEEN)
  far, near = _softmax(far, near, v.dtype)
  y = jnp.einsum('bkgrtp,bpkh->bgtkrh', far, prompt_v)
  y = y + jnp.einsum('bkgrtz,bgzkh->bgtkrh', near, v)
  return y.reshape(b, g, t, heads, h)


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
  far, near = _softmax(far, near, q.dtype)
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


def _softmax(far: Array, near: Array, dtype):
  """One softmax over the last axes of two arrays, which no copy joins.

  Each part is exponentiated against the common maximum, and the sums added.
  """
  # What is subtracted changes no weight, so no gradient passes through it.
  top = jax.lax.stop_gradient(jnp.maximum(far.max(-1), near.max(-1)))
  far, near = (jnp.exp(x - top[..., None]) for x in (far, near))
  total = far.sum(-1, keepdims=True) + near.sum(-1, keepdims=True)
  return (far / total).astype(dtype), (near / total).astype(dtype)


def _scores(subscripts, q, k, cap):
  scores = jnp.einsum(subscripts, q, k, preferred_element_type=jnp.float32)
  return capped(scores, cap)
