import inspect
import pathlib
import re

import pytest

from jaxrl_llm import compose, parts, recipes, registry
from jaxrl_llm.learners import bandits
from jaxrl_llm.catalogue import command
from jaxrl_llm.catalogue import grid, pieces

ROOT = pathlib.Path(__file__).parents[2]


def test_papers_table_is_fresh():
  committed = (ROOT / command.TABLE).read_text(encoding='utf-8')
  remedy = 'run `python -m jaxrl_llm.recipes table` and commit PAPERS.md'
  assert committed == command.table(), remedy


def _cells():
  """The cells of every row of the table of recipes, by name."""
  rows = [r for r in command.table().splitlines() if r.startswith('| [`')]
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


def test_description_says_where_the_entry_is(capsys):
  assert command.main(['dapo']) == 0
  [place] = re.findall(r'code +(\S+)', capsys.readouterr().out)
  path, line = place.split(':')
  lines = (ROOT / path).read_text(encoding='utf-8').splitlines()
  assert 'DAPO' in lines[int(line) - 1] and lines[int(line)] == 'def dapo('


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


def test_deviations_are_the_paragraph_that_begins_with_the_word():
  def differs():
    """A method.

    More of it.

    Deviates: the first thing,
    over two lines. The second.

    Not this.
    """

  def follows():
    """A method that deviates nowhere."""

  paper = registry.Paper('A paper')
  entries = [
    registry.Entry('name', factory, paper) for factory in (differs, follows)
  ]
  assert entries[0].deviates == 'the first thing, over two lines. The second.'
  assert entries[1].deviates == ''


@pytest.mark.parametrize('name', ['a_lol', 'otc', 'gtpo', 'step_grpo'])
def test_a_paper_is_found_under_every_title(name, capsys):
  assert command.main([name]) == 0
  shown = ' '.join(capsys.readouterr().out.split())
  titles = recipes.get(name).paper.titles
  assert len(titles) > 1
  for title in titles:
    assert title in _cells()[name][1] and title in shown


def test_list_names_every_recipe(capsys):
  assert command.main([]) == 0
  shown = capsys.readouterr().out
  for name in recipes.names():
    assert f'  {name} ' in shown
  head = 'clipping: Entries that clip, bound or gate the ratio of a token.'
  family = shown[shown.index(head) :].partition('\n\n')[0]
  assert '\n  dapo ' in family and '\n  ppo ' not in family


def test_list_says_what_a_recipe_needs():
  found = {n: command.needs(recipes.get(n)) for n in ('dapo', 'ppo', 'grpo')}
  assert found == {'dapo': [], 'ppo': ['critic'], 'grpo': ['reference']}
  assert command.needs(recipes.get('kdrl')) == ['teacher']
  assert 'environment' in command.needs(recipes.get('gigpo'))


@pytest.mark.parametrize('name', recipes.names())
def test_description_shows_paper_values_slots_and_limits(name, capsys):
  assert command.main([name]) == 0
  shown = ' '.join(capsys.readouterr().out.split())
  entry = recipes.get(name)
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
    (['diff', 'grpo', 'gpro'], "Did you mean 'grpo'?"),
    (['diff', 'grpo'], 'diff A B'),
    (['grpo', 'dapo'], 'one recipe at a time'),
    (
      ['grpo', 'surrogate=clpi'],
      "surrogate 'clpi'. Did you mean 'clip'",
    ),
    (['grpo', 'surrogat=clip'], "Did you mean 'surrogate'?"),
    (['grpo', 'samples=many'], 'many is no value'),
    (['grpo', 'samples=0.5'], 'samples is 0.5; use a value of int'),
    (['gpro', 'surrogate=clip'], "Did you mean 'grpo'?"),
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


def test_a_composition_says_what_came_out(capsys):
  words = ['grpo', 'minibatches=4', 'surrogate=gspo', 'costs=none']
  assert command.main(words) == 0
  shown = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert ['is', 'at', 'its', 'defaults', 'gspo'] in shown
  assert ['minibatches', '1', '4'] in shown
  assert ['needs', '-'] in shown
  assert ['--config.slots.surrogate=gspo'] in shown
  assert ['--config.recipe.minibatches=4'] in shown


def test_the_form_of_the_kl_is_a_word_of_its_own(capsys):
  words = ['compose', 'grpo', 'surrogate=gspo', 'aggregate=budget_mean']
  assert command.main([*words, 'kl_weight=0.1', 'kl=k2']) == 0
  shown = capsys.readouterr().out
  assert '--config.slots.costs=k2:0.1' in shown and 'ref_logp' in shown
  assert command.main([*words, 'kl=k2', 'costs=none']) == 2
  assert 'not both' in capsys.readouterr().err
  assert command.main(['compose', 'reinforce', 'kl=k2']) == 2
  assert 'costs=k2:WEIGHT' in capsys.readouterr().err


def test_help_lists_what_fits_each_slot(capsys):
  with pytest.raises(SystemExit):
    command.main(['--help'])
  shown = capsys.readouterr().out
  for slot in (*compose.SLOTS, 'controller'):
    for name in parts.fitting(slot):
      assert f'\n  {name} ' in shown, (slot, name)


def test_learners_and_solvers_are_listed_with_their_sources():
  rows = [r for r in command.table().splitlines() if '`learners.bandits.' in r]
  named = {row.split('`')[1].rpartition('.')[2] for row in rows}
  here = bandits.__name__
  found = {k for k, v in vars(bandits).items() if inspect.isclass(v)}
  own = {k for k in found if getattr(bandits, k).__module__ == here}
  assert named == own
  assert all('Agrawal' in r or 'Auer' in r for r in rows)


def test_a_solver_is_described_by_its_last_name():
  told = command.description('egpo_step')
  assert told.startswith('tabular.games.egpo_step, a solver')
  assert '2503.08942' in told


@pytest.mark.parametrize('folder', sorted(pieces.KINDS))
def test_every_room_of_a_kind_is_there_and_names_a_source(folder):
  assert (ROOT / 'jaxrl_llm' / folder).exists()
  room = folder.removesuffix('.py').replace('/', '.')
  assert any(piece.name.startswith(room) for piece in pieces.pieces())


def test_no_piece_has_the_name_of_a_recipe():
  last = {piece.name.rpartition('.')[2] for piece in pieces.pieces()}
  assert not last & set(recipes.names())


def test_search_finds_what_has_all_words_and_names_come_first(capsys):
  assert command.main(['search', 'dynamic', 'sampling', '2503.14476']) == 0
  assert capsys.readouterr().out.split()[0] == 'dapo'
  lines = command.search(['ENTROPY']).splitlines()
  names = [line.split()[0] for line in lines if line[2] != ' ']
  assert names.index('target_entropy') < names.index('clip_cov')
  assert 'learners.bandits.UCB1' in command.search(['confidence', 'auer'])


def test_search_for_what_nothing_has_is_one_line(capsys):
  assert command.main(['search', 'zebra']) == 2
  assert "no recipe has 'zebra'" in capsys.readouterr().err


def test_compose_may_be_said(capsys):
  assert command.main(['compose', 'grpo', 'surrogate=gspo']) == 0
  said = capsys.readouterr().out
  assert command.main(['grpo', 'surrogate=gspo']) == 0
  assert capsys.readouterr().out == said


def test_pairs_are_counted_and_what_others_lack_is_said(capsys):
  assert command.main(['pairs']) == 0
  first, _, _, *arrays = capsys.readouterr().out.splitlines()
  number = len(grid.pairs())
  refused = sum(bool(grid.wanted(*pair)) for pair in grid.pairs())
  assert first.startswith(f'{number} pairs of an estimator and a surrogate')
  assert first.endswith(f'{number - refused} compose, {refused} are refused')
  assert any(line.endswith('answer, as in copo') for line in arrays)
