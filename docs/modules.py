"""Pages of the modules, from their syntax: nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from typing import NamedTuple

import filling

ROOT = filling.ROOT


class Member(NamedTuple):
  """A public function or class: `kind` of the Python domain, and its parts."""

  kind: str
  name: str
  signature: str
  text: str
  members: list[Member]


def pages(entered: Collection[str]) -> Iterator[tuple[str, str]]:
  """One a folder of the package.

  Args:
    entered: modules of `recipes` that have pages of their own.
  """
  rooms: dict[str, list[tuple[str, str, list[Member]]]] = {}
  # What a package itself has for others.
  own: dict[str, list[Member]] = {}
  for path in sorted((ROOT / 'jaxrl_llm').rglob('*.py')):
    *room, name = path.relative_to(ROOT).with_suffix('').parts
    if name == '__main__' or room[1:] == ['recipes'] and name in entered:
      continue
    package = '.'.join(room)
    tree = ast.parse(path.read_text(encoding='utf-8'))
    whole = package if name == '__init__' else f'{package}.{name}'
    members = list(_public(_Whole(tree, whole).visit(tree)))
    modules = rooms.setdefault(package, [])
    if name == '__init__':
      own[package] = members
    else:
      modules.append((name, ast.get_docstring(tree) or '', members))
  for room, found in rooms.items():
    text = filling.docstring(f'{room.replace(".", "/")}/__init__.py')
    page = filling.page(
      'module.jinja', room=room, text=text, members=own[room], modules=found
    )
    yield f'api/{room}', page
  yield 'api/index', filling.page('modules.jinja', rooms=rooms)


def _public(node: ast.Module | ast.ClassDef) -> Iterator[Member]:
  for each in node.body:
    if not isinstance(each, ast.ClassDef | ast.FunctionDef):
      continue
    text = ast.get_docstring(each)
    if not text or each.name.startswith('_'):
      continue
    if isinstance(each, ast.ClassDef):
      fields = (x for x in each.body if isinstance(x, ast.AnnAssign))
      signature = ', '.join(map(ast.unparse, fields))
      members = list(_public(each))
      yield Member('class', each.name, f'({signature})', text, members)
    else:
      kind = 'method' if isinstance(node, ast.ClassDef) else 'function'
      signature = f'({ast.unparse(each.args)})'
      yield Member(kind, each.name, signature, text, [])


class _Whole(ast.NodeTransformer):
  """Names of types as they were imported, so that each leads to its own."""

  def __init__(self, tree: ast.Module, module: str):
    self.names: dict[str, str] = {}
    for node in tree.body:
      if isinstance(node, ast.ImportFrom):
        for found in node.names:
          name = found.asname or found.name
          self.names[name] = f'{node.module}.{found.name}'
      elif isinstance(node, ast.Assign):  # a type by another name
        own = filter(None, (getattr(x, 'id', '') for x in node.targets))
        self.names |= {name: f'{module}.{name}' for name in own}

  def visit_Name(self, node: ast.Name) -> ast.Name:
    return ast.Name(self.names.get(node.id, node.id))
