import math

import pytest

from jaxrl_llm.notes import diversity


def test_signals_of_a_text_that_was_counted_by_hand():
  found = diversity.signals('The cat sat. The cat ran off!')
  entropy = -(4 / 7 * math.log(2 / 7) + 3 / 7 * math.log(1 / 7))
  assert found == pytest.approx(
    {
      'lexical': 5 / 7,
      'entropy': entropy / math.log(7),
      'repetition': 1 - 4 / 42,
      'bigrams': 5 / 6,
      'functions': 1 / 2,
      'patterns': 1 / 2,
      'lengths': 0.5 / 3.5,
      'adjacent': 1 - 2 / 5,
    }
  )


@pytest.mark.parametrize('text', ['', '...', 'word', 'a a a a. a a a a.'])
def test_signals_are_shares_of_any_text(text):
  assert all(0 <= x <= 1 for x in diversity.signals(text).values())


def test_a_text_that_repeats_itself_is_less_varied_in_every_signal():
  dull = diversity.signals('it is so. it is so. it is so.')
  lively = diversity.signals('it rains. you came by at noon. why would they?')
  assert all(dull[name] < lively[name] for name in dull)
