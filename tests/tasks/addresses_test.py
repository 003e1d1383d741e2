"""Addresses of questions: what a line says, and what it may not."""

from types import SimpleNamespace

import pytest

from jaxrl_llm.tasks import addresses, data


def settings(**changed):
  fields = {
    'path': 'sort',
    'level': 1,
    'size': 20,
    'held_out': 5,
    'held_out_path': '',
    'subset': '',
    'split': '',
    'prompt_field': 'prompt',
    'answer_field': 'answer',
  }
  return SimpleNamespace(**fields | changed)


@pytest.mark.parametrize(
  ('text', 'path', 'keys'),
  [
    ('a.jsonl', 'a.jsonl', {}),
    ('reasoning_gym:chain_sum', 'reasoning_gym:chain_sum', {}),
    (
      'reasoning_gym:x:a=1:b=[2:3]',
      'reasoning_gym:x',
      {'a': '1', 'b': '[2:3]'},
    ),
    ('o/n:split=train[:9]:rows=2', 'o/n', {'split': 'train[:9]', 'rows': '2'}),
    ('a.csv:answer=', 'a.csv', {'answer': ''}),
    ('x:a=":"', 'x', {'a': '":"'}),
  ],
)
def test_keys_stand_behind_the_path(text, path, keys):
  assert addresses.parse(text) == (path, keys)


def test_a_file_whose_name_has_colons_is_itself(tmp_path):
  file = tmp_path / 'a:rows=3.jsonl'
  file.touch()
  assert addresses.parse(str(file)) == (str(file), {})


def test_an_address_says_more_than_the_settings():
  usual = settings(path='o/n:split=b:prompt=q', split='a', subset='main')
  assert addresses.training(usual).arguments == {
    'subset': 'main',
    'split': 'b',
    'prompt_field': 'q',
    'answer_field': 'answer',
  }
  assert addresses.held_out(usual) is None
  # Of training alone: the held-out ones are not in its split.
  held_out = addresses.held_out(settings(held_out_path='o/n', split='a'))
  assert 'split' not in held_out.arguments


def test_options_of_a_generated_task_are_reached():
  train, held_out = data.load(settings(path='sort:length=3'), seed=0)
  lengths = {len(row['answer']) for row in [*train.rows, *held_out.rows]}
  assert lengths == {3} and (len(train), len(held_out)) == (20, 5)
  path = 'reasoning_gym:chain_sum:min_terms=2:max_terms=2:rows=7'
  train, _ = data.load(settings(path=path), seed=0)
  terms = [row['metadata']['difficulty']['num_terms'] for row in train.rows]
  assert len(train) == 7 and {str(x) for x in terms} <= {'2', '(2, 2)'}


def test_held_out_questions_may_be_generated_elsewhere():
  hard = 'sort:level=3:rows=4'
  train, held_out = data.load(settings(held_out_path=hard), seed=0)
  assert len(train) == 20 and len(held_out) == 4
  assert {len(row['answer'].replace(' ', '')) for row in held_out.rows} == {16}


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('a.jsonl:promt=q', "records have no 'promt'. Did you mean 'prompt'"),
    ('a.jsonl:rows=0', 'rows=0 must be a whole number above 0'),
    ('sort:rows=x', 'rows=x must be a whole number above 0'),
    ('a.jsonl:rows=1:rows=2', 'rows is given twice'),
    ('a.jsonl:rows=1:more', "'more' behind the keys is no KEY=VALUE"),
    ('sort:depth=2', r"sort has no options \['depth'\]; known: \['length'"),
    ('sort:size=2', 'sort:size=2: size is said by the run; .* say rows='),
    ('a.jsonl:subset=x', "has no subset 'x'"),
  ],
)
def test_a_key_that_means_nothing_is_refused(text, words):
  with pytest.raises(ValueError, match=words):
    data.load(settings(path=text), seed=0)
