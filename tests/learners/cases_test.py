import dataclasses

import jax
import numpy as np
import pytest

from jaxrl_llm.learners.cases import (
  Bank,
  Case,
  LikelyCases,
  NearestCases,
  SoftCases,
  bigrams,
  marked,
)

KEY = jax.random.key(0)
WORDS = {'a': [1.0, 0.0], 'b': [0.6, 0.8], 'c': [0.0, 1.0]}


def encode(texts):
  return np.array([WORDS[text] for text in texts])


def echo(prompts, key):
  return [f'<{prompt}>' for prompt in prompts]


BANK = Bank(
  cases=(Case('a', '1', 1.0), Case('b', '2', 0.0), Case('c', '3', 1.0)),
  tries=(
    ('a', 0, 1.0),
    ('b', 0, 0.0),
    ('c', 0, 0.0),
    ('c', 2, 1.0),
    ('a', 2, 0.5),
    ('b', 1, 0.0),
  ),
)
MAKES = {
  each: each(echo, encode=encode)
  for each in (NearestCases, LikelyCases, SoftCases)
}
every = pytest.mark.parametrize(
  'learner', MAKES.values(), ids=lambda x: type(x).__name__
)


def test_encodings_are_of_length_one_and_alike_where_texts_are():
  found = bigrams(['sort 12=', 'sort 13=', 'move 90='])
  np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
  near, far = found[0] @ found[1], found[0] @ found[2]
  assert 1 > near > far > 0
  np.testing.assert_array_equal(bigrams(['sort 12='])[0], found[0])


@every
def test_without_cases_the_question_stands_alone(learner):
  answers, bank = learner.act(learner.init(), ['a', 'b'], KEY)
  assert answers == ['<a>', '<b>'] and bank.shown == ((), ())


@every
def test_what_was_said_becomes_a_case_and_what_was_shown_a_try(learner):
  bank = learner.init()
  asked = ['a', 'c']
  for round_number in range(2):
    answers, bank = learner.act(
      bank, asked, jax.random.fold_in(KEY, round_number)
    )
    shown = bank.shown
    bank = learner.update(bank, asked, answers, np.array([1.0, 0.0]))
  assert [case.question for case in bank.cases] == ['a', 'c', 'a', 'c']
  assert [case.reward for case in bank.cases] == [1.0, 0.0, 1.0, 0.0]
  tries = [
    (question, case, reward)
    for question, reward, each in zip(asked, (1.0, 0.0), shown)
    for case in each
  ]
  assert bank.tries == tuple(tries) != ()
  # The second answers are to prompts with cases in them.
  assert bank.cases[2].answer.count('<') == 1 + len(shown[0])


def test_nearest_are_those_of_the_largest_cosine():
  learner = dataclasses.replace(MAKES[NearestCases], top=2)
  answers, bank = learner.act(BANK, ['a', 'c'], KEY)
  assert bank.shown == ((0, 1), (2, 1))
  assert answers[0] == '<a1 right\nb2 wrong\na>'
  assert marked([], 'a') == 'a'


def test_likely_cases_begin_as_the_nearest():
  likely, nearest = MAKES[LikelyCases], MAKES[NearestCases]
  bank = BANK._replace(weights=likely.init().weights)
  asked = ['a', 'b', 'c']
  assert likely.retrieved(bank, asked, KEY) == nearest.retrieved(
    BANK, asked, KEY
  )


def test_likelihoods_follow_the_gradient_of_the_cross_entropy():
  learner = dataclasses.replace(MAKES[LikelyCases], rate=0.3, passes=2)
  bank = BANK._replace(weights=(0.1, 0.8, -0.3, 0.5))
  weights = list(bank.weights)
  for _ in range(2):
    total = [0.0] * 4
    for question, number, reward in bank.tries:
      case = bank.cases[number]
      near = sum(x * y for x, y in zip(WORDS[question], WORDS[case.question]))
      x = [1, near, case.reward, near * case.reward]
      q = 1 / (1 + np.exp(-sum(a * b for a, b in zip(weights, x))))
      total = [t + (q - reward) * b / len(bank.tries) for t, b in zip(total, x)]
    weights = [w - 0.3 * t for w, t in zip(weights, total)]
  np.testing.assert_allclose(learner.learned(bank), weights)


def kernel_value(width, question, number, tries, prior):
  """Equation 9, one try after another."""
  top = bottom = 0.0
  for other, case, reward in tries:
    if case == number:
      near = sum(x * y for x, y in zip(WORDS[question], WORDS[other]))
      k = np.exp(-np.exp(width) * (1 - near))
      top, bottom = top + k * reward, bottom + k
  return top / bottom if bottom else prior


def test_soft_values_are_kernel_means_of_the_tries_of_a_case():
  learner = dataclasses.replace(MAKES[SoftCases], prior=0.25)
  bank = BANK._replace(cases=(*BANK.cases, Case('a', '4', 0.0)), weights=(0.7,))
  expected = [
    [kernel_value(0.7, question, i, bank.tries, 0.25) for i in range(4)]
    for question in 'abc'
  ]
  np.testing.assert_allclose(learner.values(bank, list('abc')), expected)


def test_the_slope_is_that_of_the_error_with_each_try_left_out():
  learner, bank = MAKES[SoftCases], BANK._replace(weights=(0.7,))

  def error(width):
    errors = []
    for i, (question, case, reward) in enumerate(bank.tries):
      others = bank.tries[:i] + bank.tries[i + 1 :]
      value = kernel_value(width, question, case, others, reward)
      errors.append((value - reward) ** 2)
    return np.mean(errors)

  numeric = (error(0.7 + 1e-5) - error(0.7 - 1e-5)) / 2e-5
  np.testing.assert_allclose(learner.slope(bank), numeric, rtol=1e-6)
  assert learner.learned(bank) == (0.7 - learner.rate * learner.slope(bank),)


@pytest.mark.parametrize('temperature', [0.5, 1e9, 1e-9])
def test_cases_are_drawn_by_the_softmax_of_their_values(temperature):
  """At a high temperature each alike, at a low one the best alone."""
  learner = dataclasses.replace(MAKES[SoftCases], temperature=temperature)
  bank = BANK._replace(weights=(0.7,))
  drawn = [i for [i] in learner.retrieved(bank, ['a'] * 4000, KEY)]
  soft = np.array(learner.values(bank, ['a'])[0]) / temperature
  chances = np.exp(soft - soft.max())
  shares = np.bincount(drawn, minlength=3) / 4000
  # Four standard errors of a share of one half.
  np.testing.assert_allclose(
    shares, chances / chances.sum(), atol=4 * 0.5 / 4000**0.5
  )
