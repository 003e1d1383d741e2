"""Which definitions mention which, read from the sources without running them.

A definition is a name at the top of a module. It reaches what it mentions, what
that mentions, and so on, through imports; what is found by a string or through
an object's attribute is not seen.
"""

from __future__ import annotations

import ast
import collections
import functools
import pathlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from experiments.mutants import operators


class Definition(NamedTuple):
  """A name at the top of a file, both as texts."""

  path: str
  name: str


class References:
  """The definitions of a tree and their mentions.

  Args:
    root: of the tree.
    folders: those below it whose files are read.
  """

  def __init__(self, root: pathlib.Path, folders: Iterable[str]):
    self._root = root
    self._trees = {}
    for folder in folders:
      for file in sorted((root / folder).rglob('*.py')):
        name = file.relative_to(root).as_posix()
        self._trees[name] = ast.parse(file.read_text(encoding='utf-8'))
    self._users: dict[Definition, set[Definition]] = collections.defaultdict(
      set
    )
    self._resolve: dict[str, Callable] = {}
    self.definitions: dict[str, list[str]] = {}
    for path, tree in self._trees.items():
      self._read(path, tree)

  def users(self, start: Definition) -> dict[Definition, int]:
    """Everything that reaches a definition, and in how many steps."""
    distance, edge = {start: 0}, [start]
    while edge:
      fresh = []
      for node in edge:
        for user in self._users[node] - distance.keys():
          distance[user] = distance[node] + 1
          fresh.append(user)
      edge = sorted(fresh)
    return distance

  def dead_defaults(self, path: str) -> set[tuple[str, str]]:
    """(definition, parameter) of a file whose default no caller leaves.

    Callers are those outside of tests. What is handed on uncalled, or called
    by nobody, may be called with nothing but its defaults.
    """
    dead = set()
    for node in self._trees[path].body:
      if isinstance(node, ast.FunctionDef):
        pairs = operators.defaults_of(node)
        order = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
        defaults = [name for name, _ in pairs]
      elif isinstance(node, ast.ClassDef):
        fields = [f for f in node.body if isinstance(f, ast.AnnAssign)]
        order = [ast.unparse(f.target) for f in fields]
        defaults = [ast.unparse(f.target) for f in fields if f.value]
      else:
        continue
      calls = self._calls[Definition(path, node.name)]
      for name in defaults:
        if calls and all(_given(name, call, order) for call in calls):
          dead.add((node.name, name))
    return dead

  @functools.cached_property
  def _calls(self):
    """By definition: the keywords and the number of positions of every call.

    None stands for a mention without one. A function that is the first
    argument, as of `functools.partial`, counts as called with the keywords.
    """
    calls: dict[Definition, list[tuple[set[str | None], int] | None]] = (
      collections.defaultdict(list)
    )
    for path, tree in self._trees.items():
      if path.startswith('tests/'):
        continue
      resolve = self._resolve[path]
      called, mentioned = set(), set()
      for node in ast.walk(tree):
        if isinstance(node, ast.Call):
          names = {k.arg for k in node.keywords}
          handed = [(first, 0) for first in node.args[:1]]
          for function, placed in [(node.func, len(node.args)), *handed]:
            if resolve(function):
              called.add(function)
              calls[resolve(function)].append((names, placed))
        elif resolve(node):
          mentioned.add(node)
      for node in mentioned - called:
        calls[resolve(node)].append(None)
    return calls

  def _read(self, path, tree):
    parts = {node: list(ast.walk(node)) for node in tree.body}
    own = {}
    for node in tree.body:
      for name in _defined(node):
        own[name] = Definition(path, name)
    self.definitions[path] = list(own)
    modules, imported = self._imports(sum(parts.values(), []))
    known = own | imported

    def resolve(node) -> Definition | None:
      if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        return known.get(node.id)
      if isinstance(node, ast.arg):
        return own.get(node.arg)  # a fixture
      if isinstance(node, ast.Attribute):
        module = modules.get(getattr(node.value, 'id', None))
        return Definition(module, node.attr) if module else None
      return None

    self._resolve[path] = resolve
    for node in tree.body:
      mentioned = {found for part in parts[node] if (found := resolve(part))}
      for name in _defined(node):
        for other in mentioned - {own[name]}:
          self._users[other].add(own[name])

  def _imports(self, nodes):
    """Modules by alias, and definitions by alias."""
    modules, definitions = {}, {}
    for node in nodes:
      if not isinstance(node, ast.ImportFrom) or node.module is None:
        continue
      for alias in node.names:
        shown = alias.asname or alias.name
        module = self._file(f'{node.module}.{alias.name}')
        if module:
          modules[shown] = module
        elif home := self._file(node.module):
          definitions[shown] = Definition(home, alias.name)
    return modules, definitions

  def _file(self, module: str) -> str | None:
    path = module.replace('.', '/')
    for name in (f'{path}.py', f'{path}/__init__.py'):
      if (self._root / name).is_file():
        return name
    return None


def _given(name, call, order) -> bool:
  """Whether a call gives a parameter, which `order` may have a place for."""
  if call is None:
    return False
  names, placed = call
  return name in names or None in names or name in order[:placed]


def _defined(node) -> list[str]:
  if isinstance(node, ast.FunctionDef | ast.ClassDef):
    return [node.name]
  if isinstance(node, ast.Assign | ast.AnnAssign):
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [
      part.id
      for target in targets
      for part in ast.walk(target)
      if isinstance(part, ast.Name)
    ]
  return []
