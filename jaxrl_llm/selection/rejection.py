"""Statistical rejection sampling: a better policy's samples from this one's."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp


def accepted(key, rewards, *, count, temperature=0.5, sweeps=64):
  """bool[..., S]: `count` of S candidates, drawn in favour of high rewards.

      sweep over the candidates that are left: accept i with probability
      e^((r_i - max r) / temperature), the maximum at the start of the sweep

  until `count` are accepted. The first accepted of endless candidates is a
  draw from policy e^(r / temperature).

  Args:
    key: randomness. rewards: f32[..., S].
    count: <= S. temperature: beta > 0, reward units; -> 0 takes the highest,
      inf the first.
    sweeps: the most sweeps; what then lacks is filled by the highest
      rewards. Each accepts at least its maximum, so S suffice.

  Raises:
    ValueError: fewer candidates than `count`.

  Source: RSO, arXiv 2309.06657, and its listing.
  """
  size = rewards.shape[-1]
  if not 0 <= count <= size:
    raise ValueError(f'cannot accept {count} of {size} candidates')
  chex.assert_type(rewards, float)

  def sweep(taken, key):
    left = ~taken
    high = jnp.max(rewards, axis=-1, where=left, initial=-jnp.inf)
    gap = jnp.where(left, rewards - high[..., None], 0.0)
    draw = jax.random.uniform(key, rewards.shape)
    hit = left & (draw < jnp.exp(gap / temperature))
    room = count - jnp.sum(taken, axis=-1, keepdims=True)
    return taken | (hit & (jnp.cumsum(hit, axis=-1) <= room)), None

  nothing = jnp.zeros(rewards.shape, bool)
  keys = jax.random.split(key, sweeps)
  taken, _ = jax.lax.scan(sweep, nothing, keys)
  room = count - jnp.sum(taken, axis=-1, keepdims=True)
  rank = jnp.argsort(
    jnp.argsort(jnp.where(taken, -jnp.inf, rewards), descending=True)
  )
  return taken | (~taken & (rank < room))


def ranker_reward(win_rate, *, floor=1e-6):
  """logit of the chance to beat a baseline response: a reward from a ranker.

  Args:
    win_rate: in [0, 1], held to [floor, 1 - floor].

  Source: RSO, arXiv 2309.06657.
  """
  held = jnp.clip(win_rate, floor, 1 - floor)
  return jnp.log(held) - jnp.log1p(-held)
