"""Responses that share their beginnings: the leaves of trees of samples."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import arranged, given, prefixes, settings
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.types import Array


@dataclasses.dataclass(frozen=True)
class Tree(Plan):
  """Responses that share their beginnings: the leaves of a tree of samples.

  Every node has the same number of children, b = samples^(1 / depth), and
  every level but the last the same share of the token budget, T / depth. A
  response that ends early is the only child its node has: its copies count
  once with `weights.one_per_edge`.

  The extras are `node_path` i32[N, depth], the child taken at each level, and
  `level` i32[N, T] in [0, depth), the edge that a token lies on.

  Attributes:
    samples: leaves of a tree. depth: its levels.

  Raises:
    ValueError: no whole number of children makes that many leaves, or more
      levels than tokens.

  Source: SPO-tree, arXiv 2505.23564, section 4.2.
  """

  samples: int = 8
  depth: int = 3

  def __post_init__(self):
    if self.children**self.depth != self.samples:
      raise ValueError(
        f'{self.samples} leaves are no tree of {self.depth} levels; use '
        f'{self.children**self.depth} or {(self.children + 1) ** self.depth}'
      )

  @property
  def contract(self):
    return Contract(self.samples, provides={'node_path', 'level'}, may_lag=True)

  @property
  def children(self) -> int:
    """b, of every node."""
    counts = range(1, self.samples + 1)
    return max(b for b in counts if b**self.depth <= self.samples)

  def collect(self, tools, prompts, state, key):
    columns = tools.columns
    most = settings.each(columns, self.depth, 'levels')
    rollouts = given.blank(prompts, 1, columns)
    ends: list[Array] = []
    for depth in range(self.depth):
      last = depth == self.depth - 1
      rollouts = arranged.repeated(rollouts, self.children)
      ends = [jnp.repeat(end, self.children) for end in ends]
      # One prompt a parent: siblings share the keys and values of its prefix.
      rollouts = prefixes.continued(
        tools,
        rollouts,
        rollouts.length,
        jax.random.fold_in(key, depth),
        samples=self.children,
        most=columns - most * depth if last else most,
        going=rollouts.truncated,
      )
      ends.append(rollouts.length)
    column = jnp.arange(columns)
    level = sum(
      (column >= end[:, None] for end in ends[:-1]),
      jnp.zeros_like(rollouts.content.response),
    )
    leaf = np.arange(rollouts.valid.shape[0]) % self.samples
    powers = self.children ** np.arange(self.depth)[::-1]
    path = jnp.asarray(leaf[:, None] // powers % self.children, jnp.int32)
    rollouts = rollouts.with_extras(
      node_path=path, level=level.astype(jnp.int32)
    )
    return *tools.verify(rollouts), state
