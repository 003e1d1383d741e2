"""Methods that are no recipes, by what their docstrings say of their source.

A learner of bandits, a solver of games or an optimizer has no slots to fill.
It is a function or class whose docstring names its source, and the table of
papers lists it under the kind of its room.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import pathlib
from collections.abc import Iterator

from jaxrl_llm.registry import paragraph

# Room, a folder or a file of the package: the kind of what it holds.
KINDS = {
  'learners': 'learner',
  'tabular': 'solver',
  'optimizers.py': 'optimizer',
  'environments': 'environment',
  'policies/decision.py': 'policy',
  'policies/hyperbolic.py': 'policy',
  'policies/language/surgery.py': 'edit',
  'problems/text/evaluate.py': 'statistic',
  'problems/text/biases.py': 'statistic',
  'problems/text/comparisons.py': 'statistic',
  'tasks/programs.py': 'verifier',
  'tasks/structured.py': 'verifier',
}
_PACKAGE = pathlib.Path(__file__).parents[1]
_SOURCE = 'Source:'
_Node = ast.Module | ast.FunctionDef | ast.ClassDef


@dataclasses.dataclass(frozen=True)
class Piece:
  """A public function, class or module that names its source.

  Attributes:
    name: its path below the package, 'tabular.games.egpo_step'.
    kind: of `KINDS`.
    text: its docstring.
  """

  name: str
  kind: str
  text: str

  @property
  def summary(self) -> str:
    return self.text.partition('\n')[0]

  @property
  def source(self) -> str:
    """The paragraph that begins 'Source:', on one line, without the word."""
    return paragraph(self.text, _SOURCE)


@functools.cache
def pieces() -> tuple[Piece, ...]:
  """All of them, by kind and name.

  Example:
    >>> [piece.name for piece in pieces() if piece.kind == 'learner'][0]
    'learners.bandits.BetaThompson'
  """
  order = list(dict.fromkeys(KINDS.values()))
  found = [piece for room in KINDS for piece in _in_room(room)]
  return tuple(
    sorted(found, key=lambda piece: (order.index(piece.kind), piece.name))
  )


def _in_room(room: str) -> Iterator[Piece]:
  place = _PACKAGE / room
  for path in sorted(place.rglob('*.py')) if place.is_dir() else [place]:
    module = '.'.join(path.relative_to(_PACKAGE).with_suffix('').parts)
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for name, node in _public(module, tree):
      piece = Piece(name, KINDS[room], ast.get_docstring(node) or '')
      if piece.source:
        yield piece


def _public(module: str, tree: ast.Module) -> Iterator[tuple[str, _Node]]:
  """The module and what it defines for others, with their names."""
  yield module, tree
  for node in tree.body:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      if not node.name.startswith('_'):
        yield f'{module}.{node.name}', node
