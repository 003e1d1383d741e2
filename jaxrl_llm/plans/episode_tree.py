"""The tree of episodes: what was said in turns, and what came of it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

from jaxrl_llm.plans.search_tree import bound


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

  The search goes down from the prompt, at each node that episodes were played
  on from to the child of the largest `search_tree.bound`, the first of several,
  and ends at one from which none were. Nodes that all episodes ended at, or
  where nothing below is left to be played on from, are passed by.

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
    return bound(node.gained, node.visits, above, self.explore)
