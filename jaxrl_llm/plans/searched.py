"""Steps that a tree search tried: beginnings with the values of their ends."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm import numerics
from jaxrl_llm.plans import (
  actions,
  arranged,
  given,
  overlap,
  prefixes,
  settings,
  spans,
)
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.plans.search_tree import Node, Tree
from jaxrl_llm.types import Rollouts, Scores

# Behind these a phrase of a text, or of a call of a function, ends.
MARK = r'\. |, |=|\('


@dataclasses.dataclass(frozen=True)
class Searched(Plan):
  """The steps of a Monte-Carlo tree search, each a row behind those before it.

  Again and again the search goes down from the prompt to a beginning without
  children, each time to the child of the largest

      W_c / (n_c + 1) + explore p_c sqrt(log(n) / (n_c + 1))

  n and n_c are the visits of the node and the child, W_c the rewards of ends
  below the child, and p_c = exp(mean log-prob of the child's step), 1 over its
  perplexity. There it samples `children` responses. The first `phrases` phrases
  of what is new in one are a step, the response is the step's first end, and
  its reward is added to all nodes on the way. Behind `depth - 1` steps the last
  is all the rest. A beginning that has ended is a leaf, whose value is backed
  up again: the rows of that round do not count.

  A row is a step: the policy chose nothing else of it. Its scores are the mean
  of those of the ends below, which are not trained on. The extras are

      node_path  i32[N, 2]  the number of the node that the step goes on from,
                            in its tree, and which of its children it is
      overlap    f32[N, C]  how alike the steps of that node are to this one

  Attributes:
    samples: rows of a tree. children: steps from a node. depth: steps of a
      response at most. explore: c.
    mark: a regular expression; a phrase ends behind a match, and the step with
      the last token that the phrase has whole. '.' makes phrases of characters.
    phrases: of a step.

  Raises:
    ValueError: samples that are no multiple of the children, or steps of no
      phrase.

  Source: iTool, arXiv 2501.09766, section 3.3, and its code, where a reward is
    also guessed for a step before its first end, and the rest of a response is
    a chain of steps below its first.
  """

  samples: int = 10
  children: int = 2
  depth: int = 3
  explore: float = 1.0
  mark: str = MARK
  phrases: int = 2

  def __post_init__(self):
    settings.even(self.samples, self.children, 'children')
    if min(self.depth, self.phrases) < 1:
      raise ValueError(
        f'{self.depth} steps of {self.phrases} phrases are no response; use at '
        'least 1 of each'
      )

  @property
  def contract(self):
    made = {'node_path', 'overlap'}
    return Contract(self.samples, provides=made, may_lag=True)

  def collect(self, tools, prompts, state, key):
    every = start = given.blank(prompts, 1, tools.columns)
    trees = [Tree(row, self.depth) for row in range(len(start.valid))]
    steps: list[list[Node | None]] = [[] for _ in trees]
    rounds: list[Rollouts] = []
    for number in range(self.samples // self.children):
      at = [tree.descended(self.explore) for tree in trees]
      if rounds:
        places = jnp.asarray([node.row for node in at])
        start = jax.tree.map(lambda x, places=places: x[places], every)
      draw = jax.random.fold_in(key, number)
      whole, rows, prior = self._steps(tools, start, at, draw)
      ends, weights = _ends(tools, whole)
      first = len(every.valid) if rounds else 0
      found = zip(prior, ~np.asarray(rows.truncated), ends, strict=True)
      for i, step in enumerate(found):
        tree = i // self.children
        above = at[tree]
        grown = (
          None if above.leaf else trees[tree].grown(above, first + i, *step)
        )
        steps[tree].append(grown)
      for node in at:
        if node.leaf:
          node.back(node.mean)
      # The prompts alone stand nowhere but before the first steps.
      parts = (every, rows) if rounds else (rows,)
      every = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
      rounds.append(rows)
    tools.note('plan/nodes', float(np.mean([len(x.nodes) for x in trees])))
    rows = arranged.together(len(trees), *rounds)
    return *_valued(rows, sum(steps, []), weights), state

  def _steps(self, tools, start: Rollouts, at, key):
    """`children` steps behind each beginning, all of the rest for the last.

    Args:
      at: the nodes that these beginnings are.

    Returns:
      The whole responses, the rows that end with their steps, not truncated
      where the response does, and exp(mean log-prob) of each step.
    """
    more = tools.generate(
      prefixes.as_prompts(start, start.length), key, self.children
    )
    before = arranged.repeated(start, self.children)
    whole = prefixes.joined(before, before.length, more, before.truncated)
    last = np.repeat([x.depth + 1 >= self.depth for x in at], self.children)
    taken = self._taken(tools, more, last)
    cut = jnp.minimum(before.length + taken, whole.length)
    over = (cut == whole.length) | ~before.truncated
    columns = jnp.arange(tools.columns)
    own = columns >= before.length[:, None]
    rows = actions.within(prefixes.shortened(whole, cut), own)
    alike = overlap.among(_said(tools, rows, before.length), self.children)
    rows = rows.replace(truncated=~over).with_extras(overlap=jnp.asarray(alike))
    new = more.action_mask & (columns < taken[:, None])
    return whole, rows, np.exp(numerics.masked_mean(more.logp, new, axis=1))

  def _taken(self, tools, more: Rollouts, last):
    """i32[N]: tokens of the step that each response begins with.

    Args:
      last: bool[N], steps that are all of it.
    """
    lengths = np.asarray(more.length)
    taken = [
      length if all_of_it else spans.phrases(pieces, self.mark, self.phrases)
      for pieces, length, all_of_it in zip(tools.pieces(more), lengths, last)
    ]
    return jnp.asarray(taken, jnp.int32)


def _said(tools, rows: Rollouts, start):
  """The text of each row from its column on, i32[N]."""
  starts = np.asarray(start)
  told = zip(tools.pieces(rows), starts, strict=True)
  return [''.join(pieces[begin:]) for pieces, begin in told]


def _valued(rows: Rollouts, steps, weights):
  """The rows with the scores of their steps, those of None not valid."""
  nothing = np.zeros(len(weights) + 1)
  means = np.stack([step.mean if step else nothing for step in steps])
  paths = np.array([step.path if step else (0, 0) for step in steps], np.int32)
  there = jnp.asarray([step is not None for step in steps])
  rows = rows.replace(valid=there).with_extras(node_path=jnp.asarray(paths))
  return rows, Scores(jnp.asarray(means[:, :-1], jnp.float32), weights)


def _ends(tools, rows: Rollouts):
  """Scores and reward, f64[N, K + 1], of each row, and the weights.

  0 where the verifier failed.
  """
  ends, scores = tools.verify(rows)
  found = jnp.concatenate([scores.components, scores.total[:, None]], axis=1)
  found = jnp.where(ends.valid[:, None], found, 0.0)
  return np.asarray(found, np.float64), scores.weights
