"""The snippets of the documentation run, in their order."""

import ast
import doctest
import importlib
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from experiments.configs import base, control, flow, masked
from jaxrl_llm import compose, reads, recipes, registry

DOCS = pathlib.Path(__file__).parents[1] / 'docs'
with pytest.MonkeyPatch.context() as patch:
  patch.syspath_prepend(DOCS)
  notebooks = importlib.import_module('notebooks')


@pytest.mark.parametrize('name', notebooks.PAGES)
def test_the_cells_of_a_tutorial_run(name, monkeypatch, tmp_path):
  recipes.names()  # registers the real ones; the example's goes to a copy
  monkeypatch.setattr(registry, 'ENTRIES', dict(registry.ENTRIES))
  monkeypatch.setattr(reads, '_TABLE', dict(reads._TABLE))
  found = notebooks.notebook((DOCS / f'{name}.md').read_text())['cells']
  codes = [''.join(x['source']) for x in found if x['cell_type'] == 'code']
  assert len(codes) > 1
  names = {'__name__': name}
  monkeypatch.syspath_prepend(tmp_path)
  for code in codes:
    if file := re.match(r'%%writefile (\w+\.py)\n', code):
      (tmp_path / file[1]).write_text(code[file.end() :])
      continue
    if file := re.fullmatch(r'%run (\w+\.py)', code):
      code = (tmp_path / file[1]).read_text()
    exec(code, names)  # noqa: S102, our own file


def test_a_notebook_has_all_of_its_page():
  code = '```python\n# a.py\nx = 1\n```'
  page = f'# Title\n\nWords.\n\n{code}\n\n```sh\nls\n```\n'
  first, *cells = notebooks.cells(page)
  assert first[0] == 'markdown'
  assert cells == [
    ('markdown', '# Title\n\nWords.'),
    ('code', '%%writefile a.py\n# a.py\nx = 1'),
    ('code', '%run a.py'),
    ('markdown', '```sh\nls\n```'),
  ]
  assert '# Title\n\n{download}' in notebooks.offered(page, 'agents')
  assert notebooks.offered(page, 'start') == page


def test_every_file_that_documents_link_exists():
  root = DOCS.parent
  for path in [*DOCS.glob('*.md'), root / 'CONTRIBUTING.md']:
    for link in re.findall(r'\]\(([^)#:]+)\)', path.read_text()):
      assert (path.parent / link).exists(), (path.name, link)


def _settings():
  """All that `--config.NAME` may be, with the sections they are in."""
  known = {f'slots.{slot}' for slot in compose.SLOTS} | {*base.SETTINGS}
  for problem in (control, flow, masked):
    values = problem.get_config().to_dict()
    known |= traverse_util.flatten_dict(values, sep='.').keys()
  for name in recipes.names():
    known |= {f'recipe.{key}' for key in recipes.get(name).defaults}
  return known | {name.partition('.')[0] for name in known}


def test_every_setting_that_documents_name_exists():
  root, known = DOCS.parent, _settings()
  paths = [*DOCS.glob('*.md'), *(root / 'experiments/results').glob('*.md')]
  named = {
    (path.name, name)
    for path in [*paths, root / 'README.md', root / 'CONTRIBUTING.md']
    if path.name != 'mistakes.md'
    for name in re.findall(r'--config\.([\w.]*\w)', path.read_text())
    if name != 'NAME'
  }
  assert len(named) > 50
  assert not {(path, name) for path, name in named if name not in known}


def _with_examples():
  root = DOCS.parent
  return [
    '.'.join(path.relative_to(root).with_suffix('').parts)
    for path in sorted((root / 'jaxrl_llm').rglob('*.py'))
    if '>>> ' in path.read_text()
  ]


@pytest.mark.parametrize('name', _with_examples())
def test_examples_of_docstrings_run(name):
  module = importlib.import_module(name)
  known = {'jax': jax, 'jnp': jnp, 'np': np}
  runner, shown = doctest.DocTestRunner(), []
  with np.printoptions(precision=3, suppress=True):
    for each in doctest.DocTestFinder().find(module, extraglobs=known):
      runner.run(each, out=shown.append)
  assert runner.tries and not runner.failures, ''.join(shown)


def test_methods_of_protocols_say_what_is_asked_of_them():
  """Each in a docstring of its own, or as an attribute of the class's."""
  silent = [
    f'{path.name}: {node.name}.{member.name}'
    for path in (DOCS.parent / 'jaxrl_llm').rglob('*.py')
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
    if isinstance(node, ast.ClassDef)
    and 'Protocol' in map(ast.unparse, node.bases)
    for member in node.body
    if isinstance(member, ast.FunctionDef)
    and not ast.get_docstring(member)
    and f'{member.name}:' not in (ast.get_docstring(node) or '')
  ]
  assert not silent
