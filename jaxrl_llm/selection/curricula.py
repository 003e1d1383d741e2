"""Curricula: which tasks are drawn next.

    init(spec) -> state
    sample(state, key, n) -> (i32[n] tasks, state)
    update(state, tasks, rewards, valid) -> state

The state is checkpointed, so a resumed run draws the tasks it would have. A
run compiles `sample`, with n static, and `update`.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp

from jaxrl_llm.types import Array, Spec


class Curriculum(Protocol):
  """What decides the next tasks."""

  def init(self, spec: Spec): ...

  def sample(self, state, key: Array, n: int): ...

  def update(self, state, tasks: Array, rewards: Array, valid: Array): ...


@dataclasses.dataclass(frozen=True)
class Shuffled:
  """Every task once per epoch, in a new order each epoch.

  The state is the order of the present epoch and how much of it is used. A
  draw that crosses the end takes the rest from a fresh order; no other draw
  pays for one.
  """

  def init(self, spec):
    order = jnp.arange(spec.tasks, dtype=jnp.int32)
    # Used up, so that the first draw shuffles with its own key.
    return {'order': order, 'used': jnp.int32(spec.tasks)}

  def sample(self, state, key, n):
    size = state['order'].shape[0]
    if n > size:
      raise ValueError(
        f'an iteration draws {n} prompts but the dataset has {size}; set '
        f'sample.prompts to at most {size}'
      )
    end = state['used'] + n
    place = state['used'] + jnp.arange(n)

    def crossing(order):
      fresh = jax.random.permutation(key, size).astype(jnp.int32)
      return jnp.concatenate([order, fresh])[place], fresh, end - size

    def within(order):
      return order[place], order, end

    drawn, order, used = jax.lax.cond(
      end > size, crossing, within, state['order']
    )
    return drawn, {'order': order, 'used': used}

  def update(self, state, tasks, rewards, valid):
    del tasks, rewards, valid
    return state
