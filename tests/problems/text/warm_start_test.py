"""Demonstrations as rows to imitate."""

import dataclasses

import numpy as np
import pytest

from jaxrl_llm.problems.text import dialogue, encoding, warm_start
from jaxrl_llm.problems.text.chats import Chats
from jaxrl_llm.problems.text.questions import Questions
from tests.problems.text import templates


def questions(*demonstrations):
  count = len(demonstrations)
  return Questions(
    rows=[{'prompt': 'q', 'demonstration': said} for said in demonstrations],
    tokens=np.zeros((count, 1), np.int32),
    mask=np.ones((count, 1), bool),
    domain=np.zeros(count, np.int32),
    chats=Chats(dialogue.Reader(templates.tokenizer('qwen3'))),
    places=[f'a.jsonl:{line + 1}' for line in range(count)],
  )


def encode(found, length=4):
  tokenizer = templates.tokenizer('qwen3')
  second = tokenizer.convert_tokens_to_ids('<|endoftext|>')
  vocab = len(tokenizer) - 1
  return tokenizer, warm_start.encode(
    found, tokenizer, length, ends=(second,), vocab=vocab
  )


def test_a_demonstration_ends_once():
  said = ['ab', 'ab<|im_end|>', 'ab<|endoftext|>']
  tokenizer, rows = encode(questions(*said))
  assert rows.response_mask.sum(1).tolist() == [3, 3, 3]
  ends = [tokenizer.eos_token, tokenizer.eos_token, '<|endoftext|>']
  assert rows.content.response[
    :, 2
  ].tolist() == tokenizer.convert_tokens_to_ids(ends)


def test_a_demonstration_that_cannot_be_imitated_is_named():
  with pytest.raises(ValueError, match='of 5 tokens exceeds'):
    encode(questions('ab', 'abcd'))
  # The last token of the tokenizer has no row here.
  past = questions('ab', '</think>')
  with pytest.raises(ValueError, match='a.jsonl:2: the demonstration .*think'):
    encode(past)
  for row in ({}, {'demonstration': None}):
    bad = dataclasses.replace(past, rows=[row, {'demonstration': 'a'}])
    with pytest.raises(ValueError, match='1 of 2 rows have no field'):
      encode(bad)


def test_of_an_episode_the_policys_turns_are_learned():
  """Between them stands what an episode would hold."""
  tokenizer = templates.tokenizer('qwen2.5')
  call = {'name': 'price', 'arguments': {'item': 'b'}}
  talk = [
    {
      'role': 'assistant',
      'content': '',
      'tool_calls': [{'type': 'function', 'function': call}],
    },
    {'role': 'tool', 'name': 'price', 'content': '7'},
    {'role': 'assistant', 'content': 'b'},
  ]
  found = questions(talk, 'b')
  found = dataclasses.replace(
    found,
    rows=[{**row, 'prompt': 'of ab'} for row in found.rows],
    chats=Chats(dialogue.Reader(tokenizer)),
    is_message=lambda text: True,
  )
  rows = warm_start.encode(found, tokenizer, 300, ends=(), vocab=len(tokenizer))
  ids, own = (
    x[0][rows.response_mask[0]]
    for x in (rows.content.response, rows.action_mask)
  )
  runs = encoding.runs(ids, own)
  assert [(o, tokenizer.decode(i)) for o, i in runs] == [
    (
      True,
      '<tool_call>\n{"name": "price", "arguments": {"item": "b"}}\n'
      '</tool_call><|im_end|>',
    ),
    (
      False,
      '\n<|im_start|>user\n<tool_response>\n7\n</tool_response><|im_end|>\n'
      '<|im_start|>assistant\n',
    ),
    (True, 'b<|im_end|>'),
  ]
  text = rows.content.response[1][rows.response_mask[1]]
  assert tokenizer.decode(text) == 'b<|im_end|>'
  with pytest.raises(
    ValueError, match='a.jsonl:1: the demonstration: .*begins'
  ):
    found = dataclasses.replace(
      found, rows=[{'prompt': 'q', 'demonstration': talk[1:]}]
    )
    warm_start.encode(found, tokenizer, 99, ends=(), vocab=len(tokenizer))
