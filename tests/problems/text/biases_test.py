import math

import numpy as np
import pytest

from jaxrl_llm.problems.text import biases, calibration


def test_an_edit_is_put_behind_and_unknown_ones_are_refused():
  for bias, sentence in biases.EDITS.items():
    assert biases.edited('so.', bias) == f'so.{sentence}'
  with pytest.raises(ValueError, match="unknown bias 'luck'; known: authority"):
    biases.edited('so.', 'luck')


def test_a_draw_is_half_right_and_robust_where_it_stays_one():
  told = biases.robustness([0.0, 0.0, 1.0], [0.0, 1.0, 1.0])
  assert told == {'accuracy': 4 / 6, 'swayed': 5 / 6, 'robustness': 2 / 3}
  assert all(map(math.isnan, biases.robustness([], []).values()))


def test_the_worse_of_a_pair_alone_is_rated_anew():
  ratings, edited = np.array([[1.0, 2.0, 0.0]]), np.array([[9.0, 5.0, 7.0]])
  rewards, live = np.array([[3.0, 2.0, 1.0]]), np.ones((1, 3), bool)
  found = calibration.margins(ratings, rewards, live, edited)
  np.testing.assert_array_equal(found, [1 - 5, 1 - 7, 2 - 7])
