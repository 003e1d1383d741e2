"""Episodes that a tree search plays: most of them where others did well."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import arranged, ending, playing, settings
from jaxrl_llm.plans import turns as turns_lib
from jaxrl_llm.plans.episode_tree import Tree


def grow(tools, prompts, key, *, samples, turns, children, explore):
  """`samples` episodes from each prompt, `children` from each chosen node.

  Args:
    turns: the most of an episode. explore: as of `episode_tree.Tree`.

  Returns:
    Verified rollouts, those of a prompt adjacent, their `Turns`, and scores.

  Raises:
    ValueError: samples that are no multiple of the children.
  """
  settings.even(samples, children, 'children')
  count = prompts.tokens.shape[0]
  rounds = samples // children
  first, *keys = jax.random.split(key, rounds)
  rows, log = playing.play(tools, prompts, first, samples=children, turns=turns)
  rows, scores = ending.judged(tools, rows, log)
  trees = [Tree(explore) for _ in range(count)]
  _add(trees, rows, log, scores, children)
  for number, after in enumerate(keys, 1):
    size = number * children
    nodes = [tree.next() for tree in trees]
    source = [i * size + episode for i, (episode, _) in enumerate(nodes)]
    index = np.repeat(source, children)
    turn = np.repeat([turn for _, turn in nodes], children)
    more = jax.tree.map(lambda x, at=index: x[at], rows)
    more = more.replace(valid=jnp.ones_like(more.valid))
    past = log.of(index)
    more, past = turns_lib.parted(more, past, turn)
    more, past = playing.go_on(tools, more, past, turn, after)
    more, found = ending.judged(tools, more, past)
    _add(trees, more, past, found, children, size)
    rows = arranged.together(count, rows, more)
    log = turns_lib.beside(count, log, past)
    scores = scores.replace(
      components=arranged.together(count, scores.components, found.components)
    )
  return rows, log, scores


def _add(trees, rows, log, scores, children, before=0) -> None:
  """Episodes that count join the trees of their prompts."""
  valid, rewards = np.asarray(rows.valid), np.asarray(scores.total)
  for row in np.flatnonzero(valid):
    said = log.action[row][log.taken[row]]
    place = before + row % children
    trees[row // children].add(place, [*map(str, said)], float(rewards[row]))
