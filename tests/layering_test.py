"""Dependencies go one way; a new import against the direction fails here."""

import ast
import graphlib
import pathlib
import re

import pytest

import jaxrl_llm

PACKAGE = pathlib.Path(__file__).parents[1] / 'jaxrl_llm'
METHODS = ('rewards', 'advantages', 'selection', 'objectives')
ABOVE_METHODS = (
  'recipe',
  'registry',
  'recipes',
  'policies',
  'plans',
  'notes',
  'problems',
  'training',
  'tasks',
)
# Folder or module, and what it must not import.
FORBIDDEN = {
  'numerics': ('types', 'reads', 'credit', 'control', *METHODS, *ABOVE_METHODS),
  'types': ('reads', 'credit', 'control', *METHODS, *ABOVE_METHODS),
  'hub': ('types', 'reads', 'credit', 'control', *METHODS, *ABOVE_METHODS),
  **{
    name: ('reads', 'credit', 'control', *METHODS, *ABOVE_METHODS)
    for name in ('digests', 'made_up', 'readable')
  },
  'reads': ('credit', 'control', *METHODS, *ABOVE_METHODS),
  **{name: ABOVE_METHODS for name in METHODS},
  **{name: ABOVE_METHODS for name in ('credit', 'control')},
  **{name: ABOVE_METHODS for name in ('reference', 'update')},
  'recipe': (
    *('registry', 'recipes', 'policies', 'notes'),
    *('problems', 'training', 'tasks'),
  ),
  **{
    name: ('recipes', 'policies', 'notes', 'problems', 'training', 'tasks')
    for name in ('registry', 'parts')
  },
  **{
    name: ('policies', 'notes', 'problems', 'training', 'tasks')
    for name in ('compose', 'presets')
  },
  'ranges': ('recipe', 'registry', 'recipes', 'training', 'tasks'),
  'recipes': ('policies', 'problems', 'training', 'tasks'),
  'catalogue': ('policies', 'plans', 'notes', 'problems', 'training', 'tasks'),
  'policies': (
    'recipe',
    'registry',
    'recipes',
    'plans',
    'notes',
    'problems',
    'training',
    'tasks',
    *METHODS,
  ),
  'plans': ('recipe', 'registry', 'recipes', 'notes', 'problems', 'training'),
  'notes': ('recipe', 'registry', 'recipes', 'problems', 'training'),
  'problems': ('registry', 'recipes'),
  'serving': tuple({*METHODS, *ABOVE_METHODS} - {'tasks'}),
  'tabular': ('recipe', 'registry', 'recipes', 'training'),
  'environments': ('credit', 'control', 'learners', *METHODS, *ABOVE_METHODS),
  'learners': ('credit', 'control', *METHODS, *ABOVE_METHODS),
  'training': ('registry', 'recipes'),
}


def imports(path):
  """Dotted names that a file imports, at its top or inside functions."""
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def layer(path):
  return path.relative_to(PACKAGE).with_suffix('').parts[0]


@pytest.mark.parametrize('name', FORBIDDEN)
def test_no_import_goes_against_the_direction(name):
  files = [p for p in PACKAGE.rglob('*.py') if layer(p) == name]
  assert files, f'{name} is gone: update FORBIDDEN'
  forbidden = {f'jaxrl_llm.{other}' for other in FORBIDDEN[name]}
  for path in files:
    for module in imports(path):
      below = '.'.join(module.split('.')[:2])
      assert below not in forbidden, f'{path.name} imports {module}'


def test_nothing_but_its_command_imports_what_tells_of_the_papers():
  for path in PACKAGE.rglob('*.py'):
    if layer(path) == 'catalogue' or path.match('recipes/__main__.py'):
      continue
    assert not any('.catalogue' in module for module in imports(path)), path


def test_modules_of_papers_hold_entries_alone():
  for path in (PACKAGE / 'recipes').glob('[a-z]*.py'):
    assert '\n@register(' in path.read_text(encoding='utf-8'), path


def test_the_package_tells_of_every_module_at_its_top():
  told = set(re.findall(r'\w+', jaxrl_llm.__doc__))
  assert {path.stem for path in PACKAGE.glob('[a-z]*.py')} <= told


def test_library_does_not_import_experiments_or_tests():
  for path in PACKAGE.rglob('*.py'):
    for module in imports(path):
      assert module.split('.')[0] not in ('experiments', 'tests'), path


def modules():
  """Every module of the package by its dotted name."""
  root = PACKAGE.parent
  for path in PACKAGE.rglob('*.py'):
    parts = path.relative_to(root).with_suffix('').parts
    yield '.'.join(p for p in parts if p != '__init__'), path


def test_no_modules_import_each_other():
  known = dict(modules())
  below = {
    name: {
      found
      for dotted in imports(path)
      for found in (dotted, dotted.rpartition('.')[0])
      if found in known and found != name
    }
    for name, path in known.items()
  }
  graph = graphlib.TopologicalSorter(below)
  graph.prepare()  # raises graphlib.CycleError, which names them
  assert len(below) > 150
