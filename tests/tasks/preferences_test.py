"""Preference records: their forms, their mistakes, and generated ones."""

import functools
import json
import re

import numpy as np
import pytest

from jaxrl_llm.tasks import data, preferences
from tests.tasks import changed

settings = functools.partial(changed.settings, answer_field='')

USER = [{'role': 'user', 'content': 'p'}]


def said(text, before=()):
  return [*before, {'role': 'assistant', 'content': text}]


def write(path, *records):
  lines = [json.dumps({'prompt': 'p'} | record) for record in records]
  path.write_text('\n'.join(lines) + '\n')
  return path


@pytest.mark.parametrize(
  ('record', 'responses', 'scores'),
  [
    ({'chosen': 'a', 'rejected': 'b'}, ['a', 'b'], [1, 0]),
    ({'responses': ['a', 'b'], 'scores': [0.5, 2]}, ['a', 'b'], [0.5, 2]),
    ({'responses': [*'abc'], 'ranks': [3, 1, 2]}, [*'abc'], [0, 1, 0.5]),
    ({'responses': [*'abc'], 'ranks': [1, 1, 3]}, [*'abc'], [1, 1, 0]),
    ({'responses': ['a', 'b'], 'ranks': [1, 2]}, ['a', 'b'], [1, 0]),
    ({'chosen': said('a'), 'rejected': said('b')}, ['a', 'b'], [1, 0]),
    ({'completion': 'a', 'label': True}, ['a'], [1]),
    ({'completion': said('a'), 'label': False}, ['a'], [0]),
    ({'completion': '', 'label': 0}, [''], [0]),
    ({'responses': ['a'], 'scores': [0.3]}, ['a'], [0.3]),
    (
      {'completion': said([{'type': 'text', 'text': 'a'}]), 'label': 1},
      ['a'],
      [1],
    ),
  ],
)
def test_every_form_gives_texts_and_scores(record, responses, scores, tmp_path):
  file = write(tmp_path / 'a.jsonl', record | {'note': 7})
  dataset = preferences.load_records(
    file, samples=3, prompt_field='prompt', answer_field=''
  )
  [row] = dataset.rows
  assert (row['responses'], row['scores']) == (responses, scores)
  assert row['note'] == 7
  # Beside messages, a text is what the user says.
  first = record.get('chosen', record.get('completion'))
  assert row['prompt'] == (USER if isinstance(first, list) else 'p')


@pytest.mark.parametrize(
  ('record', 'words'),
  [
    ({}, 'a record needs either chosen and rejected'),
    ({'chosen': 'a'}, "this has ['chosen', 'prompt']"),
    ({'responses': [], 'scores': [], 'ranks': []}, 'needs either'),
    ({'responses': 'ab', 'scores': [1, 0]}, 'responses must be a list'),
    ({'responses': ['a', 'b'], 'scores': [1]}, '2 responses and 1 scores'),
    ({'responses': ['a'], 'ranks': [1]}, '1 responses and 1 ranks; give two'),
    ({'responses': [], 'scores': []}, '0 responses and 0 scores; give one'),
    ({'completion': 'a', 'label': None}, 'label must be true or false, not No'),
    ({'completion': 'a', 'label': 'yes'}, "true or false, not 'yes'"),
    ({'completion': 'a', 'label': 0.5}, 'true or false, not 0.5'),
    ({'completion': 'a'}, 'or completion and label; this has'),
    ({'completion': 'a'}, 'is a demonstration, for data.responses=demon'),
    (
      {'completion': 'a', 'label': True, 'chosen': 'a', 'rejected': 'b'},
      'needs either',
    ),
    (
      {'chosen': [{'role': 'assistant', 'tool_calls': [{'name': 'f'}]}],
       'rejected': 'b'},
      'a response calls tools apart from its text',
    ),
    (
      {'chosen': said([{'type': 'image'}]), 'rejected': 'b'},
      "part 0 of the content is of type 'image'",
    ),
    ({'responses': ['a', 'b'], 'ranks': [0, 1]}, 'must be 1 (the best)'),
    ({'responses': ['a', 'b'], 'scores': [1, '0']}, "numbers, not '0'"),
    ({'responses': ['a', 'b'], 'scores': [True, 0]}, 'numbers, not True'),
    ({'chosen': 3, 'rejected': 'b'}, 'text, or messages that end'),
    ({'chosen': USER, 'rejected': 'b'}, 'one of the assistant'),
    (
      {'chosen': said('a', said('x')), 'rejected': 'b'},
      'must be those of the prompt',
    ),
    (
      {'prompt': USER, 'chosen': said('a', said('x')), 'rejected': 'b'},
      'must be those of the prompt',
    ),
    ({'responses': [*'abcd'], 'ranks': [1] * 4}, 'recipe.samples=3'),
  ],
)  # fmt: skip
def test_a_bad_record_names_file_and_line(record, words, tmp_path):
  good = {'chosen': 'a', 'rejected': 'b'}
  file = write(tmp_path / 'a.jsonl', good, record)
  place = re.escape(f'{file}:2: ')
  with pytest.raises(ValueError, match=place) as refused:
    preferences.load_records(
      file, samples=3, prompt_field='prompt', answer_field=''
    )
  assert words in str(refused.value)


def test_a_score_of_several_labels_is_their_mean(tmp_path):
  record = {'responses': ['a', 'b'], 'scores': [[1, 0.5], [0, -1]]}
  file = write(tmp_path / 'a.jsonl', record)
  read = functools.partial(
    preferences.load_records, file, samples=2, answer_field=''
  )
  [row] = read(labels=2).rows
  assert row['labels'] == [[1, 0.5], [0, -1]]
  assert row['scores'] == [0.75, -0.5]
  with pytest.raises(ValueError, match='a list of 3 numbers, one for each of'):
    read(labels=3)
  with pytest.raises(ValueError, match=r'finite numbers, not \[1, 0.5\]'):
    read()


def test_generated_labels_are_of_parts_of_the_answer():
  row = {'prompt': 'p', 'answer': '012345'}
  found = preferences.written(row, 0, 4, labels=2)
  for text, labels in zip(found['responses'], found['labels']):
    halves = ('012', text[:3]), ('345', text[3:])
    same = [sum(a == b for a, b in zip(*half)) / 3 for half in halves]
    assert labels == same
  assert sorted(found['scores'])[-1] == 1
  means = [sum(labels) / 2 for labels in found['labels']]
  assert found['scores'] == means


OTHER = [{'role': 'user', 'content': 'q'}]
SYSTEM = [{'role': 'system', 'content': 's'}]
TALK = [*USER, *said('x'), *OTHER]


@pytest.mark.parametrize(
  ('chosen', 'rejected', 'prompt', 'responses'),
  [
    (said('a', TALK), said('b', TALK), TALK, ['a', 'b']),
    (said('a', SYSTEM + USER), said('b', SYSTEM + USER), SYSTEM + USER,
     ['a', 'b']),
    # The last message is the response, though both say the same.
    (said('a', USER), said('a', USER), USER, ['a', 'a']),
    ('p: yes', 'p: no', 'p:', [' yes', ' no']),
    ('p:yes', 'p:no', 'p:', ['yes', 'no']),
    ('p: yes', 'p: yes, sure', 'p: yes', ['', ', sure']),
  ],
)  # fmt: skip
@pytest.mark.parametrize('field', ['prompt', 'question'])
def test_without_a_prompt_it_is_what_both_begin_with(
  chosen, rejected, prompt, responses, field, tmp_path
):
  """The cases of TRL's `extract_prompt`, and where that ends early."""
  record = {'chosen': chosen, 'rejected': rejected}
  for given in (record, record | {field: None}):
    file = tmp_path / 'a.jsonl'
    file.write_text(json.dumps(given))
    [row] = preferences.load_records(
      file, samples=2, prompt_field=field, answer_field=''
    ).rows
    assert row['prompt'] == prompt
    assert (row['responses'], row['scores']) == (responses, [1, 0])


@pytest.mark.parametrize(
  ('chosen', 'rejected', 'words'),
  [
    ('a', 'b', 'and these share none; add a prompt'),
    (' a', ' b', 'and these share none; add a prompt'),
    ('ab', 'ab', 'and these are equal; add a prompt'),
    (said('a', USER), said('b', OTHER), 'these share none; add a prompt'),
    (said('a'), said('b'), 'these share none; add a prompt'),
    (said('a', USER), 'b', 'response 1: messages must be a list'),
    (said('a', TALK), said('b', USER), 'must be those of the prompt'),
    (
      said('a', USER),
      USER + OTHER,
      'messages that end with one of the assistant',
    ),
  ],
)
def test_a_prompt_that_is_not_shared_is_asked_for(
  chosen, rejected, words, tmp_path
):
  file = tmp_path / 'a.jsonl'
  file.write_text(json.dumps({'chosen': chosen, 'rejected': rejected}))
  with pytest.raises(ValueError, match=re.escape(f'{file}:1: ')) as refused:
    preferences.load_records(
      file, samples=2, prompt_field='prompt', answer_field=''
    )
  assert words in str(refused.value)


@pytest.mark.parametrize('before', [USER, SYSTEM + USER])
def test_a_prompt_in_text_is_the_conversation_that_responses_bring(
  before, tmp_path
):
  record = {'chosen': said('a', before), 'rejected': said('', before)}
  dataset = preferences.load_records(
    write(tmp_path / 'a.jsonl', record, {'completion': 'c', 'label': True}),
    samples=2, prompt_field='prompt', answer_field='',
  )  # fmt: skip
  assert [row['prompt'] for row in dataset.rows] == [before, 'p']
  assert dataset.rows[0]['responses'] == ['a', '']


def test_scores_that_json_calls_infinite_are_refused(tmp_path):
  file = tmp_path / 'a.jsonl'
  file.write_text(
    '{"prompt": "p", "responses": ["a", "b"], "scores": [1, Infinity]}\n'
  )
  with pytest.raises(ValueError, match='not inf'):
    preferences.load_records(
      file, samples=2, prompt_field='prompt', answer_field=''
    )


def test_a_file_is_divided_and_no_prompt_is_on_both_sides(tmp_path):
  pair = {'chosen': 'a', 'rejected': 'b'}
  records = [pair | {'prompt': str(i % 8)} for i in range(16)]
  file = write(tmp_path / 'a.jsonl', *records)
  parts = preferences.load(settings(file), seed=0, samples=2)
  train, held_out = ({row['prompt'] for row in part.rows} for part in parts)
  assert len(held_out) == 5 and len(train) == 3 and not train & held_out


def test_generated_single_responses_are_right_or_wrong():
  train, _ = preferences.load(settings('sort'), seed=0, samples=1)
  labels = []
  for row in train.rows:
    [text], [label] = row['responses'], row['scores']
    assert (text == row['answer']) == label
    labels.append(label)
  assert set(labels) == {0, 1}


@pytest.mark.parametrize('task', ['sort', 'reverse', 'chain_sum'])
def test_generated_pairs_hold_the_answer_and_something_else(task):
  parts = preferences.load(settings(task), seed=0, samples=2)
  places = []
  for row in parts[0].rows:
    assert sorted(row['scores']) == [0, 1]
    places.append(row['scores'].index(1))
    assert row['responses'][places[-1]] == row['answer']
    assert row['responses'][1 - places[-1]] != row['answer']
  assert 0 < sum(places) < len(places)
  again = preferences.load(settings(task), seed=0, samples=2)
  assert parts[0].rows == again[0].rows


def test_generated_policies_differ_by_what_they_exchange():
  kept = 0
  for number in range(40):
    row = {'prompt': f'q{number}', 'answer': '01234'}
    found = preferences.written_by_policies(row, 0)
    assert found == preferences.written_by_policies(row, 0)
    own = found['responses'][found['scores'].index(1.0)]
    [other] = {*found['responses']} - {own} or {own}
    assert sorted(found['scores']) == [0, 1]
    # Who exchanges nothing writes one text, and nobody else does.
    whole = found['reference'] == row['answer']
    assert whole == (own == row['answer'])
    assert not (whole and other == row['answer'])
    kept += whole
  assert 0 < kept < 40


def test_a_discriminator_reads_a_reference_first():
  rows = [
    {'prompt': 'q', 'reference': 'r<e>', 'responses': ['a<e>', 'b']},
    {'prompt': 'q', 'answer': 's', 'responses': ['a']},
  ]
  dataset = data.Dataset('d', rows, np.zeros(2, int), ('s',))
  found = preferences.referred(dataset, '<e>').rows
  texts = [row['responses'] for row in found]
  assert texts == [['r<e>a', 'r<e>b'], ['s<e>a']]
  rows[1]['answer'] = None
  with pytest.raises(ValueError, match="the record of 'q' has none. Add"):
    preferences.referred(dataset, '<e>')


def test_generated_lists_are_scored_by_symbols_in_their_place():
  train, _ = preferences.load(settings('sort'), seed=0, samples=4)
  for row in train.rows:
    assert len(row['responses']) == 4 and max(row['scores']) == 1
    for text, score in zip(row['responses'], row['scores']):
      same = sum(a == b for a, b in zip(text, row['answer']))
      assert score == same / max(len(text), len(row['answer']))
      assert (text == row['answer']) == (score == 1)


def test_an_answer_without_two_different_symbols_is_repeated():
  row = preferences.written({'prompt': 'x', 'answer': '77'}, 0, 3)
  assert sorted(row['responses']) == ['77', '7777', '777777']
  assert sorted(row['scores']) == [2 / 6, 2 / 4, 1]


def test_a_compared_response_brings_no_second_mark():
  rows = [{'prompt': 'p', 'responses': ['a<e>', 'b'], 'scores': [1, 0]}]
  dataset = data.Dataset('some', rows, np.zeros(1, int), ('s',))
  [row] = preferences.compared(dataset, '<e>').rows
  assert row['responses'] == ['a<e>b', 'b<e>a']
