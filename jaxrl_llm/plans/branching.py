"""Plans that go on from parts of responses: values of prefixes, and trees."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm import numerics
from jaxrl_llm.plans import prefixes
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.types import Array


def values_of_prefixes(tools, rollouts, cut, key, *, continuations):
  """f32[N]: the mean reward of responses that begin as each row does.

      V(y_<cut) = mean over k of r(y_<cut, continuation_k)

  Args:
    tools: what the plan was lent. rollouts: N rows.
    cut: i32[N] in [0, length], tokens of the prefix.
    continuations: K, sampled from each. Those whose verifier failed are left
      out; without any the value is 0.
  """
  rows = prefixes.repeated(rollouts, continuations)
  cut = jnp.repeat(cut, continuations)
  rows = prefixes.continued(tools, rows, cut, key, samples=continuations)
  rows, scores = tools.verify(rows.replace(valid=jnp.ones_like(rows.valid)))
  rewards = scores.total.reshape(-1, continuations)
  return numerics.masked_mean(
    rewards, rows.valid.reshape(rewards.shape), axis=1
  )


@dataclasses.dataclass(frozen=True)
class PrefixValues(Plan):
  """Independent responses, with sampled values of some of their prefixes.

  The extra `prefix_value` f32[N, T] holds, at every token that starts a
  segment, the mean reward of `continuations` responses that go on from before
  it; 0 elsewhere. They are not trained on.

  Attributes:
    starts: f(logp f32[N, T], mask bool[N, T]) -> bool[N, T].
    samples: rows of a group. continuations: K of each prefix.

  Source: SPO-chain, arXiv 2505.23564, section 4.1.
  """

  starts: Callable
  samples: int = 8
  continuations: int = 9

  @property
  def contract(self):
    return Contract(self.samples, provides={'prefix_value'}, may_lag=True)

  def collect(self, tools, prompts, state, key):
    own, others = jax.random.split(key)
    rollouts = tools.generate(prompts, own, self.samples)
    rollouts, scores = tools.verify(rollouts)
    starts = np.asarray(self.starts(rollouts.logp, rollouts.loss_mask))
    rows, columns = np.nonzero(starts)
    values = np.zeros(starts.shape, np.float32)
    size = len(starts)
    for first in range(0, len(rows), size):
      # The last batch wraps around, to be of the same compiled shape.
      row = np.resize(rows[first : first + size], size)
      column = np.resize(columns[first : first + size], size)
      values[row, column] = values_of_prefixes(
        tools,
        jax.tree.map(lambda x, row=row: x[row], rollouts),
        jnp.asarray(column, jnp.int32),
        jax.random.fold_in(others, first),
        continuations=self.continuations,
      )
    tools.note('plan/segments', len(rows) / size)
    rollouts = rollouts.with_extras(prefix_value=jnp.asarray(values))
    return rollouts, scores, state


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
    most = columns // self.depth
    if not most:
      raise ValueError(
        f'{columns} tokens do not make a tree of {self.depth} levels; raise '
        'sample.max_response or lower the depth'
      )
    rollouts = prefixes.blank(prompts, 1, columns)
    ends: list[Array] = []
    for depth in range(self.depth):
      last = depth == self.depth - 1
      rollouts = prefixes.repeated(rollouts, self.children)
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
    level = (
      jnp.sum(
        jnp.arange(columns)[:, None] >= jnp.stack(ends[:-1], axis=1)[:, None],
        axis=-1,
      )
      if self.depth > 1
      else jnp.zeros_like(rollouts.content.response)
    )
    leaf = np.arange(rollouts.valid.shape[0]) % self.samples
    powers = self.children ** np.arange(self.depth)[::-1]
    path = jnp.asarray(leaf[:, None] // powers % self.children, jnp.int32)
    rollouts = rollouts.with_extras(
      node_path=path, level=level.astype(jnp.int32)
    )
    return *tools.verify(rollouts), state
