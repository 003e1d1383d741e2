import jax
import numpy as np
import pytest

from jaxrl_llm.plans import exits
from tests.plans import scripted

KEY = jax.random.key(0)


def collect(plan, thought, columns=12, prompts=('q', 'r')):
  """Rows of a policy that thinks so, and at an exit says how far it came."""

  def reply(text, i):
    return str(len(text)) if text.endswith('!') else thought

  tools = scripted.Scripted(reply, columns=columns)
  rollouts, _, _ = plan.collect(tools, scripted.ask(*prompts), (), KEY)
  return rollouts, tools


def test_every_row_begins_as_the_thought_and_answers_where_it_left_it():
  plan = exits.Exits(samples=5, said='!', end='>')
  rollouts, _ = collect(plan, 'abcdef>x')
  texts = scripted.words(rollouts)
  for group in (texts[:5], texts[5:]):
    cuts = [text.index('!') for text in group[:-1]]
    assert cuts == sorted(cuts) and 1 <= cuts[0] and cuts[-1] <= 6
    assert len({*cuts}) > 1
    said = [f'{"abcdef"[:cut]}!{cut + 2}' for cut in cuts]
    assert group == [*said, 'abcdef>x']
  assert texts[:4] != texts[5:9]
  assert rollouts.group.tolist() == [0] * 5 + [1] * 5
  assert rollouts.extras['exit'].tolist() == [0, 1, 2, 3, 4] * 2


def test_what_is_said_at_an_exit_is_no_action_and_all_else_is():
  plan = exits.Exits(samples=3, said='!', end='>')
  rollouts, _ = collect(plan, 'abc>x')
  tokens = np.asarray(rollouts.content.response)
  given = tokens == scripted.encode('!')[0]
  assert given.sum() == 4
  mask = np.asarray(rollouts.response_mask)
  np.testing.assert_array_equal(rollouts.action_mask, mask & ~given)
  logp = np.where(mask & ~given, -tokens / 10, 0)
  np.testing.assert_allclose(rollouts.logp, logp, rtol=1e-6)


@pytest.mark.parametrize(
  ('thought', 'columns', 'longest'),
  [
    ('abcd', 12, 4),  # no end: what ended the response is no thought
    ('abcdefghijkl', 8, 6),  # an exit leaves room for an answer
    ('>x', 12, 0),  # nothing was thought
  ],
)
def test_exits_lie_within_the_thought_and_leave_room(thought, columns, longest):
  plan = exits.Exits(samples=9, said='!', end='>')
  rollouts, tools = collect(plan, thought, columns=columns)
  cuts = [len(text) - 2 for text in tools.asked[1]]
  assert max(cuts) == longest
  assert min(cuts) >= min(longest, 1)
  assert len(cuts) == 16
  assert rollouts.response_mask.shape == (18, columns)


@pytest.mark.parametrize(
  ('said', 'lengths'), [('ab>c', (2, 3)), ('abc', (3, 4)), ('>', (0, 1))]
)
def test_the_end_of_a_thought_may_be_counted_or_not(said, lengths):
  prompts = scripted.ask('q')
  tools = scripted.Scripted(lambda text, i: said)
  rollouts = scripted.answer(prompts, [said], 8)
  found = exits.ended(tools, rollouts, '>')
  assert tuple(int(x[0]) for x in found) == lengths


def test_a_thought_that_the_budget_ended_is_all_there_is():
  tools = scripted.Scripted(lambda text, i: 'abc')
  rollouts = scripted.answer(scripted.ask('q'), ['abcdef'], 4)
  assert [int(x[0]) for x in exits.ended(tools, rollouts, '>')] == [4, 4]


def test_a_response_without_an_exit_is_refused():
  with pytest.raises(ValueError, match='no exit beside'):
    exits.Exits(samples=1)
