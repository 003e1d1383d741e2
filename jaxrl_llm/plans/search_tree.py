"""The tree of a Monte-Carlo search: beginnings, and what came of them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np


def bound(gained: float, visits: int, above: int, explore: float) -> float:
  """What a child of a node may be worth.

      gained / visits + explore sqrt(log(above) / visits)

  Args:
    gained: sum over its visits. above: visits of the node.
  """
  return gained / visits + explore * math.sqrt(math.log(above) / visits)


@dataclasses.dataclass(eq=False)
class Node:
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
  above: Node | None = None
  below: list[Node] = dataclasses.field(default_factory=list)
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

  @property
  def path(self) -> tuple[int, int]:
    """The number of the node above, and which of its children this one is."""
    assert self.above is not None
    return self.above.number, self.above.below.index(self)

  def worth(self, explore: float) -> float:
    """W / (n + 1) + explore p sqrt(log(N) / (n + 1)), N the visits above."""
    assert self.above is not None
    gained = float(np.asarray(self.gained)[-1])
    once, above = self.visits + 1, self.above.visits
    return bound(gained, once, above, explore * self.prior)


class Tree:
  """All beginnings of one prompt's responses.

  Args:
    row: of the prompt alone. depth: steps of a response at most.
  """

  def __init__(self, row: int, depth: int):
    self.nodes, self.depth = [Node(row)], depth

  def descended(self, explore: float) -> Node:
    """Where the search ends that goes down to the worthiest each time."""
    node = self.nodes[0]
    while node.below:
      node = max(node.below, key=lambda child: child.worth(explore))
    return node

  def grown(self, above: Node, row: int, prior, over, end: np.ndarray) -> Node:
    """The new child of a node, with its first end.

    Args:
      row, prior: see `Node`. over: whether the response ended with it.
      end: scores and reward of a response that goes on from it.
    """
    depth = above.depth + 1
    leaf = bool(over) or depth == self.depth
    child = Node(row, len(self.nodes), depth, float(prior), leaf, above)
    self.nodes.append(child)
    above.below.append(child)
    child.back(end)
    return child
