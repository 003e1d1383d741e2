"""Responses that nobody chose: empty ones, and tokens that are known."""

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import given, prefixes
from tests.plans import scripted

PROMPTS = scripted.ask('ab', 'xyz')


def test_written_tokens_are_read_and_not_chosen():
  rollouts = scripted.answer(PROMPTS, ['cde', 'uvwx'], 5, ended=False)
  told = given.written(rollouts, [scripted.encode('hi'), []])
  assert scripted.words(told) == ['hi', '']
  assert not np.any(told.action_mask) and not np.any(told.logp)
  both = prefixes.joined(rollouts, jnp.asarray([1, 4]), told)
  assert scripted.words(both) == ['chi', 'uvwx']
  assert both.action_mask[0].tolist() == [True] + [False] * 4


def test_blank_rows_have_nothing_and_keep_the_columns_of_the_data():
  prompts = PROMPTS.replace(extras={'hops': jnp.asarray([1.0, 2.0])})
  empty = given.blank(prompts, 2, 3)
  assert empty.group.tolist() == [0, 0, 1, 1]
  assert empty.extras['hops'].tolist() == [1, 1, 2, 2]
  assert np.all(empty.truncated) and not np.any(empty.response_mask)
