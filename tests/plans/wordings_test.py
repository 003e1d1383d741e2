"""One question in several words: groups, and the agreement between them."""

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import orders, variants, wordings
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


def test_too_few_wordings_are_refused():
  few = {'prompt': 'g', 'wordings': ['h']}
  for plan in (
    wordings.Wordings(samples=1, groups=3),
    variants.Variants(samples=3, wordings=3),
  ):
    (check,) = plan.contract.checks
    check(RECORDS)
    with pytest.raises(ValueError, match="1 of 3 questions .* among them 'g'"):
      check([*RECORDS, few])


@pytest.mark.parametrize(
  'plan', [wordings.Wordings(), variants.Variants(), orders.Orders()]
)
def test_all_say_that_they_ask_in_other_words(plan):
  assert plan.contract.rewords


@pytest.mark.parametrize('others', [None, '', [], 'abc'])
def test_a_text_is_one_other_wording_and_null_is_none(others):
  records = [{'prompt': 'a', 'wordings': others}]
  if others:
    wordings.enough(records, 2)
  with pytest.raises(ValueError, match="1 of 1 questions have fewer.*'a'"):
    wordings.enough(records, 3 if others else 2)
