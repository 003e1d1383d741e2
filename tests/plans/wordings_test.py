"""One question in several words: groups, and the agreement between them."""

import math

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import wordings
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


@pytest.mark.parametrize(
  ('text', 'other', 'value'),
  [
    ('a b c', 'a b c', 1),
    ('a', 'a', 1),
    ('a b', 'c d', 0),
    ('', 'a', 0),
    ('a', '', 0),
    # One of two pairs, and two of three words.
    ('a b c', 'a b d', math.sqrt(2 / 3 * 1 / 2)),
    # A word counts as often as the other has it.
    ('a a b', 'a b', math.sqrt(2 / 3 * 1 / 2)),
    # Shorter than the other by half.
    ('a b', 'a b c d', math.exp(1 - 4 / 2)),
  ],
)
def test_bleu_of_words_and_pairs(text, other, value):
  np.testing.assert_allclose(wordings.bleu(text, other), value, rtol=1e-12)


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
  plan = wordings.Orders(samples=2, orders=2)
  rollouts, scores, _ = plan.collect(tools, scripted.ask('a', 'd'), (), KEY)
  assert scores.components[:, 0].tolist() == [1, 0, 0, 1, 0, 1, 0, 1]
  assert rollouts.extras['bundle'].tolist() == [0] * 4 + [1] * 4
  assert rollouts.extras['paper'].tolist() == [0, 1] * 4
  shaped = behaviour.in_every_order(scores.components[:, 0], rollouts)
  assert shaped.tolist() == [0, 0, 0, 0, 0, 1, 0, 1]


@pytest.mark.parametrize(
  'plan', [wordings.Wordings(), wordings.Variants(), wordings.Orders()]
)
def test_all_say_that_they_ask_in_other_words(plan):
  assert plan.contract.rewords


def test_orders_without_answers_of_their_own_are_refused():
  _, check = wordings.Orders(samples=1).contract.checks
  with pytest.raises(ValueError, match='2 of 2 questions have fewer, .* .a.;'):
    check(RECORDS)


@pytest.mark.parametrize('others', [None, '', [], 'abc'])
def test_a_text_is_one_other_wording_and_null_is_none(others):
  records = [{'prompt': 'a', 'wordings': others}]
  if others:
    wordings.enough(records, 2)
  with pytest.raises(ValueError, match="1 of 1 questions have fewer.*'a'"):
    wordings.enough(records, 3 if others else 2)


@pytest.mark.parametrize(
  ('rows', 'wanted'),
  [
    ([], 0),
    (['abc'], 0),
    (['abcd', 'abcd', 'abcd'], 1),
    # All of abc is found, in longer ones: exp(1 - 4 / 3) = 0.716531.
    (
      ['abc', 'abcd', 'xabc'],
      (0.716531 + 2 * (3 / 4 * 2 / 3 * 1 / 2) ** (1 / 3)) / 3,
    ),
    # Nothing in common counts 0, for either.
    (['abc', 'xyz'], 0),
    # As often as in the one that has it most often.
    (['aaaa', 'aab'], None),
  ],
)
def test_self_bleu_is_that_of_each_to_all_others(rows, wanted):
  if wanted is None:
    first = (2 / 4 * 1 / 3 * 0.1 / 2) ** (1 / 3)
    second = math.exp(1 - 4 / 3) * (2 / 3 * 1 / 2 * 0.1 / 1) ** (1 / 3)
    wanted = (first + second) / 2
  assert wordings.self_bleu(rows) == pytest.approx(wanted)
