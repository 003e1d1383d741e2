import pathlib

import pytest

from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm.recipes import __main__ as command

ROOT = pathlib.Path(__file__).parents[2]


def test_papers_table_is_fresh():
  committed = (ROOT / command.TABLE).read_text(encoding='utf-8')
  remedy = 'run `python -m jaxrl_llm.recipes table` and commit PAPERS.md'
  assert committed == command.table(), remedy


def test_table_has_one_row_of_seven_cells_for_each_recipe():
  rows = [r for r in command.table().splitlines() if r.startswith('| `')]
  assert len(rows) == len(recipe_lib.names())
  for row in rows:
    assert row.replace(r'\|', '').count('|') == 8


def test_list_names_every_recipe(capsys):
  assert command.main([]) == 0
  shown = capsys.readouterr().out
  for name in recipe_lib.names():
    assert f'  {name} ' in shown


@pytest.mark.parametrize('name', recipe_lib.names())
def test_description_shows_paper_values_slots_and_limits(name, capsys):
  assert command.main([name]) == 0
  shown = ' '.join(capsys.readouterr().out.split())
  entry = recipe_lib.get(name)
  for part in (entry.paper.title, entry.paper.arxiv, entry.paper.confidence):
    assert part in shown
  for key, value in entry.defaults.items():
    assert f'{key} {value!r}' in shown
  for limit in entry.limits:
    assert limit.other in shown


@pytest.mark.parametrize(
  ('name', 'given'),
  [
    ('grpo', '-'),
    ('gigpo', '--config.environment'),
    ('kdrl', '--config.teacher.paths'),
    ('dagrpo', 'verifier quality'),
    ('value_at_state_zero', 'data field predicted_reward'),
  ],
)
def test_description_says_what_a_run_must_bring(name, given, capsys):
  assert command.main([name]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert ['given', 'by', 'you', *given.split()] in [x.split() for x in lines]


def test_diff_shows_both_values_of_a_slot(capsys):
  assert command.main(['diff', 'grpo', 'dapo']) == 0
  lines = capsys.readouterr().out.splitlines()
  assert any(
    line.split() == ['objective.surrogate.high', '0.2', '0.28']
    for line in lines
  )


def test_diff_of_a_recipe_with_itself_says_so(capsys):
  assert command.main(['diff', 'grpo', 'grpo']) == 0
  assert 'same' in capsys.readouterr().out


@pytest.mark.parametrize(
  'words, says',
  [
    (['grpoo'], "Did you mean 'grpo'?"),
    (['diff', 'grpo', 'dappo'], "Did you mean 'dapo'?"),
    (['diff', 'grpo'], 'diff A B'),
    (['grpo', 'dapo'], 'one recipe at a time'),
  ],
)
def test_bad_requests_get_one_line_and_a_failing_exit(words, says, capsys):
  assert command.main(words) == 2
  shown = capsys.readouterr()
  assert says in shown.err and shown.err.count('\n') == 1 and not shown.out


def test_table_is_written_to_the_current_folder(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert command.main(['table']) == 0
  written = (tmp_path / command.TABLE).read_text(encoding='utf-8')
  assert written == command.table()
  assert str(tmp_path) in capsys.readouterr().out
