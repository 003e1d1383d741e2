"""Demonstrations: their forms, what is to be said of them, their mistakes."""

import json
import re
from types import SimpleNamespace

import pytest

from jaxrl_llm.tasks import transcripts

USER = {'role': 'user', 'content': 'p'}
SYSTEM = {'role': 'system', 'content': 's'}


def said(text, **more):
  return {'role': 'assistant', 'content': text} | more


def rows(path, *records, **fields):
  path.write_text('\n'.join(map(json.dumps, records)) + '\n')
  fields = {'prompt_field': 'prompt', 'answer_field': ''} | fields
  return transcripts.load_records(path, **fields).rows


TALK = [SYSTEM, USER, said('a'), USER, said('b')]


@pytest.mark.parametrize(
  ('record', 'prompt', 'rest'),
  [
    ({'prompt': 'p', 'completion': 'a'}, 'p', 'a'),
    ({'prompt': 'p', 'completion': ''}, 'p', ''),
    ({'prompt': 'p', 'demonstration': 'a'}, 'p', 'a'),
    ({'prompt': 'p', 'completion': 'a', 'demonstration': 'b'}, 'p', 'a'),
    ({'prompt': [USER], 'completion': [said('a')]}, [USER], [said('a')]),
    ({'prompt': 'p', 'completion': [said('a')]}, [USER], [said('a')]),
    ({'prompt': [USER], 'completion': 'a'}, [USER], [said('a')]),
    # What the prompt holds is read alone.
    (
      {'prompt': TALK[:4], 'completion': TALK[4:]},
      TALK[:4],
      TALK[4:],
    ),
    ({'messages': TALK}, TALK[:2], TALK[2:]),
    # As in UltraChat, whose prompt is the first message once more.
    ({'messages': TALK, 'prompt': 'p'}, TALK[:2], TALK[2:]),
    ({'messages': TALK, 'prompt': None}, TALK[:2], TALK[2:]),
    ({'messages': [said('hi'), *TALK]}, [said('hi'), *TALK[:2]], TALK[2:]),
    (
      {'messages': [USER, said('a', weight=0), USER, said('b', weight=1)]},
      [USER, said('a', weight=0), USER],
      [said('b', weight=1)],
    ),
    ({'messages': [SYSTEM, USER]}, [SYSTEM, USER], []),
    ({'messages': [USER, said('a', weight=0)]},
     [USER, said('a', weight=0)], []),
  ],
)  # fmt: skip
def test_every_form_is_a_prompt_and_what_follows(
  record, prompt, rest, tmp_path
):
  [row] = rows(tmp_path / 'a.jsonl', record | {'note': 7})
  key = 'completion' if isinstance(rest, str) else 'following'
  assert (row['prompt'], row[key], row['note']) == (prompt, rest, 7)


def test_the_prompt_may_have_another_name(tmp_path):
  record = {'question': 'p', 'completion': 'a'}
  [row] = rows(tmp_path / 'a.jsonl', record, prompt_field='question')
  assert (row['prompt'], row['completion']) == ('p', 'a')


@pytest.mark.parametrize(
  ('record', 'words'),
  [
    ({'prompt': 'p'}, "completion, or a text; this has ['prompt']"),
    ({'completion': 'a'}, 'messages, or prompt and completion, or a text; '),
    ({'text': 7}, "this has ['text']"),
    ({'text': ''}, "this has ['text']"),
    ({'text': 'a', 'prompt': 'p'}, "this has ['prompt', 'text']"),
    ({'messages': [USER], 'prompt': 'p', 'completion': 'a'}, 'needs either'),
    ({'messages': 'hi'}, 'messages must be a list of objects'),
    ({'messages': [{'role': 'user'}]}, 'message 0, of the user, must have'),
    ({'prompt': 'p', 'completion': 7}, 'the completion: messages must be a'),
    ({'prompt': '', 'completion': 'a'}, 'the prompt must be text'),
    ({'messages': [USER, said('a', weight=0.5)]}, '1 has the weight 0.5'),
  ],
)  # fmt: skip
def test_a_bad_record_names_file_and_line(record, words, tmp_path):
  path = tmp_path / 'a.jsonl'
  with pytest.raises(ValueError, match=re.escape(f'{path}:2: ')) as refused:
    rows(path, {'prompt': 'p', 'completion': 'a'}, record)
  assert words in str(refused.value)


def test_generated_tasks_say_what_their_teacher_would():
  settings = SimpleNamespace(
    path='chain_sum', level=1, size=20, held_out=5, held_out_path='',
    subset='', split='',
    prompt_field='prompt', answer_field='',
  )  # fmt: skip
  train, held_out = transcripts.load(settings, seed=0)
  assert (len(train), len(held_out)) == (20, 5)
  for row in (*train.rows, *held_out.rows):
    assert row['completion'] == row['demonstration']
    assert row['completion'].endswith(row['answer'])
