"""Heads beside the decoder: what a critic reads off the hidden state."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_llm.models.config import Config
from jaxrl_llm.models.transformer import Param

Array = jax.Array


def value_table(config: Config) -> dict[tuple[str, ...], Param]:
  """The value head's parameters by path, as `transformer.table` lists them."""
  small = jax.nn.initializers.normal((config.width + 1) ** -0.5)
  return {
    ('value_head', 'kernel'): Param((config.width,), ('embed',), small),
    ('value_head', 'bias'): Param((), (), jax.nn.initializers.zeros),
  }


def init_value(config: Config, key: Array, dtype=jnp.float32):
  """A linear value head; its place in the parameters is 'value_head'."""
  entries = value_table(config)
  return {
    path[-1]: entry.init(key, entry.shape, dtype)
    for path, entry in entries.items()
  }


def value(params, hidden: Array) -> Array:
  """w . h + b, f32[...] from [..., D], in reward units."""
  kernel = params['kernel'].astype(jnp.float32)
  return hidden.astype(jnp.float32) @ kernel + params['bias']
