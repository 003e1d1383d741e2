"""Steps that a tree search tried: beginnings with the values of their ends."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm import numerics
from jaxrl_llm.plans import actions, prefixes
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.types import Array, Rollouts, Scores


@dataclasses.dataclass(eq=False)
class _Node:
  """A beginning of a response, and what came of it so far.

  Attributes:
    row: which of all rows it is. number: in its tree. depth: its steps.
    prior: exp of the mean log-prob of its last step. leaf: nothing goes on.
    gained: f64[K + 1], sums over its visits: of the scores, and of the reward.
  """

  row: int
  number: int = 0
  depth: int = 0
  prior: float = 0.0
  leaf: bool = False
  above: _Node | None = None
  below: list[_Node] = dataclasses.field(default_factory=list)
  visits: int = 0
  gained: np.ndarray | float = 0.0

  def back(self, end: np.ndarray) -> None:
    """Adds what an end below came to, here and above."""
    self.visits, self.gained = self.visits + 1, self.gained + end
    if self.above:
      self.above.back(end)

  @property
  def mean(self) -> np.ndarray:
    return np.asarray(self.gained) / self.visits


@dataclasses.dataclass(frozen=True)
class Searched(Plan):
  """The steps of a Monte-Carlo tree search, each a row behind those before it.

  Again and again the search goes down from the prompt to a beginning without
  children, each time to the child of the largest

      W_c / (n_c + 1) + explore p_c sqrt(log(n) / (n_c + 1))

  n and n_c are the visits of the node and the child, W_c the rewards of ends
  below the child, and p_c = exp(mean log-prob of the child's step), 1 over its
  perplexity. There it samples `children` steps, ends each response once, and
  adds its reward to all nodes on the way. A beginning that has ended, or has
  `depth` steps, is a leaf, whose value is backed up again: the rows of that
  round do not count.

  A row is a step: the policy chose nothing else of it. Its scores are the mean
  of those of the ends below, which are not trained on. The extra `node_path`
  i32[N, 2] is the number of the node that the step goes on from, in its tree,
  and which of its children it is.

  Attributes:
    samples: rows of a tree. children: steps from a node. depth: steps of a
      response at most, each at most T / depth tokens. explore: c.

  Raises:
    ValueError: samples that are no multiple of the children, or more steps than
      tokens.

  Source: iTool, arXiv 2501.09766, section 3.3, and its code, where a reward is
    also guessed for a step before its first end.
  """

  samples: int = 10
  children: int = 2
  depth: int = 3
  explore: float = 1.0

  def __post_init__(self):
    if self.samples % self.children:
      raise ValueError(
        f'{self.samples} samples are no whole number of rounds of '
        f'{self.children} children; use a multiple'
      )

  @property
  def contract(self):
    return Contract(self.samples, provides={'node_path'}, may_lag=True)

  def collect(self, tools, prompts, state, key):
    columns = tools.columns
    most = columns // self.depth
    if not most:
      raise ValueError(
        f'{columns} tokens do not make {self.depth} steps; raise '
        'sample.max_response or lower the depth'
      )
    every = start = prefixes.blank(prompts, 1, columns)
    trees = [[_Node(row)] for row in range(len(start.valid))]
    steps: list[list[_Node | None]] = [[] for _ in trees]
    rounds: list[Rollouts] = []
    weights: Array = jnp.ones(0)
    for number in range(self.samples // self.children):
      grow, finish = jax.random.split(jax.random.fold_in(key, number))
      at = [self._descended(tree[0]) for tree in trees]
      if rounds:
        start = _rows(every, [node.row for node in at])
      more = tools.generate(
        prefixes.as_prompts(start, start.length), grow, self.children, most=most
      )
      before = prefixes.repeated(start, self.children)
      rows = prefixes.joined(before, before.length, more, before.truncated)
      prior = jnp.exp(numerics.masked_mean(more.logp, more.action_mask, axis=1))
      unfinished = rows.truncated & (rows.length < columns)
      ends, weights = _ends(tools, rows, unfinished, finish)
      first = len(every.valid) if rounds else 0
      found = zip(np.asarray(prior), ~np.asarray(unfinished), ends, strict=True)
      for i, (likely, over, end) in enumerate(found):
        tree = i // self.children
        steps[tree].append(
          None
          if at[tree].leaf
          else self._grown(trees[tree], at[tree], first + i, likely, over, end)
        )
      for node in at:
        if node.leaf:
          node.back(node.mean)
      # The prompts alone stand nowhere but before the first steps.
      every = _joint(every, rows) if rounds else rows
      own = jnp.arange(columns) >= before.length[:, None]
      rounds.append(actions.within(rows, own))
    tools.note('plan/nodes', float(np.mean([len(tree) for tree in trees])))
    rows = prefixes.together(len(trees), *rounds)
    flat = [step for tree in steps for step in tree]
    return *_valued(rows, flat, weights), state

  def _grown(self, tree, above, row, prior, over, end) -> _Node:
    """The new child of a node, with its first end."""
    depth = above.depth + 1
    leaf = bool(over) or depth == self.depth
    child = _Node(row, len(tree), depth, float(prior), leaf, above)
    tree.append(child)
    above.below.append(child)
    child.back(end)
    return child

  def _descended(self, node: _Node) -> _Node:
    """Where the search ends that goes down from a node."""
    while node.below:
      node = max(node.below, key=self._worth)
    return node

  def _worth(self, child: _Node) -> float:
    assert child.above is not None
    once = child.visits + 1
    wide = math.sqrt(math.log(child.above.visits) / once)
    gained = float(np.asarray(child.gained)[-1])
    return gained / once + self.explore * child.prior * wide


def _valued(rows: Rollouts, steps, weights):
  """The rows with the scores of their steps."""
  there = np.array([step is not None for step in steps])
  nothing = np.zeros(len(weights) + 1)
  means = np.stack([step.mean if step else nothing for step in steps])
  path = np.array(
    [(x.above.number, x.above.below.index(x)) if x else (0, 0) for x in steps],
    np.int32,
  )
  rows = rows.replace(valid=jnp.asarray(there))
  rows = rows.with_extras(node_path=jnp.asarray(path))
  components = jnp.asarray(means[:, :-1], jnp.float32)
  return rows, Scores(components, weights)


def _rows(rollouts: Rollouts, places) -> Rollouts:
  index = jnp.asarray(places)
  return jax.tree.map(lambda x: x[index], rollouts)


def _joint(*parts: Rollouts) -> Rollouts:
  return jax.tree.map(lambda *x: jnp.concatenate(x), *parts)


def _ends(tools, rows: Rollouts, unfinished, key):
  """Scores and reward, f64[N, K + 1], of one end of each row, and the weights.

  0 where the verifier failed.
  """
  ends = prefixes.continued(tools, rows, rows.length, key, going=unfinished)
  ends, scores = tools.verify(ends)
  reward = scores.total
  found = jnp.concatenate([scores.components, reward[:, None]], axis=1)
  found = jnp.where(ends.valid[:, None], found, 0.0)
  return np.asarray(found, np.float64), scores.weights
