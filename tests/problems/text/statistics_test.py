"""What every statistic of evaluation keeps to."""

import itertools

import numpy as np
import pytest

from jaxrl_llm.catalogue.pieces import pieces
from jaxrl_llm.problems.text import biases, comparisons, evaluate

ANSWERS = ('a', 'b', 'a', '', 'c')
K = 3
# f(marks bool[n], answers) of one question, smallest and largest number.
STATISTICS = {
  'evaluate.pass_at_k': lambda marks, answers: [
    evaluate.pass_at_k(len(marks), marks.sum(), K)
  ],
  'evaluate.maj_at_k': lambda marks, answers: [
    evaluate.maj_at_k(marks, answers, K)
  ],
  'evaluate.wilson_interval': lambda marks, answers: evaluate.wilson_interval(
    marks.sum(), len(marks)
  ),
  'comparisons.posterior_interval': lambda marks, answers: (
    comparisons.posterior_interval(marks.sum(), len(marks))
  ),
  'comparisons.probability_of_more': lambda marks, answers: [
    comparisons.probability_of_more(marks.sum(), len(marks), 2, 7)
  ],
  # A mark is a right verdict that an edit leaves as it was.
  'biases.robustness': lambda marks, answers: [
    biases.robustness(np.ones(len(marks)), 2.0 * marks - 1)[name]
    for name in ('robustness', 'swayed')
  ],
}
each = pytest.mark.parametrize('name', STATISTICS)
MARKS = [np.array(x) for x in itertools.product([False, True], repeat=5)]


def test_every_listed_statistic_is_here():
  listed = {piece.name for piece in pieces() if piece.kind == 'statistic'}
  assert {f'problems.text.{name}' for name in STATISTICS} == listed


@each
def test_it_is_a_share(name):
  for marks in MARKS:
    found = STATISTICS[name](marks, ANSWERS)
    assert 0 <= found[0] <= found[-1] <= 1


@each
def test_the_order_of_answers_does_not_matter(name):
  order = np.array([3, 1, 4, 0, 2])
  moved = [ANSWERS[i] for i in order]
  for marks in MARKS:
    np.testing.assert_allclose(
      STATISTICS[name](marks[order], moved), STATISTICS[name](marks, ANSWERS)
    )


@each
def test_one_more_right_answer_lowers_nothing(name):
  for marks in MARKS:
    for i in np.flatnonzero(~marks):
      more = marks.copy()
      more[i] = True
      found = np.subtract(
        STATISTICS[name](more, ANSWERS), STATISTICS[name](marks, ANSWERS)
      )
      assert np.all(found >= -1e-12)


@each
def test_all_or_none_right_can_be_certain(name):
  none, *_, whole = MARKS
  if name.startswith('comparisons.'):  # Posteriors are sure of nothing.
    ends = [STATISTICS[name](marks, ANSWERS) for marks in (none, whole)]
    assert 0 < ends[0][0] < ends[1][-1] < 1
    return
  assert STATISTICS[name](none, ANSWERS)[0] == 0
  np.testing.assert_allclose(STATISTICS[name](whole, ANSWERS)[-1], 1)
