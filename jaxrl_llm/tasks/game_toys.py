"""Toys that are moves of games, with others than the environment's answer.

As in `toys`, of which `cycle` is one as well.
"""

from __future__ import annotations

import random

from jaxrl_llm.tasks import toys

PLACES = tuple(card + done for card in '123' for done in ('', 'p', 'b', 'pb'))


def poker(
  rng: random.Random,
  *,
  length: int = 2,
  digits: int = 4,
  timid: float = 0.7,
) -> toys.Row:
  """A move of Kuhn poker: `2pb 4711=` is answered by letters of `abcdef`.

  The card that one holds and what was done, p for pass and b for bet, are the
  'place'; `tabular.speeches` says which letters are a bet. No answer is best:
  what is good depends on how one plays elsewhere. The number means nothing. The
  teacher passes too often, whatever he holds.

  Args:
    rng: source of randomness.
    length: letters of an answer.
    digits: of the number.
    timid: probability that a letter is one of `def`.

  Raises:
    ValueError: no probability.
  """
  toys.check(0 <= timid <= 1, 'timid', timid, 'in [0, 1]')
  place = rng.choice(PLACES)
  said = ''.join(
    rng.choice('def' if rng.random() < timid else 'abc') for _ in range(length)
  )
  number = toys.word(rng, digits, '0123456789')
  return {
    'prompt': f'{place} {number}=',
    'answer': said,
    'demonstration': said,
    'place': place,
  }
