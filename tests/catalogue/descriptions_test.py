import pathlib
import re

import pytest

from jaxrl_llm import recipes
from jaxrl_llm.catalogue import command, descriptions

ROOT = pathlib.Path(__file__).parents[2]


def test_description_says_where_the_entry_is(capsys):
  assert command.main(['dapo']) == 0
  [place] = re.findall(r'code +(\S+)', capsys.readouterr().out)
  path, line = place.split(':')
  lines = (ROOT / path).read_text(encoding='utf-8').splitlines()
  assert 'DAPO' in lines[int(line) - 1] and lines[int(line)] == 'def dapo('


def test_list_names_every_recipe(capsys):
  assert command.main([]) == 0
  shown = capsys.readouterr().out
  for name in recipes.names():
    assert f'  {name} ' in shown
  head = 'clipping: Entries that clip, bound or gate the ratio of a token.'
  family = shown[shown.index(head) :].partition('\n\n')[0]
  assert '\n  dapo ' in family and '\n  ppo ' not in family


def test_list_says_what_a_recipe_needs():
  found = {
    n: descriptions.needs(recipes.get(n)) for n in ('dapo', 'ppo', 'grpo')
  }
  assert found == {'dapo': [], 'ppo': ['critic'], 'grpo': ['reference']}
  assert descriptions.needs(recipes.get('kdrl')) == ['teacher']
  assert 'environment' in descriptions.needs(recipes.get('gigpo'))


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


def test_a_solver_is_described_by_its_last_name():
  told = descriptions.description('egpo_step')
  assert told.startswith('tabular.games.egpo_step, a solver')
  assert '2503.08942' in told


def test_search_finds_what_has_all_words_and_names_come_first(capsys):
  assert command.main(['search', 'dynamic', 'sampling', '2503.14476']) == 0
  assert capsys.readouterr().out.split()[0] == 'dapo'
  lines = descriptions.search(['ENTROPY']).splitlines()
  names = [line.split()[0] for line in lines if line[2] != ' ']
  assert names.index('target_entropy') < names.index('clip_cov')
  assert 'learners.bandits.UCB1' in descriptions.search(['confidence', 'auer'])


def test_search_for_what_nothing_has_is_one_line(capsys):
  assert command.main(['search', 'zebra']) == 2
  assert "no recipe has 'zebra'" in capsys.readouterr().err
