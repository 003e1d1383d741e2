"""Statistics of evaluation against enumeration of every subset."""

import collections
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_llm.problems.text import evaluate


@pytest.mark.parametrize('n', [1, 2, 5, 7])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(n):
  for c in range(n + 1):
    marks = [1] * c + [0] * (n - c)
    for k in range(1, n + 1):
      subsets = list(itertools.combinations(marks, k))
      expected = np.mean([any(s) for s in subsets])
      np.testing.assert_allclose(
        evaluate.pass_at_k(n, c, k), expected, atol=1e-12
      )


def test_pass_at_k_takes_questions_with_other_sample_counts():
  found = evaluate.pass_at_k([4, 2, 9], [1, 0, 9], 2)
  np.testing.assert_allclose(found, [0.5, 0, 1])


def test_pass_at_k_is_stable_for_many_samples():
  found = float(evaluate.pass_at_k(10_000, 3, 100))
  exact = 1 - math.comb(9_997, 100) / math.comb(10_000, 100)
  assert found == pytest.approx(exact, rel=1e-9)


def subset_majority(correct, answers, k):
  """Mean over subsets; a tie counts the share of its winners."""
  right = collections.defaultdict(list)
  for good, answer in zip(correct, answers):
    right[answer].append(good)
  values = []
  for subset in itertools.combinations(answers, k):
    votes = collections.Counter(a for a in subset if a)
    top = max(votes.values(), default=0)
    winners = [a for a, v in votes.items() if v == top]
    values.append(np.mean([np.mean(right[a]) for a in winners] or [0]))
  return np.mean(values)


@given(
  st.lists(
    st.tuples(st.sampled_from(['', 'a', 'b', 'c']), st.booleans()),
    min_size=1,
    max_size=7,
  ),
  st.data(),
)
@settings(max_examples=80, deadline=None)
def test_maj_at_k_agrees_with_enumeration(rows, draws):
  answers, correct = zip(*rows)
  k = draws.draw(st.integers(1, len(rows)))
  np.testing.assert_allclose(
    evaluate.maj_at_k(correct, answers, k),
    subset_majority(correct, answers, k),
    atol=1e-12,
  )


def test_majority_of_all_is_the_plain_vote():
  assert evaluate.maj_at_k([1, 1, 0], ['a', 'a', 'b'], 3) == 1
  assert evaluate.maj_at_k([1, 0, 0], ['a', 'b', 'b'], 3) == 0
  assert evaluate.maj_at_k([1, 0], ['a', 'b'], 2) == 0.5
  assert evaluate.maj_at_k([0, 0], ['', ''], 2) == 0


def test_maj_at_k_of_many_samples_is_a_probability():
  correct = np.arange(200) % 3 == 0
  answers = ['a' if c else str(i % 5) for i, c in enumerate(correct)]
  found = evaluate.maj_at_k(correct, answers, 64)
  assert 0.9 < found <= 1


def test_wilson_interval_of_a_published_table():
  # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263, 0 of 20.
  np.testing.assert_allclose(
    evaluate.wilson_interval(81, 263), (0.2553, 0.3662), atol=5e-5
  )
  np.testing.assert_allclose(
    evaluate.wilson_interval(0, 20), (0, 0.1611), atol=5e-5
  )


@given(st.integers(1, 500), st.floats(0, 1))
def test_interval_holds_its_estimate(trials, share):
  successes = share * trials
  low, high = evaluate.wilson_interval(successes, trials)
  assert 0 <= low <= successes / trials <= high <= 1


def test_summary_of_two_questions():
  correct = [[1, 1, 0, 0], [0, 0, 0, 0]]
  answers = [['a', 'a', 'b', 'c'], ['x', 'y', '', '']]
  found = evaluate.summarize(correct, answers, [1, 4])
  assert found['pass@1'] == 0.25
  assert found['pass@4'] == 0.5
  assert found['maj@4'] == 0.5
  assert 'maj@1' not in found
  assert found['pass@4/low'] < 0.5 < found['pass@4/high']
  assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize(
  ('call', 'message'),
  [
    (lambda: evaluate.pass_at_k([4, 2], 1, 3), 'go down to 2'),
    (lambda: evaluate.pass_at_k(4, 1, 0), 'pass@0 needs'),
    (lambda: evaluate.pass_at_k(4, 5, 1), '5 right answers of 4'),
    (lambda: evaluate.maj_at_k([1], ['a'], 2), 'maj@2 of 1 answers'),
    (lambda: evaluate.maj_at_k([1], ['a', 'b'], 1), '1 marks for 2 answers'),
    (lambda: evaluate.wilson_interval(0, 0), '0 successes in 0 trials'),
    (lambda: evaluate.wilson_interval(3, 2), '3 successes in 2 trials'),
    (
      lambda: evaluate.wilson_interval(1, 2, confidence=95),
      'confidence in',
    ),
    (lambda: evaluate.summarize(np.zeros((0, 0)), [], [1]), 'marks of shape'),
    (lambda: evaluate.summarize([[1, 0]], [['a']], [1]), 'marks of shape'),
  ],
)
def test_impossible_requests_name_their_numbers(call, message):
  with pytest.raises(ValueError, match=message):
    call()
