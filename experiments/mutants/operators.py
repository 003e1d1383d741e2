"""Small faults that a source file could have: one change at a time.

A change replaces one expression or statement and leaves every other character
where it was. What no test could or should notice is left alone: strings,
annotations, decorators, what is raised, how an object prints itself, and
protocols.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import NamedTuple

_COMPARED = {
  ast.Lt: ast.LtE,
  ast.LtE: ast.Lt,
  ast.Gt: ast.GtE,
  ast.GtE: ast.Gt,
  ast.Eq: ast.NotEq,
  ast.NotEq: ast.Eq,
  ast.Is: ast.IsNot,
  ast.IsNot: ast.Is,
  ast.In: ast.NotIn,
  ast.NotIn: ast.In,
}
_ARITHMETIC = {
  ast.Add: ast.Sub,
  ast.Sub: ast.Add,
  ast.Mult: ast.Div,
  ast.Div: ast.Mult,
  ast.Pow: ast.Mult,
  ast.FloorDiv: ast.Mult,
  ast.Mod: ast.Mult,
  ast.BitAnd: ast.BitOr,
  ast.BitOr: ast.BitAnd,
}
_PAIRS = (
  ('minimum', 'maximum'),
  ('min', 'max'),
  ('argmin', 'argmax'),
  ('any', 'all'),
  ('segment_min', 'segment_max'),
  ('group_min', 'group_max'),
  ('logical_and', 'logical_or'),
  ('floor', 'ceil'),
)
_OPPOSITE = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])}
_PRINTED = ('__repr__', '__str__')
_WIDTH = 60  # Of what is shown of an expression.

Node = ast.expr | ast.stmt


class Mutant(NamedTuple):
  """One change.

  Attributes:
    place: the top-level definition that it is in, '' outside of all.
    line: where it begins, from 1.
    operator: what kind of change.
    before, after: the expression or statement, shortened.
    number: tells apart equal changes of one place, from 0.
    start, end: the bytes that `text` replaces.
    text: what stands there instead.
  """

  place: str
  line: int
  operator: str
  before: str
  after: str
  number: int
  start: int
  end: int
  text: str

  @property
  def name(self) -> str:
    """The same wherever in its file the definition stands."""
    again = f' #{self.number}' if self.number else ''
    return (
      f'{self.place}: {self.operator}: {self.before} -> {self.after}{again}'
    )

  def applied(self, source: str) -> str:
    """The file with the change."""
    whole = source.encode()
    return (
      whole[: self.start] + self.text.encode() + whole[self.end :]
    ).decode()


def mutants(source: str, dead=frozenset()) -> list[Mutant]:
  """Every change of a file, from its top to its end.

  Args:
    source: the text of a module.
    dead: (definition, parameter) whose default nothing uses.
  """
  tree = ast.parse(source)
  starts = [0]
  for line in source.encode().splitlines(keepends=True):
    starts.append(starts[-1] + len(line))
  found = []
  count: dict[tuple[str, ...], int] = {}
  for place, node, operator, changed in _changes(tree, dead):
    assert node.end_lineno and node.end_col_offset  # as in all parsed text
    start = starts[node.lineno - 1] + node.col_offset
    end = starts[node.end_lineno - 1] + node.end_col_offset
    text = ast.unparse(changed)
    before, after = _short(ast.unparse(node)), _short(_shown(node, text))
    text = text if isinstance(changed, ast.stmt) else f'({text})'
    key = place, operator, before, after
    count[key] = count.get(key, -1) + 1
    found.append(
      Mutant(place, node.lineno, *key[1:], count[key], start, end, text)
    )
  return sorted(found, key=lambda m: (m.start, -m.end, m.operator, m.number))


def _short(text: str) -> str:
  words = ' '.join(text.split())
  return words if len(words) <= _WIDTH else words[: _WIDTH - 3] + '...'


def _shown(node, after: str) -> str:
  """The changed expression, from a little before the first difference."""
  before = ast.unparse(node)
  same = 0
  while before[same : same + 1] == after[same : same + 1] != '':
    same += 1
  start = max(0, same - 20) if len(after) > _WIDTH else 0
  return ('...' if start else '') + after[start:]


def _changes(tree, dead) -> Iterator[tuple[str, Node, str, Node]]:
  """Definition, node, kind of change, and what stands there instead."""
  for top in tree.body:
    place = getattr(top, 'name', '')
    if isinstance(top, ast.Import | ast.ImportFrom):
      continue
    if isinstance(top, ast.Assign | ast.AnnAssign):
      target = top.targets[0] if isinstance(top, ast.Assign) else top.target
      place = getattr(target, 'id', '')
    for node, bound in _nodes(top, place, dead):
      for operator, changed in _of(node, bound):
        yield place, node, operator, changed


def _nodes(node, place, dead, bound=frozenset()):
  """The nodes that may be changed, each with the names known before it."""
  if isinstance(node, ast.Raise | ast.JoinedStr | ast.Delete | ast.Assert):
    return
  if isinstance(node, ast.ClassDef):
    if any(ast.unparse(b).startswith('Protocol') for b in node.bases):
      return
    for child in node.body:
      if isinstance(child, ast.AnnAssign):
        if child.value and (place, ast.unparse(child.target)) not in dead:
          yield from _nodes(child.value, place, dead)
      else:
        yield from _nodes(child, place, dead)
    return
  if isinstance(node, ast.FunctionDef):
    if node.name in _PRINTED:
      return
    for name, default in defaults_of(node):
      if (place, name) not in dead:
        yield from _nodes(default, place, dead)
    bound = bound | {a.arg for a in _arguments(node)}
    for child in node.body:
      yield from _nodes(child, place, dead, bound)
      bound = bound | _names(child)
    return
  if isinstance(node, ast.AnnAssign):
    if node.value:
      yield from _nodes(node.value, place, dead, bound)
    return
  yield node, bound
  if isinstance(node, ast.UnaryOp) and _number(node.operand):
    return
  for part in ast.iter_child_nodes(node):
    yield from _nodes(part, place, dead, bound)
    if isinstance(part, ast.stmt):
      bound = bound | _names(part)


def _arguments(node) -> list[ast.arg]:
  a = node.args
  return [*a.posonlyargs, *a.args, *a.kwonlyargs]


def defaults_of(node) -> list[tuple[str, Node]]:
  """Name and default of every parameter of a function that has one."""
  a = node.args
  placed = [*a.posonlyargs, *a.args]
  pairs = list(zip(placed[len(placed) - len(a.defaults) :], a.defaults))
  pairs += [pair for pair in zip(a.kwonlyargs, a.kw_defaults) if pair[1]]
  return [(arg.arg, default) for arg, default in pairs]


def _names(node) -> set[str]:
  """The names that a statement binds."""
  return {
    n.id
    for n in ast.walk(node)
    if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
  }


def _number(node) -> bool:
  return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def _of(node, bound) -> Iterator[tuple[str, Node]]:
  """The changes of one node itself."""
  match node:
    case ast.Compare(ops=ops):
      for i, op in enumerate(ops):
        other = _COMPARED[type(op)]()
        yield 'comparison', _with(node, ops=[*ops[:i], other, *ops[i + 1 :]])
    # Times 1.0 is how a truth becomes a number, and over 1.0 as well.
    case ast.BinOp(op=ast.Mult() | ast.Div(), right=ast.Constant(1)):
      pass
    case ast.BinOp(op=op) if type(op) in _ARITHMETIC and not _words(node):
      yield 'arithmetic', _with(node, op=_ARITHMETIC[type(op)]())
    case ast.BoolOp(op=op):
      joined = ast.Or() if isinstance(op, ast.And) else ast.And()
      yield 'and, or', _with(node, op=joined)
    case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)):
      yield from _constant(-value)
    case ast.UnaryOp(op=ast.USub(), operand=operand):
      yield 'sign', operand
    case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
      yield 'negation', operand
    case ast.Constant(value) if _number(node):
      yield from _constant(value)
    case ast.IfExp(test=test):
      yield 'negation', _with(node, test=ast.UnaryOp(ast.Not(), test))
    case ast.Call():
      yield from _call(node)
    case ast.Attribute(attr=attr) if attr in _OPPOSITE:
      yield 'opposite', _with(node, attr=_OPPOSITE[attr])
    case ast.Name(id=name) if name in _OPPOSITE and name not in bound:
      yield 'opposite', _with(node, id=_OPPOSITE[name])
    case ast.AugAssign(op=op):
      yield 'dropped statement', ast.Pass()
      if type(op) in _ARITHMETIC:
        yield 'arithmetic', _with(node, op=_ARITHMETIC[type(op)]())
    case ast.Expr(ast.Call()):
      yield 'dropped statement', ast.Pass()
    case ast.Assign(targets=[ast.Name(name)]) if name in bound:
      yield 'dropped statement', ast.Pass()
    case ast.If(orelse=[]):
      yield 'dropped statement', ast.Pass()


def _constant(value):
  if isinstance(value, bool):
    yield 'constant', ast.Constant(not value)
  else:
    yield 'constant', ast.parse(repr(value + 1), mode='eval').body


def _call(node):
  name = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
  match name, node.args:
    case 'stop_gradient', [x]:
      yield 'stop_gradient', x
    case 'where', [condition, a, b]:
      yield 'swapped branches', _with(node, args=[condition, b, a])
      yield 'dropped where', a
    case 'clip', [x, *_]:
      yield 'dropped clip', x
  for i, keyword in enumerate(node.keywords):
    if keyword.arg:
      rest = [*node.keywords[:i], *node.keywords[i + 1 :]]
      yield 'keyword', _with(node, keywords=rest)


def _words(node) -> bool:
  """Whether an operation is of texts or of types, not of numbers."""
  sides = (node.left, node.right)
  if isinstance(node.op, ast.BitOr):
    types = ('int', 'float', 'str', 'bool', 'tuple', 'list', 'dict', 'None')
    return any(ast.unparse(side) in types for side in sides)
  return any(
    isinstance(side, ast.JoinedStr)
    or (isinstance(side, ast.Constant) and isinstance(side.value, str))
    for side in sides
  )


def _with(node, **fields):
  changed = copy.copy(node)
  for name, value in fields.items():
    setattr(changed, name, value)
  return ast.fix_missing_locations(changed)
