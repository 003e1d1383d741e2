"""What a run remembers of the code that is not the package's."""

import sys

import pytest

from experiments import modules, runs
from experiments.configs import default
from jaxrl_llm import numerics, recipes, registry
from jaxrl_llm.training import writers

VERIFIER = 'def f(responses, rows):\n  return [0.0 for _ in rows]\n'


@pytest.fixture
def own(tmp_path, monkeypatch):
  """A folder on the path, whose modules are forgotten afterwards."""
  monkeypatch.syspath_prepend(tmp_path)
  before = set(sys.modules)
  yield tmp_path
  for name in set(sys.modules) - before:
    del sys.modules[name]


def test_whose_a_file_is(own):
  (own / 'mine_alone.py').write_text('')
  assert modules.is_ours(numerics.__file__)
  assert not modules.is_users(numerics.__file__)
  assert not modules.is_users(pytest.__file__)
  assert not modules.is_users('<string>')
  assert modules.is_users(str(own / 'mine_alone.py'))


def test_the_config_file_and_what_the_settings_name_are_remembered(own):
  (own / 'given_config.py').write_text('seed = 1\n')
  (own / 'given_verifier.py').write_text(f'import given_below\n{VERIFIER}')
  (own / 'given_below.py').write_text('x = 1\n')
  config = default.get_config()
  config.verify.names = ('mine=given_verifier:f', 'format:absent')

  def found():
    return modules.fingerprints(config, str(own / 'given_config.py'))

  first = found()
  assert found() == first
  for name in ('given_config', 'given_verifier', 'given_below'):
    path = own / f'{name}.py'
    whole = path.read_text()
    path.write_text(f'{whole}# changed\n')
    kind = 'config' if name == 'given_config' else 'module'
    key = f'{kind} {name}.py' if kind == 'config' else f'{kind} {name}'
    second = found()
    assert {k for k in first if first[k] != second[k]} == {key}
    path.write_text(whole)


def test_what_functions_import_is_remembered_before_they_are_called(own):
  (own / 'given_config.py').write_text(
    'def f():\n  import given_later\n  from numpy import linalg\n'
  )
  (own / 'given_later.py').write_text(
    'def f():\n  from given_package import inner, absent\n'
    '  from . import nothing\n'
  )
  package = own / 'given_package'
  package.mkdir()
  (package / '__init__.py').write_text("raise RuntimeError('imported')\n")
  (package / 'inner.py').write_text(
    'def f():\n  from . import beside\n  from .under.deep import x\n'
  )
  (package / 'beside.py').write_text('syntax error\n')
  (package / 'under').mkdir()
  (package / 'under' / 'deep.py').write_text('x = 1\n')
  (package / 'alone.py').write_text('')
  config, path = default.get_config(), str(own / 'given_config.py')
  before = modules.fingerprints(config, path)
  names = {name for name in before if ' given_' in name}
  assert names == {
    'config given_config.py',
    'module given_later',
    'module given_package',
    'module given_package.beside',
    'module given_package.inner',
    'module given_package.under.deep',
  }
  assert 'given_package' not in sys.modules
  (package / 'under' / 'deep.py').write_text('x = 2\n')
  after = modules.fingerprints(config, path)
  changed = {name for name in before if before[name] != after[name]}
  assert changed == {'module given_package.under.deep'}


def test_a_run_on_a_recipe_of_its_config_file_is_read_back(own, monkeypatch):
  monkeypatch.setattr(registry, 'ENTRIES', dict(registry.ENTRIES))
  path = own / 'given_recipe.py'
  path.write_text(
    'from jaxrl_llm.recipe import Recipe\n'
    'from jaxrl_llm.registry import Paper, register\n'
    "@register(Paper('Mine'))\n"
    'def of_a_config_file():\n  return Recipe()\n'
  )
  record = {
    'config': {'recipe': {'name': 'of_a_config_file'}},
    'config_file': str(path),
  }
  writers.write_config(own / 'run', record)
  assert runs.config_of(own / 'run').recipe.name in recipes.names()
