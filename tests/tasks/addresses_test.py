"""Addresses of questions: what a line says, and what it may not."""

import json

import numpy as np
import pytest

from jaxrl_llm.tasks import addresses, data
from tests.tasks.changed import settings


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
  [address] = addresses.training(usual)
  assert address.arguments == {
    'subset': 'main',
    'split': 'b',
    'prompt_field': 'q',
    'answer_field': 'answer',
  }
  assert addresses.held_out(usual) == []
  # Of training alone: the held-out ones are not in its split.
  [held_out] = addresses.held_out(settings(held_out_path='o/n', split='a'))
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
    ('o/n:stream=x', 'stream=x must be a whole number of at least 1'),
    ('o/n:rows=4:seed=2', 'seed=2 would do nothing: .* say stream='),
    ('o/n:rows=4:stream=1:seed=2', 'seed=2 would do nothing'),
    ('o/n:stream=9:seed=-1', 'seed=-1 must be a whole number of at least 0'),
    ('a.jsonl:rows=0', 'rows=0 must be a whole number of at least 1'),
    ('sort:rows=x', 'rows=x must be a whole number of at least 1'),
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


def test_a_stream_may_have_the_seed_zero():
  [address] = addresses.training(settings(path='o/n:rows=4:stream=9:seed=0'))
  assert address.arguments['seed'] == address.which['seed'] == 0


def file_of(path, *prompts):
  lines = [json.dumps({'prompt': p, 'answer': p}) + '\n' for p in prompts]
  path.parent.mkdir(exist_ok=True)
  path.write_text(''.join(lines))
  return path


@pytest.fixture
def mixture(tmp_path):
  """Two files, of 8 and of 4 questions, of which one is in both."""
  one = file_of(tmp_path / 'one.jsonl', *map(str, range(8)))
  two = file_of(tmp_path / 'two.jsonl', '7', 'a', 'b', 'c')
  return lambda more='': f'{one}{more},{two}{more}'


def test_several_sources_are_one_set_of_domains(mixture):
  train, held_out = data.load(settings(path=mixture(), held_out=3), seed=0)
  assert train.domains == held_out.domains == ('one', 'two')
  assert np.bincount(held_out.domain).tolist() == [2, 1]
  assert train.weights == ()
  asked = {row['prompt'] for row in train.rows}
  assert not asked & {row['prompt'] for row in held_out.rows}
  of = {train.domains[i] for i in train.domain}
  assert of == {'one', 'two'}
  assert train.place(len(train) - 1).split(':')[0].endswith('two.jsonl')


def test_weights_are_shares_and_those_of_a_folder_follow_its_files(
  tmp_path, mixture
):
  file_of(tmp_path / 'more' / 'x.jsonl', *'defgh')
  file_of(tmp_path / 'more' / 'y.jsonl', *'ijklmnopqrstuvw')
  path = f'{mixture(":weight=2")},{tmp_path / "more"}:weight=4'
  train, _ = data.load(settings(path=path, held_out=3), seed=0)
  assert train.domains == ('one', 'two', 'more:x', 'more:y')
  assert train.weights[:2] == (0.25, 0.25)
  np.testing.assert_allclose(sum(train.weights), 1)
  count = np.bincount(train.domain)[2:]
  np.testing.assert_allclose(train.weights[2:], 0.5 * count / count.sum())


def test_generated_tasks_are_mixed_with_each_other():
  path = 'sort:weight=1,reverse:weight=3:rows=12'
  train, held_out = data.load(settings(path=path, held_out=4), seed=0)
  assert train.weights == (0.25, 0.75)
  assert np.bincount(train.domain).tolist() == [20, 12]
  assert np.bincount(held_out.domain).tolist() == [2, 2]


@pytest.mark.parametrize(
  ('path', 'words'),
  [
    ('sort:weight=1,line', 'weights 1: line has none; give one to every'),
    ('sort:weight=1', 'there is one source, which is drawn anyway'),
    ('sort:weight=0,line:weight=0', 'sort:weight=0 must be a number above 0'),
    ('sort:weight=x,line:weight=1', 'sort:weight=x must be a number above 0'),
    ('sort:weight=nan,line:weight=1', 'weight=nan must be a number above 0'),
    ('sort,sort', 'sort, sort are not all of different names'),
    ('sort,,line', "'' names no source of questions"),
    ('sort,line,chain_sum,lookup,reverse,countdown', 'data.held_out=5 ques'),
  ],
)
def test_a_mixture_that_means_nothing_is_refused(path, words):
  with pytest.raises(ValueError, match=words):
    data.load(settings(path=path), seed=0)
