"""The snippets of the documentation run, in their order."""

import pathlib
import re

import pytest

from jaxrl_llm import recipe

DOCS = pathlib.Path(__file__).parents[1] / 'docs'
GUIDES = sorted(DOCS.glob('adding_*.md'))


@pytest.mark.parametrize('path', GUIDES, ids=[p.stem for p in GUIDES])
def test_snippets_run(path, monkeypatch, tmp_path):
  recipe.names()  # registers the real ones; the example's goes to a copy
  monkeypatch.setattr(recipe, '_ENTRIES', dict(recipe._ENTRIES))
  snippets = re.findall(r'```python\n(.*?)```', path.read_text(), re.DOTALL)
  assert len(snippets) > 1
  names = {'__name__': path.stem}
  monkeypatch.syspath_prepend(tmp_path)
  for snippet in snippets:
    if file := re.match(r'# (\w+\.py)\n', snippet):
      (tmp_path / file[1]).write_text(snippet)
    exec(snippet, names)  # noqa: S102, our own file


def test_every_file_that_documents_link_exists():
  root = DOCS.parent
  for path in [*DOCS.glob('*.md'), root / 'CONTRIBUTING.md']:
    for link in re.findall(r'\]\(([^)#:]+)\)', path.read_text()):
      assert (path.parent / link).exists(), (path.name, link)
