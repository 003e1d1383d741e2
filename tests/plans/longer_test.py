"""Thoughts whose end is taken back."""

import jax
import jax.numpy as jnp
import pytest

from jaxrl_llm.plans import longer
from tests.plans import scripted

KEY = jax.random.key(0)


def applied(times, first, columns=12):
  """What responses become where the policy says its length at each wait."""

  def reply(text, i):
    return f'{len(text)}>y'

  tools = scripted.Scripted(reply, columns=columns)
  prompts = scripted.ask(*'q' * len(first))
  rows = scripted.answer(prompts, first, columns)
  waiting = longer.Waiting(times, '?', '>')
  return waiting.apply(tools, rows, KEY), tools


@pytest.mark.parametrize(
  ('times', 'said'), [(0, 'ab>x'), (1, 'ab?4>y'), (2, 'ab?4?6>y')]
)
def test_the_end_of_a_thought_is_taken_back_so_many_times(times, said):
  rows, _ = applied(times, ['ab>x'])
  assert scripted.words(rows) == [said]


def test_what_has_no_end_or_no_room_behind_it_stays_as_it_is():
  first = ['ab', 'abcdefg>x', 'abcdefghij', 'a>x']
  rows, _ = applied(1, first, columns=8)
  # The second fills the budget with its thought, and the third all of it.
  assert scripted.words(rows) == ['ab', 'abcdefg>', 'abcdefgh', 'a?3>y']
  assert rows.truncated.tolist() == [False, True, True, False]


def test_what_is_said_in_its_place_is_no_action():
  rows, _ = applied(1, ['ab>x'])
  given = rows.content.response == scripted.encode('?')[0]
  assert int(given.sum()) == 1
  assert not jnp.any(rows.action_mask & given)


@pytest.mark.parametrize('wrong', [(-1, 'w', 'e'), (1, '', 'e'), (1, 'w', '')])
def test_nothing_to_say_and_no_times_are_refused(wrong):
  with pytest.raises(ValueError, match='must be 0 or more, and neither text'):
    longer.Waiting(*wrong)
