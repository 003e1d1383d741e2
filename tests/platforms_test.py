"""The versions that workflows install are those that pyproject.toml admits."""

import pathlib
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT = pathlib.Path(__file__).parents[1]
_PROJECT = tomllib.loads((_ROOT / 'pyproject.toml').read_text())['project']
_NEEDED = [
  Requirement(line)
  for line in (
    *_PROJECT['dependencies'],
    *_PROJECT['optional-dependencies']['test'],
  )
]


def _pinned(end):
  text = (_ROOT / '.ci' / f'constraints-{end}.txt').read_text()
  lines = [x for x in text.splitlines() if not x.startswith('#')]
  return {canonicalize_name(x.split('==')[0]): x.split('==')[1] for x in lines}


@pytest.mark.parametrize('end', ['lowest', 'newest'])
def test_every_pin_is_admitted_and_nothing_is_left_open(end):
  pinned = _pinned(end)
  for each in _NEEDED:
    assert each.specifier.contains(pinned[canonicalize_name(each.name)]), each
  assert pinned['jax'] == pinned['jaxlib']


def test_the_release_that_adds_wrongly_is_not_admitted():
  (jax,) = [each for each in _NEEDED if each.name == 'jax']
  assert not jax.specifier.contains('0.10.2')
  assert jax.specifier.contains('0.10.1')


def test_the_workflow_installs_pins_that_are_there():
  text = (_ROOT / '.github' / 'workflows' / 'tests.yml').read_text()
  job = yaml.safe_load(text)['jobs']['tests']
  for each in job['strategy']['matrix']['include']:
    assert _pinned(each['constraints'])
