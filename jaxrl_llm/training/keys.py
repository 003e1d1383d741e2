"""Where a run's randomness comes from: seed, iteration and purpose."""

from __future__ import annotations

import enum

import jax


class Purpose(enum.IntEnum):
  """What randomness is for; a new purpose gets a new number."""

  TASKS = 0
  SAMPLE = 1
  LEARN = 2
  EVAL = 3
  GAME = 4


def key_for(
  seed: int | jax.Array, step: int | jax.Array, purpose: Purpose
) -> jax.Array:
  """The key of one purpose in one iteration."""
  root = jax.random.fold_in(jax.random.key(seed), step)
  return jax.random.fold_in(root, purpose)
