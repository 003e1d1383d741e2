"""Annotators go to the model that explains their choices best."""

import json

import numpy as np
import pytest

from experiments import assign, command
from experiments.configs import preference
from jaxrl_llm.problems.text import reward_models
from jaxrl_llm.tasks import preferences
from tests.experiments.rate_test import exported


def records(path, models):
  """Choices of two people, each as one of the models has it."""
  rng = np.random.default_rng(0)
  texts = [''.join(rng.choice([*'0123456789'], 8)) for _ in range(24)]
  prompts = [f'sort {text}=' for text in texts]
  first, second = models(prompts, texts), models(prompts, texts[::-1])
  lines = []
  for i, prompt in enumerate(prompts):
    person = i % 2
    pair = [texts[i], texts[::-1][i]]
    if first[person, i] < second[person, i]:
      pair.reverse()
    names = 'chosen', 'rejected'
    record = dict(zip(names, pair)) | {
      'prompt': prompt,
      'annotator': f'p{person}',
    }
    lines.append(json.dumps(record))
  path.write_text('\n'.join(lines))


def test_each_annotator_goes_to_the_model_that_chooses_alike(tmp_path):
  folders = [exported(tmp_path / str(seed), seed) for seed in range(2)]
  records(tmp_path / 'pairs.jsonl', reward_models.load(folders))
  config = preference.get_config()
  config.data.path, config.data.held_out = str(tmp_path / 'pairs.jsonl'), 4
  parts, people = assign.assign(folders, config)
  assert people == [['p0'], ['p1']]
  for number, rows in enumerate(parts):
    assert len(rows) == 12
    assert {row['annotator'] for row in rows} == {f'p{number}'}
    # What is written can be trained on.
    path = tmp_path / f'{number}.jsonl'
    path.write_text('\n'.join(map(json.dumps, rows)))
    read = preferences.load_records(str(path), samples=2, answer_field='')
    assert [row['responses'] for row in read.rows] == [
      row['responses'] for row in rows
    ]


def test_models_are_trained_and_people_assigned_until_nobody_moves():
  people = iter([[['a', 'b'], []], [['a'], ['b']], [['a'], ['b']], []])
  heard = []

  def assigned(folders, number):
    heard.append((list(folders), number))
    own = next(people)
    return [[{'annotator': name} for name in each] for each in own], own

  def trained(folder, number, model):
    return f'{folder}+{number}'

  found = assign.alternated(['x', 'y'], 5, assigned, trained)
  # The second has no records at first, so it stays, and some afterwards.
  assert found == ['x+1+2', 'y+2']
  assert heard == [(['x', 'y'], 0), (['x+1', 'y'], 1), (['x+1+2', 'y+2'], 2)]


def test_without_rounds_people_are_assigned_once():
  calls = []

  def assigned(folders, number):
    calls.append(number)
    return [[], []], [[], []]

  assert assign.alternated(['x', 'y'], 0, assigned, None) == ['x', 'y']
  assert calls == [0]


def test_one_model_becomes_several_whose_people_are_dealt_out(tmp_path):
  lines = [
    {'prompt': f'p{i}', 'chosen': 'a', 'rejected': 'b', 'annotator': i % 6}
    for i in range(12)
  ]
  path = tmp_path / 'pairs.jsonl'
  path.write_text('\n'.join(map(json.dumps, lines)))
  config = preference.get_config()
  config.data.path, config.data.held_out = str(path), 4
  parts, people = assign.dealt(2, config)
  assert sorted(sum(people, [])) == [*'012345']
  assert [len(own) for own in people] == [3, 3]
  for rows, own in zip(parts, people):
    assert [row['annotator'] for row in rows] and len(rows) == 6
    assert {str(row['annotator']) for row in rows} == {*own}
  assert assign.dealt(2, config)[1] == people
  config.seed = 1
  assert assign.dealt(2, config)[1] != people
  with pytest.raises(command.Refused, match='use at most 6'):
    assign.dealt(7, config)


@pytest.mark.parametrize(
  ('given', 'words'),
  [
    ((['a'], 0), 'one model explains everybody'),
    ((['a', 'b'], 2), '--models names 2'),
    ((['a'], 1), '--groups=1 makes two or more'),
  ],
)
def test_how_many_models_there_are_is_clear(given, words):
  with pytest.raises(command.Refused, match=words):
    assign.begun(*given)
  assert assign.begun(['a'], 3) == ['a', 'a', 'a']
  assert assign.begun(['a', 'b'], 0) == ['a', 'b']


def test_a_round_trains_with_the_settings_that_were_given(tmp_path):
  given = {'steps': 3, 'data.path': 'all.jsonl', 'warm_start.steps': 1}
  words = assign.training('model', tmp_path / '0.jsonl', tmp_path, given)
  assert words[5].endswith('preference.py:reward_model')
  assert words[6:] == [
    '--config.warm_start.steps=1',
    '--config.steps=3',
    f'--config.data.path={tmp_path}/0.jsonl',
    '--config.model.path=model',
    f'--workdir={tmp_path}',
  ]


def test_a_choice_of_nobody_is_refused():
  with pytest.raises(command.Refused, match="'p' has no annotator"):
    assign._annotator({'prompt': 'p'})
