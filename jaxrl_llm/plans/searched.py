"""Steps that a tree search tried: beginnings with the values of their ends."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm import numerics
from jaxrl_llm.plans import actions, arranged, given, prefixes, settings
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.plans.search_tree import Node, Tree
from jaxrl_llm.types import Array, Rollouts, Scores


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
    settings.even(self.samples, self.children, 'children')

  @property
  def contract(self):
    return Contract(self.samples, provides={'node_path'}, may_lag=True)

  def collect(self, tools, prompts, state, key):
    columns = tools.columns
    most = settings.each(columns, self.depth, 'steps')
    every = start = given.blank(prompts, 1, columns)
    trees = [Tree(row, self.depth) for row in range(len(start.valid))]
    steps: list[list[Node | None]] = [[] for _ in trees]
    rounds: list[Rollouts] = []
    weights: Array = jnp.ones(0)
    for number in range(self.samples // self.children):
      grow, finish = jax.random.split(jax.random.fold_in(key, number))
      at = [tree.descended(self.explore) for tree in trees]
      if rounds:
        places = jnp.asarray([node.row for node in at])
        start = jax.tree.map(lambda x, places=places: x[places], every)
      more = tools.generate(
        prefixes.as_prompts(start, start.length), grow, self.children, most=most
      )
      before = arranged.repeated(start, self.children)
      rows = prefixes.joined(before, before.length, more, before.truncated)
      prior = jnp.exp(numerics.masked_mean(more.logp, more.action_mask, axis=1))
      unfinished = rows.truncated & (rows.length < columns)
      ends, weights = _ends(tools, rows, unfinished, finish)
      first = len(every.valid) if rounds else 0
      found = zip(np.asarray(prior), ~np.asarray(unfinished), ends, strict=True)
      for i, step in enumerate(found):
        tree = i // self.children
        above = at[tree]
        new = None if above.leaf else trees[tree].grown(above, first + i, *step)
        steps[tree].append(new)
      for node in at:
        if node.leaf:
          node.back(node.mean)
      # The prompts alone stand nowhere but before the first steps.
      parts = (every, rows) if rounds else (rows,)
      every = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
      own = jnp.arange(columns) >= before.length[:, None]
      rounds.append(actions.within(rows, own))
    tools.note('plan/nodes', float(np.mean([len(x.nodes) for x in trees])))
    rows = arranged.together(len(trees), *rounds)
    return *_valued(rows, sum(steps, []), weights), state


def _valued(rows: Rollouts, steps, weights):
  """The rows with the scores of their steps, those of None not valid."""
  nothing = np.zeros(len(weights) + 1)
  means = np.stack([step.mean if step else nothing for step in steps])
  paths = np.array([step.path if step else (0, 0) for step in steps], np.int32)
  there = jnp.asarray([step is not None for step in steps])
  rows = rows.replace(valid=there).with_extras(node_path=jnp.asarray(paths))
  return rows, Scores(jnp.asarray(means[:, :-1], jnp.float32), weights)


def _ends(tools, rows: Rollouts, unfinished, key):
  """Scores and reward, f64[N, K + 1], of one end of each row, and the weights.

  0 where the verifier failed.
  """
  ends = prefixes.continued(tools, rows, rows.length, key, going=unfinished)
  ends, scores = tools.verify(ends)
  found = jnp.concatenate([scores.components, scores.total[:, None]], axis=1)
  found = jnp.where(ends.valid[:, None], found, 0.0)
  return np.asarray(found, np.float64), scores.weights
