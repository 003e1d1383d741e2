"""The tree of episodes: where they are played on from."""

import math

from jaxrl_llm.plans import episode_tree


def tree(*episodes, explore=0.25):
  found = episode_tree.Tree(explore)
  for number, (said, reward) in enumerate(episodes):
    found.add(number, said.split(), reward)
  return found


def test_the_search_goes_down_to_the_child_of_the_largest_bound():
  # Of a 2 visits and 1 point, of b 1 visit and 0 points.
  episodes = ('a x', 1.0), ('a y', 0.0), ('b z', 0.0)
  assert tree(*episodes).next() == (0, 1)

  def bound(explore):
    a = 1 / 2 + explore * math.sqrt(math.log(3) / 2)
    return a, explore * math.sqrt(math.log(3) / 1)

  assert bound(0.25) > bound(0.25)[::-1] and bound(2.0) < bound(2.0)[::-1]
  assert tree(*episodes, explore=2.0).next() == (2, 1)


def test_a_node_that_was_played_on_from_is_gone_through():
  found = tree(('a x u', 1.0), ('a y v', 0.5), ('b z w', 0.0))
  assert [found.next() for _ in range(3)] == [(0, 1), (0, 2), (1, 2)]
  # Below a nothing is left: x and y have been played on from, u and v ended.
  assert [found.next() for _ in range(2)] == [(2, 1), (2, 2)]
  assert [found.next() for _ in range(2)] == [(0, 0), (0, 0)]


def test_ends_are_never_played_on_from():
  assert tree(('a', 1.0), ('b c', 0.0)).next() == (1, 1)
  assert tree(('a', 1.0), ('b', 0.0)).next() == (0, 0)
  assert tree().next() == (0, 0)


def test_a_beginning_of_several_is_that_of_the_first():
  found = tree(('b', 0.0), ('a x', 0.2), ('a y', 0.9))
  assert found.next() == (1, 1)
  node = found.root.below['a']
  assert (node.visits, round(node.gained, 6)) == (2, 1.1)
  assert (found.root.visits, round(found.root.gained, 6)) == (3, 1.1)
