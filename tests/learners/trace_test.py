import jax
import numpy as np
import pytest

from jaxrl_llm.learners import trace
from jaxrl_llm.learners.trace import Heard, Node, Opto, Search, apply

KEY = jax.random.key(0)


def parameter(name, value=1):
  return Node(name, value, trainable=True)


def add(*values):
  return sum(values)


def names(heard):
  return [node.name for node in heard.nodes]


def random_trace(rng):
  """Nodes of a random workflow, the last of which is its output."""
  nodes = [Node(f'x{i}', i, trainable=bool(i % 2)) for i in range(4)]
  for _ in range(8):
    parents = rng.choice(len(nodes), rng.integers(1, 4), replace=False)
    nodes.append(apply(add, *(nodes[i] for i in parents)))
  return nodes


def leads(node, output):
  return node is output or any(leads(node, parent) for parent in output.parents)


@pytest.mark.parametrize('seed', range(20))
def test_what_a_node_hears_is_what_it_led_through_and_went_in_there(seed):
  """Against the definition by paths, one node at a time."""
  nodes = random_trace(np.random.default_rng(seed))
  output = nodes[-1]
  found = trace.propagated(output, 'low')
  assert set(found) == {node for node in nodes if leads(node, output)}
  for node, heard in found.items():
    through = [n for n in found if n is not node and leads(node, n)]
    expected = {output}.union(*(n.parents for n in through))
    assert set(heard.nodes) == expected
    assert len(heard.nodes) == len(expected) and heard.words == 'low'
    levels = [n.level for n in heard.nodes]
    assert levels == sorted(levels)


def test_levels_and_values_are_of_the_operations():
  a, b = parameter('a', 2), Node('b', 3)
  c = apply(add, a, b)
  d = apply(add, c, a)
  assert [node.level for node in (a, b, c, d)] == [0, 0, 1, 2]
  assert (c.value, d.value, d.name) == (5, 7, 'add')


def test_a_parameter_without_part_in_the_output_hears_nothing():
  used, unused, given = parameter('used'), parameter('unused'), Node('given', 4)
  apply(add, unused, used)
  before = apply(add, given)
  heard = trace.to_parameters(apply(add, used, before), 'high')
  # `given` led to the output by itself: no parameter had a part in that.
  assert names(heard) == ['used', 'add', 'add'] and 'high' == heard.words
  assert trace.to_parameters(before, 'high') == Heard((), 'high')


def test_messages_that_are_slopes_make_it_backpropagation():
  """Products along the edges of what a parameter hears add up to its slope."""
  a = parameter('a', 2.0)
  b = apply(lambda x: x * x, a)
  y = apply(lambda u, v: u * v, b, a)
  slope = {b: {a: 4.0}, y: {b: 2.0, a: 4.0}}
  heard = trace.propagated(y, 1.0)[a]
  gone = {y: heard.words}
  for node in reversed(heard.nodes):
    for parent, each in slope.get(node, {}).items():
      gone[parent] = gone.get(parent, 0.0) + gone[node] * each
  assert gone[a] == jax.grad(lambda x: x**3)(2.0)


def choose(kinds):
  """A workflow that reads the one parameter its question names."""

  def workflow(nodes, question, key):
    return apply(
      lambda value, q: f'{q}{value}', nodes[question.value], question
    )

  choices = {kind: (0, 1, 2) for kind in kinds}
  return Opto(workflow, dict.fromkeys(kinds, 0), Search(choices, trials=1))


def judged(answers, right):
  return np.array([float(answer in right) for answer in answers])


def test_search_tries_choices_of_what_was_in_the_trace_and_keeps_the_best():
  learner, right = choose('ab'), {'a1', 'b2'}
  state, asked, said = learner.init(), ['a', 'a', 'b'], []
  for number, questions in enumerate([asked] * 4 + [['a']] * 2):
    answers, state = learner.act(state, questions, jax.random.key(number))
    said.append(answers)
    state = learner.update(state, questions, answers, judged(answers, right))
  assert said[:4] == [
    ['a0', 'a0', 'b0'],
    ['a1', 'a1', 'b1'],
    ['a2', 'a2', 'b2'],
    ['a1', 'a1', 'b2'],
  ]
  assert state.parameters == {'a': 1, 'b': 2} and state.outputs == ()
  # Two answers a round with each of a's first values, one with b's.
  assert state.memory['a', 0] == (2, 0.0) and state.memory['b', 2] == (2, 2.0)


def test_a_parameter_nobody_heard_of_stays():
  learner = choose('ab')
  answers, state = learner.act(learner.init(), ['a'], KEY)
  state = learner.update(state, ['a'], answers, np.zeros(1))
  assert state.parameters == {'a': 1, 'b': 0}


def test_choices_are_tried_as_often_as_asked():
  search = Search({'a': (0, 1)}, trials=2)
  heard = [Heard((parameter('a', 0),), 1.0)]
  once, memory = search({'a': 0}, heard, None)
  twice, memory = search(once, heard, memory)
  assert (once, twice, memory) == ({'a': 0}, {'a': 1}, {('a', 0): (2, 2.0)})


def test_a_parameter_without_choices_is_refused():
  with pytest.raises(ValueError, match="no choices for the parameter 'b'"):
    Search({'a': (0,)})({'b': 1}, [], None)
