import jax
import pytest

from jaxrl_llm.plans import tightened
from jaxrl_llm.types import Spec
from tests.plans import scripted


def collect(plan, tools, iterations):
  """The budgets of so many iterations, and the last rollouts."""
  state, budgets = plan.init(Spec(4, 2, 1, 6)), []
  for _ in range(iterations):
    rollouts, _, state = plan.collect(
      tools, scripted.ask('q', 'r'), state, jax.random.key(0)
    )
    budgets.append(set(rollouts.extras['budget'].tolist()))
  return budgets, rollouts


def test_the_budget_falls_in_steps_and_not_below_a_token():
  plan = tightened.Tightened(samples=2, start=6.0, decay=0.5, every=2)
  tools = scripted.Scripted(lambda text, i: 'a')
  budgets, rollouts = collect(plan, tools, 8)
  assert budgets == [{6}, {6}, {3}, {3}, {1.5}, {1.5}, {1}, {1}]
  assert tools.notes['plan/budget'] == 1
  assert scripted.words(rollouts) == ['a'] * 4
  assert tools.asked[-1] == ['q', 'r']


def test_a_sentence_tells_the_budget_of_the_iteration():
  plan = tightened.Tightened(
    samples=1, start=5.0, decay=0.5, every=1, sentence=' in {budget}'
  )
  records = [{'prompt': 'q'}, {'prompt': 'r'}]
  tools = scripted.Scripted(lambda text, i: text[-1], records=records)
  _, rollouts = collect(plan, tools, 2)
  assert tools.asked == [['q in 5', 'r in 5'], ['q in 2', 'r in 2']]
  assert scripted.words(rollouts) == ['2', '2']


def test_a_sentence_alone_asks_in_other_words():
  assert not tightened.Tightened().contract.rewords
  assert tightened.Tightened(sentence=' in {budget}').contract.rewords


@pytest.mark.parametrize(
  ('content', 'more'),
  [
    ('why?', 'why? in 5'),
    (
      [{'type': 'image'}],
      [{'type': 'image'}, {'type': 'text', 'text': ' in 5'}],
    ),
  ],
)
def test_the_sentence_ends_the_last_of_several_messages(content, more):
  before = {'role': 'system', 'content': 's'}
  asked = [before, {'role': 'user', 'content': content}]
  found = tightened.with_sentence(asked, ' in 5')
  assert found == [before, {'role': 'user', 'content': more}]
  assert asked[1]['content'] == content


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    ({'start': 0.5}, 'a budget of 0.5 tokens'),
    ({'decay': 1.5}, 'times 1.5'),
    ({'every': 0}, 'every 0 iterations'),
    ({'sentence': 'be brief'}, "'be brief' does not tell the budget"),
  ],
)
def test_what_does_not_tighten_or_tell_is_refused(values, message):
  with pytest.raises(ValueError, match=message):
    tightened.Tightened(**values)
