import inspect
import pathlib
import re

import pytest

from jaxrl_llm import recipes
from jaxrl_llm.catalogue import command, papers
from jaxrl_llm.learners import bandits

ROOT = pathlib.Path(__file__).parents[2]


def test_papers_table_is_fresh():
  committed = (ROOT / papers.PAGE).read_text(encoding='utf-8')
  remedy = 'run `python -m jaxrl_llm.recipes table` and commit PAPERS.md'
  assert committed == papers.page(), remedy


def _cells():
  """The cells of every row of the table of recipes, by name."""
  rows = [r for r in papers.page().splitlines() if r.startswith('| [`')]
  cells = [
    [c.strip() for c in row.replace(r'\|', '/').split('|')[1:-1]]
    for row in rows
  ]
  return {row[0].split('`')[1]: row for row in cells}


def test_table_has_one_row_of_nine_cells_for_each_recipe():
  cells = _cells()
  assert sorted(cells) == recipes.names()
  assert {len(row) for row in cells.values()} == {9}


def test_table_links_the_file_that_has_the_entry():
  for name, cells in _cells().items():
    [path] = re.findall(r'\]\((.*)\)', cells[0])
    assert f'\ndef {name}(' in (ROOT / path).read_text(encoding='utf-8')


def test_table_says_how_every_entry_deviates():
  cells = _cells()
  for name in recipes.names():
    told = inspect.getdoc(recipes.get(name).factory).split('Deviates:')
    words = ' '.join(told[1].split('\n\n')[0].split()) if told[1:] else ''
    assert cells[name][-1] == words.replace('|', '/'), name


def test_table_links_the_studies_that_name_the_paper():
  links = {name: row[7] for name, row in _cells().items()}
  assert '[dr_grpo_difficulty](experiments/' in links['dr_grpo']
  assert links['grpo'] == ''
  told = {
    name: re.findall(r'\]\(([^)]*)\)', text) for name, text in links.items()
  }
  for name, paths in told.items():
    for path in paths:
      text = pathlib.Path(path).read_text(encoding='utf-8')
      assert recipes.get(name).paper.arxiv in text


def test_what_has_no_limit_says_why_and_nothing_else_does():
  for name in recipes.names():
    entry = recipes.get(name)
    assert not (entry.limits and entry.unlimited), name
  assert _cells()['text2grad'][5] == recipes.get('text2grad').unlimited != ''


@pytest.mark.parametrize('name', ['a_lol', 'otc', 'gtpo', 'step_grpo'])
def test_a_paper_is_found_under_every_title(name, capsys):
  assert command.main([name]) == 0
  shown = ' '.join(capsys.readouterr().out.split())
  titles = recipes.get(name).paper.titles
  assert len(titles) > 1
  for title in titles:
    assert title in _cells()[name][1] and title in shown


def test_table_is_written_to_the_current_folder(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert command.main(['table']) == 0
  written = (tmp_path / papers.PAGE).read_text(encoding='utf-8')
  assert written == papers.page()
  assert str(tmp_path) in capsys.readouterr().out


def test_learners_and_solvers_are_listed_with_their_sources():
  rows = [r for r in papers.page().splitlines() if '`learners.bandits.' in r]
  named = {row.split('`')[1].rpartition('.')[2] for row in rows}
  here = bandits.__name__
  found = {k for k, v in vars(bandits).items() if inspect.isclass(v)}
  own = {k for k in found if getattr(bandits, k).__module__ == here}
  assert named == own
  assert all('Agrawal' in r or 'Auer' in r for r in rows)
