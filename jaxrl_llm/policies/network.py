"""A small network of tanh layers, what policies of control are made of."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxrl_llm.policies.protocol import Param, Table
from jaxrl_llm.types import Array, PyTree


def table(name: str, sizes: Sequence[int], *, last: float = 1.0) -> Table:
  """Parameters of a network by their paths.

  Kernels are orthogonal, of scale sqrt(2) and in the last layer `last`.

  Args:
    name: under which they stand. sizes: of the input, each layer, the output.

  Source: Andrychowicz et al., What Matters in On-Policy Reinforcement
    Learning, arXiv 2006.05990, section 3.2: a small last layer.
  """
  found: dict[tuple[str, ...], Param] = {}
  count = len(sizes) - 1
  for number, (rows, columns) in enumerate(itertools.pairwise(sizes)):
    scale = last if number == count - 1 else 2**0.5
    layer = name, f'layer_{number}'
    found[*layer, 'kernel'] = Param(
      (rows, columns), (None, None), jax.nn.initializers.orthogonal(scale)
    )
    found[*layer, 'bias'] = Param(
      (columns,), (None,), jax.nn.initializers.zeros
    )
  return found


def apply(params: PyTree, x: Array) -> Array:
  """f32[..., output] from f32[..., input]."""
  for number in range(len(params)):
    layer = params[f'layer_{number}']
    x = jnp.tanh(x) if number else x
    x = x @ layer['kernel'] + layer['bias']
  return x
