import math

import numpy as np
import pytest

from jaxrl_llm.tasks import bleu


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
  np.testing.assert_allclose(bleu.shared(text, other), value, rtol=1e-12)


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
  assert bleu.within(rows) == pytest.approx(wanted)
