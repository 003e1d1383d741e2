"""One question in several words: groups, and the agreement between them."""

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import orders, wordings
from jaxrl_llm.rewards import behaviour
from tests.plans import scripted

KEY = jax.random.key(0)
RECORDS = (
  {'prompt': 'a', 'wordings': ['b', 'c']},
  {'prompt': 'd', 'wordings': ['e', 'f']},
)


def collect(plan, reply=lambda text, i: text + str(i)):
  tools = scripted.Scripted(reply, records=RECORDS)
  return plan.collect(tools, scripted.ask('a', 'd'), (), KEY)[0]


def test_every_wording_has_a_group():
  rollouts = collect(wordings.Wordings(samples=2, groups=3))
  expected = [f'{p}{i}' for p in 'abcdef' for i in range(2)]
  assert scripted.words(rollouts) == expected
  assert rollouts.group.tolist() == [n // 2 for n in range(12)]
  assert rollouts.task.tolist() == [0] * 6 + [1] * 6


def test_agreement_is_with_other_wordings_of_the_same_question():
  said = {'a': 'x', 'b': 'x', 'd': 'x', 'e': 'y'}
  rollouts = collect(
    wordings.Wordings(samples=2, groups=2), lambda text, i: said[text]
  )
  np.testing.assert_allclose(
    rollouts.extras['agreement'], [1] * 4 + [0] * 4, atol=1e-6
  )


def test_variants_share_one_group():
  rollouts = collect(wordings.Variants(samples=4, wordings=2))
  assert scripted.words(rollouts)[:4] == ['a0', 'a1', 'b0', 'b1']
  assert rollouts.group.tolist() == [0] * 4 + [1] * 4


def test_too_few_wordings_are_refused():
  few = {'prompt': 'g', 'wordings': ['h']}
  for plan in (
    wordings.Wordings(samples=1, groups=3),
    wordings.Variants(samples=3, wordings=3),
  ):
    (check,) = plan.contract.checks
    check(RECORDS)
    with pytest.raises(ValueError, match="1 of 3 questions .* among them 'g'"):
      check([*RECORDS, few])


def test_wordings_that_do_not_share_the_samples_are_refused():
  with pytest.raises(ValueError, match='8 samples .* 3 wordings'):
    wordings.Variants(samples=8, wordings=3)


def test_orders_are_judged_by_their_own_answers_and_paired():
  records = (
    {'prompt': 'a', 'wordings': ['b'], 'answers': ['a0', 'b1']},
    {'prompt': 'd', 'wordings': ['e'], 'answers': ['d1', 'e1']},
  )
  tools = scripted.Scripted(
    lambda text, i: f'{text}{i}',
    judge=lambda text, row: float(text == row['answer']),
    records=records,
  )
  plan = orders.Orders(samples=2, orders=2)
  rollouts, scores, _ = plan.collect(tools, scripted.ask('a', 'd'), (), KEY)
  assert scores.components[:, 0].tolist() == [1, 0, 0, 1, 0, 1, 0, 1]
  assert rollouts.extras['bundle'].tolist() == [0] * 4 + [1] * 4
  assert rollouts.extras['paper'].tolist() == [0, 1] * 4
  shaped = behaviour.in_every_order(scores.components[:, 0], rollouts)
  assert shaped.tolist() == [0, 0, 0, 0, 0, 1, 0, 1]


@pytest.mark.parametrize(
  'plan', [wordings.Wordings(), wordings.Variants(), orders.Orders()]
)
def test_all_say_that_they_ask_in_other_words(plan):
  assert plan.contract.rewords


def test_orders_without_answers_of_their_own_are_refused():
  _, check = orders.Orders(samples=1).contract.checks
  with pytest.raises(ValueError, match='fewer answers .* .a.;'):
    check(RECORDS)


@pytest.mark.parametrize('others', [None, '', [], 'abc'])
def test_a_text_is_one_other_wording_and_null_is_none(others):
  records = [{'prompt': 'a', 'wordings': others}]
  if others:
    wordings.enough(records, 2)
  with pytest.raises(ValueError, match="1 of 1 questions have fewer.*'a'"):
    wordings.enough(records, 3 if others else 2)
