"""Questions as arrays: columns of numbers, and other words for a prompt."""

import numpy as np
import pytest

from jaxrl_llm.tasks import data, tokens
from jaxrl_llm.training import questions
from tests.end_to_end import tiny


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
  return tokens.toy_tokenizer(tmp_path_factory.mktemp('tokenizer'))


def encoded(tokenizer, records, columns=(), system=''):
  config = tiny.get_config()
  config.data.system = system
  dataset = data.Dataset('some', records, np.zeros(len(records), int), ('s',))
  return questions.encode(dataset, config, tokenizer, columns)


def text_of(tokenizer, prompts, row):
  ids = np.asarray(prompts.tokens[row])[np.asarray(prompts.mask[row])]
  return tokenizer.decode(ids.tolist(), skip_special_tokens=True)


def test_columns_are_numbers_of_every_prompt(tokenizer):
  records = [{'prompt': f'q{i}', 'hops': i, 'v': i / 2} for i in range(4)]
  found = encoded(tokenizer, records, ('hops', 'v'))
  prompts = found.prompts(np.array([2, 0, 2]))
  np.testing.assert_array_equal(prompts.extras['hops'], [2, 0, 2])
  np.testing.assert_array_equal(prompts.extras['v'], [1, 0, 1])
  assert not encoded(tokenizer, records).prompts(np.array([1])).extras


@pytest.mark.parametrize('value', [None, 'three'])
def test_a_record_without_the_number_is_named(tokenizer, value):
  records = [{'prompt': 'q0', 'hops': 1}, {'prompt': 'q1', 'hops': value}]
  with pytest.raises(ValueError, match="number 'hops' .* for 'q1'"):
    encoded(tokenizer, records, ('hops',))


def test_columns_follow_the_prompts_that_are_kept(tokenizer):
  records = [{'prompt': 'q' * 99, 'hops': 7}, {'prompt': 'q', 'hops': 8}]
  config = tiny.get_config()
  config.data.too_long = 'drop'
  dataset = data.Dataset('some', records, np.zeros(2, int), ('s',))
  found = questions.encode(dataset, config, tokenizer, ('hops',))
  np.testing.assert_array_equal(found.columns['hops'], [8])


def test_other_words_keep_the_task_and_its_numbers(tokenizer):
  records = [{'prompt': f'q{i}', 'hops': i} for i in range(3)]
  found = encoded(tokenizer, records, ('hops',))
  prompts = found.reworded(np.array([2, 2]), ['a', 'bc'], tokenizer)
  assert [text_of(tokenizer, prompts, row) for row in range(2)] == ['a', 'bc']
  assert prompts.task.tolist() == [2, 2]
  np.testing.assert_array_equal(prompts.extras['hops'], [2, 2])


def test_other_words_over_the_budget_are_refused(tokenizer):
  found = encoded(tokenizer, [{'prompt': 'q'}])
  with pytest.raises(ValueError, match='exceeds sample.max_prompt=16'):
    found.reworded(np.array([0]), ['x' * 99], tokenizer)
