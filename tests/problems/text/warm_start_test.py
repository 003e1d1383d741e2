"""Demonstrations as rows to imitate."""

import dataclasses

import numpy as np
import pytest

from jaxrl_llm.problems.text import dialogue, warm_start
from jaxrl_llm.problems.text.chats import Chats
from jaxrl_llm.problems.text.questions import Questions
from tests.problems.text import templates


def questions(*demonstrations):
  count = len(demonstrations)
  return Questions(
    rows=[{'demonstration': said} for said in demonstrations],
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
  bad = dataclasses.replace(past, rows=[{}, {'demonstration': 'a'}])
  with pytest.raises(ValueError, match='1 of 2 rows have no field'):
    encode(bad)
