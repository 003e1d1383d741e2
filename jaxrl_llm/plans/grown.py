"""Episodes that a tree search plays: most of them where others did well."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import arranged, ending, playing
from jaxrl_llm.plans import turns as turns_lib


@dataclasses.dataclass(eq=False)
class _Node:
  """The turns that some episodes begin with.

  Attributes:
    episode: the first of them. depth: turns.
    visits, gained: how many they are, and what they earned together.
    begun: whether episodes were played on from here.
    below: by what is said next; empty where they ended.
  """

  episode: int
  depth: int = 0
  visits: int = 0
  gained: float = 0.0
  begun: bool = False
  below: dict[str, _Node] = dataclasses.field(default_factory=dict)

  @property
  def open(self) -> bool:
    """Whether an episode can be played on from here, or further on."""
    if not self.begun:
      return bool(self.below)
    return any(node.open for node in self.below.values())


class Tree:
  """The episodes of one prompt, by what was said in their turns.

      score(child) = gained / visits + explore sqrt(log(visits above) / visits)

  The search goes down from the prompt, at each node that episodes were played
  on from to the child of the largest score, the first of several, and ends at
  one from which none were. Nodes that all episodes ended at, or where nothing
  below is left to be played on from, are passed by.

  Source: Agent-R, arXiv 2501.11425, section 3.1, and its code, in which a node
    is played on from by a turn alone, and what came of it known at ends.
  """

  def __init__(self, explore: float = 0.25):
    self.explore = explore
    self.root = _Node(0, begun=True)

  def add(self, episode: int, said: Sequence[str], reward: float) -> None:
    """One more episode, of number `episode`."""
    node = self.root
    node.visits, node.gained = node.visits + 1, node.gained + reward
    for depth, words in enumerate(said, 1):
      node = node.below.setdefault(words, _Node(episode, depth))
      node.visits, node.gained = node.visits + 1, node.gained + reward

  def next(self) -> tuple[int, int]:
    """(episode, turn) from which more are played; turn 0 is the prompt."""
    node = self.root
    while node.begun and node.open:
      score = functools.partial(self._score, node.visits)
      node = max((x for x in node.below.values() if x.open), key=score)
    node.begun = True
    return node.episode, node.depth

  def _score(self, above: int, node: _Node) -> float:
    wide = math.sqrt(math.log(above) / node.visits)
    return node.gained / node.visits + self.explore * wide


def grow(tools, prompts, key, *, samples, turns, children, explore):
  """`samples` episodes from each prompt, `children` from each chosen node.

  Args:
    turns: the most of an episode. explore: as of `Tree`.

  Returns:
    Verified rollouts, those of a prompt adjacent, their `Turns`, and scores.

  Raises:
    ValueError: samples that are no multiple of the children.
  """
  if samples % children:
    raise ValueError(
      f'{samples} episodes are no whole number of rounds of {children}; use a '
      'multiple'
    )
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
