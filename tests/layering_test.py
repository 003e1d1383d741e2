"""Dependencies go one way; a new import against the direction fails here."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / 'jaxrl_llm'
METHODS = ('rewards', 'advantages', 'selection', 'objectives')
# folder or module -> what it must not import
FORBIDDEN = {
  'numerics': ('',),
  'types': (
    *METHODS,
    'credit',
    'recipe',
    'recipes',
    'models',
    'rollouts',
    'training',
    'tasks',
  ),
  'rewards': ('recipe', 'recipes', 'models', 'rollouts', 'training', 'tasks'),
  'advantages': (
    'recipe',
    'recipes',
    'models',
    'rollouts',
    'training',
    'tasks',
  ),
  'selection': (
    'recipe',
    'recipes',
    'models',
    'rollouts',
    'training',
    'tasks',
  ),
  'objectives': (
    'recipe',
    'recipes',
    'models',
    'rollouts',
    'training',
    'tasks',
  ),
  'credit': ('recipe', 'recipes', 'models', 'training', 'tasks'),
  'control': ('recipe', 'recipes', 'models', 'rollouts', 'training', 'tasks'),
  'reference': ('recipe', 'recipes', 'models', 'rollouts', 'training'),
  'update': ('recipe', 'recipes', 'models', 'rollouts', 'training'),
  'recipe': ('models', 'training', 'tasks'),
  'recipes': ('models', 'training', 'tasks'),
  'models': ('recipe', 'recipes', *METHODS, 'tasks'),
  'rollouts': ('recipe', 'recipes', 'training'),
  'tabular': ('recipe', 'recipes', 'training'),
  'training': ('recipes',),
}


def imports(path):
  """Modules of this package that a file imports, below `jaxrl_llm`."""
  tree = ast.parse(path.read_text(encoding='utf-8'))
  # `recipe.names` imports the entries when called, and says why.
  later = {
    id(inner)
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef)
    for inner in ast.walk(node)
  }
  for node in ast.walk(tree):
    if id(node) in later:
      continue
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
  for path in files:
    for module in imports(path):
      package, *rest = module.split('.')
      if package != 'jaxrl_llm':
        continue
      for other in FORBIDDEN[name]:
        assert other and rest[:1] != [other], (
          f'{path.relative_to(PACKAGE.parent)} imports {module}'
        )


def test_library_does_not_import_experiments_or_tests():
  for path in PACKAGE.rglob('*.py'):
    for module in imports(path):
      assert module.split('.')[0] not in ('experiments', 'tests')
