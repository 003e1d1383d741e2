"""Datasets: what is read, what is refused, and who sees which question."""

import json
import math
import sys

import numpy as np
import pytest

from jaxrl_llm import tasks
from jaxrl_llm.tasks import data, verifiers
from tests.tasks.changed import settings


def write(path, *records):
  lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
  path.write_text('\n'.join(lines) + '\n', encoding='utf-8')
  return path


def prompts(dataset):
  return [row['prompt'] for row in dataset.rows]


def test_rows_keep_their_other_fields(tmp_path):
  file = write(
    tmp_path / 'a.jsonl',
    {'q': 'One and one?', 'a': 2, 'hint': [1]},
    '',
    {'q': [{'role': 'user', 'content': 'é?'}], 'a': 'x'},
  )
  dataset = data.load_records(file, prompt_field='q', answer_field='a')
  assert dataset.rows[0] | {'answer': '2', 'hint': [1]} == dataset.rows[0]
  assert dataset.rows[1]['prompt'][0]['content'] == 'é?'
  assert dataset.domain.tolist() == [0, 0] and dataset.domains == ('a',)


def test_worked_answers_are_cut_at_their_mark(tmp_path):
  worked = '48/2 = 24 #### no\n#### 1,072'
  file = write(tmp_path / 'a.jsonl', {'prompt': 'p', 'answer': worked})
  [row] = data.load_records(file).rows
  assert (row['answer'], row['solution']) == ('1,072', worked)
  [row] = data.load_records(file, answer_mark='').rows
  assert row['answer'] == worked and 'solution' not in row


@pytest.mark.parametrize(
  'answer',
  [
    '#### Setup\nBoil water.\n#### Steps\n1. Pour it.',
    'def f():\n  #### 2\n  return 2',
    'Roses are red.\n#### The end',
    '#### 2',
    'x #### 2',
  ],
)
def test_prose_and_code_are_answers_as_they_are(tmp_path, answer):
  file = write(tmp_path / 'a.jsonl', {'prompt': 'p', 'answer': answer})
  [row] = data.load_records(file).rows
  assert row['answer'] == answer and 'solution' not in row


@pytest.mark.parametrize(
  ('record', 'answer'),
  [
    ({'answer': 2}, '2'),
    ({'answer': 2.5}, '2.5'),
    ({'answer': True}, 'True'),
    ({'answer': ['a', 2]}, ['a', '2']),
    # As of MMLU: the place in the list.
    ({'answer': 2, 'choices': ['x', 'y', 'z']}, 2),
    ({'answer': [0, 2], 'options': ['x', 'y', 'z']}, [0, 2]),
    ({'answer': ''}, ''),
  ],
)
def test_answers_are_texts_and_places_in_a_list_stay(tmp_path, record, answer):
  file = write(tmp_path / 'a.jsonl', {'prompt': 'p', **record})
  [row] = data.load_records(file).rows
  assert row['answer'] == answer and type(row['answer']) is type(answer)


@pytest.mark.parametrize(
  'record',
  [
    # MMLU, MMLU-Pro, ARC twice, MedQA.
    {'answer': 2, 'choices': ['x', 'y', 'z']},
    {'answer': 'C', 'options': ['x', 'y', 'z', 'w']},
    {'answer': 'C', 'choices': {'text': [*'xyz'], 'label': [*'ABC']}},
    {'answer': '3', 'choices': {'text': [*'xyz'], 'label': [*'123']}},
    {'answer': 'z', 'options': {'A': 'x', 'B': 'y', 'C': 'z'}},
  ],
)
def test_options_of_known_data_sets_are_read_and_verified(tmp_path, record):
  file = write(tmp_path / 'a.jsonl', {'prompt': 'p', **record})
  rows = [*data.load_records(file).rows] * 4
  said = ['The answer is C.', '(c) z', 'B', 'The answer is E.']
  assert verifiers.multiple_choice(said, rows) == [1, 1, 0, 0]


@pytest.mark.parametrize(
  'answer', [None, [], {'text': 'a'}, ['a', None], [[1]], math.nan]
)
def test_an_answer_that_nothing_can_equal_is_refused(tmp_path, answer):
  records = [{'prompt': 'p', 'answer': given} for given in ('a', answer)]
  file = write(tmp_path / 'a.jsonl', *records)
  with pytest.raises(ValueError, match='jsonl:2: the answer .* write a text'):
    data.load_records(file)
  assert len(data.load_records(file, answer_field='').rows) == 2


def test_each_file_of_a_folder_is_a_domain(tmp_path):
  write(tmp_path / 'b.jsonl', {'prompt': '1', 'answer': '1'})
  write(tmp_path / 'a.jsonl', *[{'prompt': '2', 'answer': '2'}] * 2)
  (tmp_path / 'README.md').write_text('not data')
  dataset = data.load_records(tmp_path)
  assert dataset.domains == ('a', 'b')
  assert dataset.domain.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
  ('line', 'message'),
  [
    ('{"prompt": ', r'a\.jsonl:2: no JSON: '),
    ('[1]', r'a\.jsonl:2: a JSON object is needed, this is a list'),
    ('{"question": "?"}', r"no field 'prompt'; the record has \['question'\]"),
    ('{"prompt": "?"}', r"2: no field 'answer'; the record has \['prompt'\]"),
    ('{"prompt": "", "answer": ""}', 'must be text, or a list of messages'),
    ('{"prompt": [], "answer": ""}', 'must be text, or a list of messages'),
    ('{"prompt": [{"role": "user"}], "answer": ""}',
     r'a\.jsonl:2: message 0, of the user, must have content that is text'),
    ('{"prompt": [{"role": "user", "content": [{"type": "image"}]}]}',
     "part 0 of the content is of type 'image', and the models read text"),
  ],
)  # fmt: skip
def test_bad_line_is_named_with_its_reason(tmp_path, line, message):
  file = write(tmp_path / 'a.jsonl', {'prompt': 'p', 'answer': 'a'}, line)
  with pytest.raises(ValueError, match=message):
    data.load_records(file)


def test_bytes_that_are_no_text_are_named(tmp_path):
  (tmp_path / 'a.jsonl').write_bytes(b'{"prompt": "\xff"}\n')
  with pytest.raises(ValueError, match=r'a\.jsonl:1: no JSON: .*utf-8'):
    data.load_records(tmp_path)


def test_missing_and_empty_sources_are_named(tmp_path):
  with pytest.raises(ValueError, match='there is no file .*none.jsonl'):
    data.load_records(tmp_path / 'none.jsonl')
  with pytest.raises(ValueError, match=r'holds no \*\.jsonl'):
    data.load_records(tmp_path)
  (tmp_path / 'a.jsonl').touch()
  with pytest.raises(ValueError, match='dataset .* is empty'):
    data.load_records(tmp_path)


def test_longer_dataset_begins_with_the_shorter():
  long = data.generate('chain_sum', 30, seed=3, level=2)
  assert long.rows[:10] == data.generate('chain_sum', 10, seed=3, level=2).rows
  assert long.rows != data.generate('chain_sum', 30, seed=4, level=2).rows
  assert long.verifier == 'numeric'


@pytest.mark.parametrize('name', ['chain_sum', 'reasoning_gym:chain_sum'])
def test_parts_share_no_question_whatever_the_seed(name):
  seen = {
    part: {
      prompt
      for seed in (0, 1)
      for prompt in prompts(data.generate(name, 150, seed=seed, part=part))
    }
    for part in data.PARTS
  }
  assert not seen['train'] & seen['held_out']


def test_questions_of_a_part_are_distinct():
  found = prompts(data.generate('countdown', 300, part='held_out'))
  assert len(set(found)) == 300


@pytest.mark.parametrize('part', data.PARTS)
def test_all_levels_of_a_generated_task_are_its_domains(part):
  mixed = data.generate('sort', 30, seed=3, part=part, level=0)
  assert mixed.domains == ('sort:1', 'sort:2', 'sort:3')
  length = {0: 5, 1: 8, 2: 16}
  for row, domain in zip(mixed.rows, mixed.domain.tolist(), strict=True):
    assert len(row['answer'].replace(' ', '')) == length[domain]
  assert set(np.bincount(mixed.domain)) <= set(range(4, 17))
  shorter = data.generate('sort', 10, seed=3, part=part, level=0)
  assert mixed.rows[:10] == shorter.rows
  assert mixed.domain[:10].tolist() == shorter.domain.tolist()


def test_options_override_those_of_the_level():
  dataset = data.generate('sort', 5, level=1, length=3)
  assert {len(row['answer']) for row in dataset.rows} == {3}


@pytest.mark.parametrize(
  ('name', 'options', 'message'),
  [
    ('chain_sums', {}, "did you mean 'chain_sum'"),
    ('sort', {'level': 9}, 'sort has no level 9; choose 1 to 3, or 0 for all'),
    ('line', {'level': 0}, 'line has no level 0; choose 1 to 1'),
    ('sort', {'depth': 2}, r"no options \['depth'\]; known: \['length', 'sym"),
    ('sort', {'part': 'test'}, "part 'test' must be one of"),
    ('reverse', {'length': 1}, r'about \d different train questions .* not 50'),
    ('reasoning_gym:chain_sums', {}, "did you mean 'chain_sum'"),
    ('reasoning_gym:chain_sum', {'level': 2}, 'has options, no levels'),
    ('reasoning_gym:chain_sum', {'depth': 2}, "no 'depth'. Known: .*min_terms"),
    ('reasoning_gym:chain_sum', {'min_term': 2}, "Did you mean 'min_terms'"),
    ('reasoning_gym:chain_sum', {'min_terms': 9}, 'max_terms must be >='),
    ('reasoning_gym:chain_sum', {'min_terms': -1}, 'refuses its options'),
  ],
)
def test_bad_requests_say_what_would_do(name, options, message):
  with pytest.raises(ValueError, match=message):
    data.generate(name, 50, **options)


def test_missing_reasoning_gym_names_the_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, 'reasoning_gym', None)
  monkeypatch.delitem(sys.modules, 'jaxrl_llm.tasks.gym', raising=False)
  monkeypatch.delattr(tasks, 'gym', raising=False)
  with pytest.raises(ModuleNotFoundError, match=r"jaxrl_llm\[tasks\]'"):
    data.generate('reasoning_gym:chain_sum', 2)


def test_split_keeps_copies_of_a_question_together(tmp_path):
  records = [{'prompt': f'{i % 10}  ?', 'answer': str(i)} for i in range(30)]
  dataset = data.load_records(write(tmp_path / 'a.jsonl', *records))
  train, held_out = data.split(dataset, 4, seed=1)
  assert not set(prompts(train)) & set(prompts(held_out))
  assert len(set(prompts(held_out))) == 4
  assert len(train) + len(held_out) == 30
  assert prompts(data.split(dataset, 4, seed=2)[1]) != prompts(held_out)


@pytest.mark.parametrize('held_out', [0, 10, 11])
def test_split_needs_questions_on_both_sides(tmp_path, held_out):
  records = [{'prompt': str(i), 'answer': ''} for i in range(10)]
  dataset = data.load_records(write(tmp_path / 'a.jsonl', *records))
  with pytest.raises(ValueError, match='10 different questions.* 1 to 9,'):
    data.split(dataset, held_out)


def test_one_question_cannot_be_divided(tmp_path):
  file = write(tmp_path / 'a.jsonl', *[{'prompt': '?', 'answer': ''}] * 2)
  with pytest.raises(ValueError, match='one question, and one to train on'):
    data.split(data.load_records(file), 1)


def test_load_reads_generated_tasks_and_files(tmp_path):
  train, held_out = data.load(settings('sort', level=2), seed=0)
  assert (len(train), len(held_out)) == (20, 5)
  records = [{'prompt': str(i), 'answer': ''} for i in range(10)]
  file = write(tmp_path / 'a.jsonl', *records)
  train, held_out = data.load(settings(file), seed=0)
  assert (len(train), len(held_out)) == (5, 5)


def test_load_drops_training_questions_of_the_held_out_file(tmp_path):
  records = [{'prompt': str(i), 'answer': ''} for i in range(10)]
  file = write(tmp_path / 'a.jsonl', *records)
  other = write(tmp_path / 'b.jsonl', *records[:3])
  train, held_out = data.load(settings(file, held_out_path=str(other)), seed=0)
  assert prompts(train) == [str(i) for i in range(3, 10)]
  assert prompts(held_out) == ['0', '1', '2']
  with pytest.raises(ValueError, match='every question of .* is held out'):
    data.load(settings(other, held_out_path=str(file)), seed=0)


def test_a_file_replaces_the_generated_task_of_a_config(tmp_path):
  """Its level and size, which only mean something there, are not read."""
  records = [{'prompt': str(i), 'answer': ''} for i in range(4)]
  file = write(tmp_path / 'a.jsonl', *records)
  parts = [
    data.load(settings(file, held_out=1, level=level), seed=0)
    for level in (1, 2)
  ]
  assert [*map(prompts, parts[0])] == [*map(prompts, parts[1])]


def test_missing_file_is_not_taken_for_a_task(tmp_path):
  with pytest.raises(ValueError, match='there is no file'):
    data.load(settings(tmp_path / 'none.jsonl'), seed=0)
