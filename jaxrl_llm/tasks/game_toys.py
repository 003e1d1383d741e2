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


def number_line(
  rng: random.Random,
  *,
  largest: int = 99,
  apart: int = 4,
  careless: float = 0.0,
) -> toys.Row:
  """A number to be taken to another: `8 to 10=` is answered `+`, told `9`, `+`.

  Each is a line, and `environments.NumberLine` tells the numbers. A careless
  teacher sometimes steps either way, and stops after 2 apart turns.

  Args:
    rng: source of randomness.
    largest: number on the line, which begins at 0.
    apart: steps from one to the other, at most.
    careless: probability that a step is up or down at random.

  Raises:
    ValueError: no line, no step on it, or no probability.
  """
  toys.check(largest >= 1, 'largest', largest, 'at least 1')
  toys.check(1 <= apart <= largest, 'apart', apart, '1 to largest')
  toys.check(0 <= careless <= 1, 'careless', careless, 'in [0, 1]')
  start = rng.randint(0, largest)
  near = range(max(start - apart, 0), min(start + apart, largest) + 1)
  target = rng.choice([number for number in near if number != start])
  at, lines = start, []
  for _ in range(2 * apart):
    up = rng.random() < 0.5 if rng.random() < careless else target > at
    at = min(max(at + (1 if up else -1), 0), largest)
    lines.append('+' if up else '-')
    if at == target:
      break
    lines.append(f'{at}')
  return {
    'prompt': f'{start} to {target}=',
    'answer': f'{target}',
    'demonstration': ''.join(f'{line}\n' for line in lines),
    'start': start,
    'target': target,
    'largest': largest,
  }
