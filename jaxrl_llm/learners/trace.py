"""Workflows that leave a trace, and parameters that are found by what it tells.

    y = apply(operation, a, b, ...)     nodes hold values and know their parents
    propagated(y, words)                what each node hears of the feedback
    optimizer  f(parameters, heard, memory) -> (parameters, memory)

A parameter may be any value: a text of a prompt, a number, a choice. So may
feedback. In place of a gradient the optimizer reads the part of the trace by
which a parameter led to the output.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrl_llm.types import Array


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
  """A value of a workflow.

  Attributes:
    name: of a parameter or input, or of the operation that made it.
    trainable: it is a parameter. parents: what it was made of.
    level: 0 without parents, else one more than the highest of theirs.
  """

  name: str
  value: Any
  trainable: bool = False
  parents: tuple[Node, ...] = ()

  @functools.cached_property
  def level(self) -> int:
    return 1 + max((p.level for p in self.parents), default=-1)


def apply(operation: Callable[..., Any], *parents: Node) -> Node:
  """The node of operation(*values)."""
  value = operation(*(parent.value for parent in parents))
  return Node(
    getattr(operation, '__name__', 'operation'), value, False, parents
  )


class Heard(NamedTuple):
  """What a node hears of the output.

  Attributes:
    nodes: of the trace, each once, by their level. words: the feedback.
  """

  nodes: tuple[Node, ...]
  words: Any


def joined(one: Heard, other: Heard) -> Heard:
  """Both of the same feedback, each node once."""
  nodes = dict.fromkeys([*one.nodes, *other.nodes])
  return Heard(tuple(sorted(nodes, key=lambda node: node.level)), one.words)


def propagated(output: Node, words: Any) -> dict[Node, Heard]:
  """What the output and all before it hear: minimal trace propagation.

      heard(output) = {output}
      heard(n) = union over children c of n: heard(c) + parents of c

  of children that lead to the output. A parameter so hears the operations by
  which it led to the output, with what else went into them, and nothing of what
  it has no part in.

  Returns:
    By node, from the output back; of the same words each.

  It is the propagator of Trace, arXiv 2406.16218, as `GraphPropagator` of the
  published code has it.
  """
  found, waiting = {output: Heard((output,), words)}, {output}
  while waiting:
    # All children of the highest node have been here.
    child = max(waiting, key=lambda node: node.level)
    waiting.remove(child)
    told = joined(found[child], Heard(child.parents, words))
    for parent in child.parents:
      found[parent] = joined(found.get(parent, told), told)
      waiting.add(parent)
  return found


def to_parameters(output: Node, words: Any) -> Heard:
  """The minimal subgraph: what all parameters hear together.

  Without parameters it has no nodes.
  """
  heard = propagated(output, words)
  every = [each for node, each in heard.items() if node.trainable]
  return functools.reduce(joined, every, Heard((), words))


Parameters = Mapping[str, Any]
Optimizer = Callable[[Parameters, Sequence[Heard], Any], tuple[Parameters, Any]]


@dataclasses.dataclass(frozen=True)
class Search:
  """An optimizer that tries the choices of each parameter and keeps the best.

  What a choice is worth is the mean of the numbers that were heard where the
  parameter stood in the trace with it. A parameter nobody heard of stays. Its
  memory is how often each value was heard of, and the sum.

  Attributes:
    choices: the values of each parameter, by name.
    trials: feedback that a choice gets before the next is tried.

  Raises:
    ValueError: a parameter without choices.
  """

  choices: Mapping[str, Sequence[Any]]
  trials: int = 4

  def __call__(self, parameters, heard, memory):
    found = dict(memory or {})
    for each in heard:
      for node in each.nodes:
        if node.trainable:
          count, total = found.get((node.name, node.value), (0, 0.0))
          found[node.name, node.value] = count + 1, total + each.words
    return {name: self._next(name, found) for name in parameters}, found

  def _next(self, name, found):
    known = self.choices.get(name, ())
    if not known:
      raise ValueError(
        f'no choices for the parameter {name!r}; there are some for '
        f'{", ".join(self.choices)}'
      )
    seen = [found.get((name, value), (0, 0.0)) for value in known]
    for value, (count, _) in zip(known, seen, strict=True):
      if count < self.trials:
        return value
    return known[int(np.argmax([total / count for count, total in seen]))]


class State(NamedTuple):
  """What an `Opto` knows.

  Attributes:
    parameters: by name. memory: of its optimizer.
    outputs: of the last `act`, one a question, not yet judged.
  """

  parameters: Parameters
  memory: Any = None
  outputs: tuple[Node, ...] = ()


@dataclasses.dataclass(frozen=True)
class Opto:
  """Optimisation by trace and feedback, without a gradient.

      output, trace = workflow(parameters, question)
      parameters' = optimizer(parameters, minimal subgraph, feedback, memory)

  The feedback of an answer is its reward; the answer is the output as text.

  Attributes:
    workflow: f(nodes by name, question, key) -> the node of the answer.
    start: the first value of each parameter.
    optimizer: see the module; in the paper a language model, `Search` is plain.

  Source: Trace is the New AutoDiff, arXiv 2406.16218, section 3, definition of
    OPTO.
  """

  workflow: Callable[[Mapping[str, Node], Node, Array], Node]
  start: Parameters
  optimizer: Optimizer

  def init(self) -> State:
    return State(dict(self.start))

  def act(self, state: State, questions, key):
    keys = jax.random.split(key, len(questions))
    outputs = []
    for question, one in zip(questions, keys, strict=True):
      # Nodes of its own: two rows share no trace.
      nodes = {n: Node(n, value, True) for n, value in state.parameters.items()}
      asked = Node('question', question)
      outputs.append(self.workflow(nodes, asked, one))
    answers = [str(output.value) for output in outputs]
    return answers, state._replace(outputs=tuple(outputs))

  def update(self, state: State, questions, answers, rewards):
    del questions, answers
    heard = [
      to_parameters(output, float(reward))
      for output, reward in zip(state.outputs, rewards, strict=True)
    ]
    parameters, memory = self.optimizer(state.parameters, heard, state.memory)
    return State(parameters, memory)
