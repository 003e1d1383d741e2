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
from collections.abc import Iterable
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
      for path in sorted((root / folder).rglob('*.py')):
        name = path.relative_to(root).as_posix()
        self._trees[name] = ast.parse(path.read_text(encoding='utf-8'))
    self._users = collections.defaultdict(set)
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

    Callers are all calls of that name in what the tests test; a name that is
    handed on uncalled may be called with nothing but its defaults.
    """
    dead = set()
    for node in self._trees[path].body:
      if isinstance(node, ast.FunctionDef):
        pairs = operators.defaults_of(node)
        order = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
        defaults = [name for name, _ in pairs]
      elif isinstance(node, ast.ClassDef):
        fields = [f for f in node.body if isinstance(f, ast.AnnAssign)]
        order = [f.target.id for f in fields]
        defaults = [f.target.id for f in fields if f.value]
      else:
        continue
      for name in defaults:
        if not self._left(node.name, name, order):
          dead.add((node.name, name))
    return dead

  def _left(self, function, parameter, order) -> bool:
    for call in self._calls[function]:
      if call is None:
        return True
      names, placed = call
      given = parameter in names or None in names
      if not given and parameter not in order[:placed]:
        return True
    return False

  @functools.cached_property
  def _calls(self):
    """By name: the keywords and the number of positions of every call.

    None stands for a mention without one. A function that is the first
    argument, as of `functools.partial`, counts as called with the keywords.
    """
    calls = collections.defaultdict(list)
    for path, tree in self._trees.items():
      if path.startswith('tests/'):
        continue
      called, mentioned = set(), set()
      for node in ast.walk(tree):
        if isinstance(node, ast.Call):
          names = {k.arg for k in node.keywords}
          handed = [(first, 0) for first in node.args[:1]]
          for function, placed in [(node.func, len(node.args)), *handed]:
            if isinstance(function, ast.Name | ast.Attribute):
              called.add(function)
              calls[_last(function)].append((names, placed))
        elif isinstance(node, ast.Name | ast.Attribute):
          mentioned.add(node)
      for node in mentioned - called:
        calls[_last(node)].append(None)
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
    for node in tree.body:
      mentioned = set()
      for part in parts[node]:
        if isinstance(part, ast.Name) and part.id in known:
          mentioned.add(known[part.id])
        elif isinstance(part, ast.arg) and part.arg in own:
          mentioned.add(own[part.arg])  # a fixture
        elif isinstance(part, ast.Attribute):
          module = modules.get(getattr(part.value, 'id', None))
          if module:
            mentioned.add(Definition(module, part.attr))
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


def _last(node) -> str:
  return node.attr if isinstance(node, ast.Attribute) else node.id


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
