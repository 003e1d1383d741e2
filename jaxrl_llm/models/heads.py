"""Heads beside the decoder: what a critic reads off the hidden state."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_llm.models.config import Config
from jaxrl_llm.models.transformer import Param

Array = jax.Array

# The heads' places in the parameters, by what needs them.
NAMES = {'values': 'value_head', 'after_values': 'after_head'}


def value_table(
  config: Config, *, name: str = 'value_head', shape: tuple[int, ...] = ()
) -> dict[tuple[str, ...], Param]:
  """A value head's parameters by path, as `transformer.table` lists them.

  Args:
    name: of `NAMES`. shape: of what it answers to one hidden state; () is a
      number.
  """
  small = jax.nn.initializers.normal((config.width + 1) ** -0.5)
  axes = (None,) * len(shape)
  return {
    (name, 'kernel'): Param((config.width, *shape), ('embed', *axes), small),
    (name, 'bias'): Param(shape, axes, jax.nn.initializers.zeros),
  }


def init_value(
  config: Config, key: Array, dtype=jnp.float32, *, shape: tuple[int, ...] = ()
):
  """A linear head from the hidden state; see `value_table`."""
  entries = value_table(config, shape=shape)
  return {
    path[-1]: entry.init(key, entry.shape, dtype)
    for path, entry in entries.items()
  }


def value(params, hidden: Array) -> Array:
  """w . h + b, f32[..., *shape] from [..., D]."""
  kernel = params['kernel'].astype(jnp.float32)
  return hidden.astype(jnp.float32) @ kernel + params['bias']
