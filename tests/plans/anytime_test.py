import jax
import numpy as np
import pytest

from jaxrl_llm.plans import anytime
from tests.plans import scripted

KEY = jax.random.key(0)


def collect(plan, thoughts, columns=10, judge=lambda text, record: 0.0):
  """Rows of a policy that thinks so in turn, and then says how far it came."""
  said = iter(thoughts * 2)

  def reply(text, i):
    return f'{len(text)}{i}' if text.endswith('>') else next(said)

  tools = scripted.Scripted(reply, columns=columns, judge=judge)
  return *plan.collect(tools, scripted.ask('q', 'r'), (), KEY)[:2], tools


def test_every_thought_is_answered_from_every_budget():
  # (10 - 1) 0.9 = 8 tokens of a thought, budgets 4 and 8.
  plan = anytime.Anytime(samples=2, budgets=2, answers=2, share=0.9, end='>')
  rollouts, _, _ = collect(plan, ['abcdef', 'xyz'])
  texts = scripted.words(rollouts)
  own = [
    *('abcdef', 'xyz'),
    *('abcd>60', 'abcd>61', 'abcdef>80', 'abcdef>81'),
    *('xyz>50', 'xyz>51', 'xyz>50', 'xyz>51'),
  ]
  assert texts == own * 2
  extras = rollouts.extras
  assert extras['role'].tolist() == [0, 0, *[1] * 8] * 2
  assert extras['trajectory'].tolist() == [0, 1, *[0] * 4, *[1] * 4] * 2
  # The second thought ended within its first budget.
  assert extras['exit'].tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 0] * 2
  assert extras['segment'][0].tolist() == [0] * 4 + [1] * 6
  assert rollouts.group.tolist() == [0] * 10 + [1] * 10


def test_a_thought_keeps_its_end_and_answers_are_actions_alone():
  plan = anytime.Anytime(samples=1, budgets=1, answers=1, share=0.9, end='>')
  rollouts, _, _ = collect(plan, ['ab>c'])
  assert scripted.words(rollouts)[:2] == ['ab>', 'ab>40']
  actions = rollouts.action_mask.astype(int)
  assert actions[0].tolist() == [1] * 3 + [0] * 7
  # Two digits, and what ends them.
  assert actions[1].tolist() == [0] * 3 + [1] * 3 + [0] * 4
  assert not rollouts.logp[1, :3].any()


def test_a_thought_has_the_mean_score_of_the_answers_that_could_be_judged():
  plan = anytime.Anytime(samples=1, budgets=2, answers=2, share=0.9, end='>')

  def judge(text, record):
    return None if text == 'abcd>61' else float(text.startswith('abcd>'))

  rollouts, scores, _ = collect(plan, ['abcdef'], judge=judge)
  found = scores.components[:5, 0].tolist()
  np.testing.assert_allclose(found, [1 / 3, 1, 0, 0, 0])
  assert rollouts.valid[:5].tolist() == [True, True, False, True, True]


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    ({'samples': 0}, '0 samples of 4 budgets'),
    ({'answers': 0}, 'with 0 answers'),
    ({'share': 1.0}, 'a share of 1 leaves no room'),
  ],
)
def test_plans_without_rows_or_room_are_refused(values, message):
  with pytest.raises(ValueError, match=message):
    anytime.Anytime(**values)


def test_more_budgets_than_tokens_are_refused():
  plan = anytime.Anytime(samples=1, budgets=9, end='>')
  with pytest.raises(
    ValueError, match='8 tokens of a thought are no 9 budgets'
  ):
    collect(plan, ['a'])
