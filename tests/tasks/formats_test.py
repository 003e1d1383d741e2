"""The page of formats does not lie: every line of it is read."""

import json
import pathlib
import re

import pytest

from jaxrl_llm.problems.text import questions
from jaxrl_llm.tasks import addresses, data, preferences, transcripts
from tests.problems.text import templates

PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'records.md'


def lines(kind):
  """Each line of the blocks of a kind, and what else the block says."""
  blocks = re.findall(r'```jsonl (\w+) ?(.*)\n([^`]*)```', PAGE.read_text())
  found = [
    (line, dict(word.split('=') for word in more.split()))
    for name, more, text in blocks
    for line in text.splitlines()
    if name == kind
  ]
  assert len(found) > 3
  return [pytest.param(*each, id=each[0][:40]) for each in found]


def file_of(tmp_path, line):
  path = tmp_path / 'own.jsonl'
  path.write_text(line + '\n')
  return path


@pytest.fixture(scope='module')
def chatty():
  return templates.tokenizer('qwen3')


@pytest.mark.parametrize(('line', 'fields'), lines('sampled'))
def test_questions_are_read(tmp_path, line, fields, chatty):
  dataset = data.load_records(file_of(tmp_path, line), **fields)
  [row] = dataset.rows
  given = json.loads(line)
  assert ('answer' in row) == (fields == {})
  if 'reward_model' in given:
    assert row['answer'] == '7' and dataset.domains == ('openai.gsm8k',)
    assert row['extra_info'] == {'index': 0}
  elif 'apples' in line:
    assert row['answer'] == '7'
  asked = questions.asked_of('p', row, '', lambda text: True)
  assert isinstance(asked.prompt, list)
  assert len(asked.tools) == len(given.get('tools', []))


@pytest.mark.parametrize(('line', 'fields'), lines('recorded'))
def test_preferences_are_read(tmp_path, line, fields):
  [row] = preferences.load_records(
    file_of(tmp_path, line), samples=3, answer_field='', **fields
  ).rows
  given = json.loads(line)
  assert len(row['responses']) == len(row['scores'])
  prompt = row['prompt']
  if 'ranks' in given:
    assert row['scores'] == [1, 1, 0.5]
  elif 'scores' in given:
    assert row['scores'] == [2, 0.5, -1]
  elif 'label' in given:
    assert row['scores'] == [given['label']]
  else:
    assert row['scores'] == [1, 0]
    assert [x.strip(' .').lower() for x in row['responses']] == [
      'blue',
      'green',
    ]
  assert prompt == 'The sky is' or prompt[-1]['content'] == 'What color?'


@pytest.mark.parametrize(('line', 'fields'), lines('demonstrated'))
def test_demonstrations_are_read(tmp_path, line, fields):
  [row] = transcripts.load_records(
    file_of(tmp_path, line), answer_field='', **fields
  ).rows
  assert row.keys() & {'completion', 'following', 'text'}
  turns = [m['role'] for m in row.get('following', [])]
  assert turns == [] or turns[0] == turns[-1] == 'assistant'


def test_files_of_the_page_are_addresses():
  block = re.search(r'## Files\n\n```\n(.*?)```', PAGE.read_text(), re.DOTALL)
  kinds = {}
  for line in block[1].splitlines():
    text, _, _ = line.partition('  ')
    for each in addresses.divided(text, ','):
      address = addresses.parse(each)
      kinds[each] = address.kind
      if address.kind != 'generated':
        assert address.arguments is not None
  assert kinds['openai/gsm8k:subset=main:split=test'] == 'hub'
  assert kinds['reasoning_gym:chain_sum:min_terms=2'] == 'generated'
  assert list(kinds.values()).count('file') == 6
