"""What a policy is to those who train it.

    table()                          shapes, logical axes, initializers
    score(params, rollouts, needs)   what it says of decisions
    act(params, ...)                 how it decides, one step at a time

Objectives see a policy through `Stats` alone, so one set of them trains all
kinds. What a kind needs beside its statistics, such as samplers and file
formats, is its own affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxrl_llm.types import Array, PyTree, Rollouts, Stats


class Param(NamedTuple):
  """Shape, logical axis names (one a dimension) and initializer of a leaf."""

  shape: tuple[int, ...]
  axes: tuple[str | None, ...]
  init: Callable[..., Array]


Table = Mapping[tuple[str, ...], Param]


class Policy(Protocol):
  """What is trained.

  Attributes:
    gives: what `score` can say beside log-probs: 'entropy', 'values',
      'after_values', 'log_probs'. A recipe that needs more is refused.
  """

  @property
  def gives(self) -> Set[str]: ...

  def table(self) -> Table:
    """Every parameter by its path."""

  def score(
    self, params: PyTree, rollouts: Rollouts, needs: Set[str] = frozenset()
  ) -> Stats:
    """What the parameters say of every decision of the rows."""


class Actor(Policy, Protocol):
  """A policy that decides one step at a time."""

  def act(
    self, params: PyTree, observation: Array, legal: Array | None, keys: Array
  ) -> tuple[Array, Array]:
    """Actions of N rows and their log-probs f32[N].

    Args:
      observation: [N, *o]. legal: bool[N, A], or None where all may be done.
      keys: [N], one a row.
    """


def initial(table: Table, key: Array, dtype=jnp.float32) -> PyTree:
  """Random parameters, as a table says. Pure, so that `jit` can shard them."""
  keys = jax.random.split(key, len(table))
  return traverse_util.unflatten_dict(
    {
      path: entry.init(key, entry.shape, dtype)
      for key, (path, entry) in zip(keys, table.items())
    }
  )
