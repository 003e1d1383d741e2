"""Rows beside each other, and columns from elsewhere."""

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import arranged
from tests.plans import scripted

PROMPTS = scripted.ask('ab', 'xyz')


def said(*texts, samples=1):
  return scripted.answer(PROMPTS, texts, 4, samples=samples, ended=False)


def test_rows_of_a_prompt_stand_together():
  both = arranged.together(
    2, said('a', 'd'), said('b', 'c', 'e', 'f', samples=2)
  )
  assert scripted.words(both) == [*'abcdef']
  assert both.task.tolist() == [0, 0, 0, 1, 1, 1]
  asked = arranged.asked(both, 3)
  assert scripted.contexts(asked) == ['ab', 'xyz']


def test_columns_come_from_where_they_are_said_to_be():
  """Against a loop; there is nothing beyond a row."""
  rows = said('abcd', 'xy')
  source = [[1, 2, -1, 4, 0], [0, -3, 1, 9, 2]]
  found = arranged.moved(rows, jnp.asarray(source))
  for row, columns in enumerate(source):
    for at, column in enumerate(columns):
      there = 0 <= column < 4
      for new, old in (
        (found.content.response, rows.content.response),
        (found.response_mask, rows.response_mask),
        (found.action_mask, rows.action_mask),
        (found.logp, rows.logp),
      ):
        wanted = np.asarray(old)[row, column] if there else 0
        assert np.asarray(new)[row, at] == wanted


def test_moved_extras_are_empty_where_there_is_nothing():
  rows = said('abcd', 'xy')
  rows = rows.with_extras(support=jnp.arange(24).reshape(2, 4, 3))
  found = arranged.moved(rows, jnp.asarray([[3, 4], [-1, 0]]))
  support = np.asarray(found.extras['support'])
  assert support[0].tolist() == [[9, 10, 11], [-1] * 3]
  assert support[1].tolist() == [[-1] * 3, [12, 13, 14]]
