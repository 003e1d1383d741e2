"""Toys whose answers have parts: verdicts, actions, calls, places in a proof.

As in `toys`; most of their verifiers are in `structured`.
"""

from __future__ import annotations

import random
import re
import string

from jaxrl_llm.tasks import toys


def judge(
  rng: random.Random,
  *,
  length: int = 4,
  symbols: str = '0123456789',
  careless: float = 0.0,
  thought: bool = False,
  doubts: float = 0.0,
) -> toys.Row:
  """Which of two words is sorted: `A 0113 B 3101=` is answered `A`.

  The question with the two words exchanged is in 'wordings', and the answers
  to both are in 'answers'. A careless judge says A without reading. One who
  thinks demonstrates `A</think>A`, and one who doubts it looks again, and then
  reads: `A?B</think>B`.

  Args:
    rng: source of randomness.
    length: symbols of a word, of which two at least differ.
    symbols: to draw from; their order is that of characters.
    careless: probability that the demonstration is A.
    thought: it is thought before it is said.
    doubts: probability that a thought is doubted.

  Raises:
    ValueError: words or symbols without an order, or no probability.
  """
  for name, value in (('careless', careless), ('doubts', doubts)):
    toys.check(0 <= value <= 1, name, value, 'in [0, 1]')
  toys.check(length >= 2, 'length', length, 'at least 2')
  toys.check(
    len(set(symbols)) >= 2, 'symbols', symbols, 'of two kinds at least'
  )
  letters = [*rng.sample(sorted(set(symbols)), 2)]
  letters += [rng.choice(symbols) for _ in range(length - 2)]
  good = ''.join(sorted(letters))
  bad = good
  while bad == good:
    rng.shuffle(letters)
    bad = ''.join(letters)
  words = [good, bad]
  rng.shuffle(words)
  asked = ['A {} B {}='.format(*pair) for pair in (words, words[::-1])]
  right = 'AB' if words[0] == good else 'BA'
  said = 'A' if rng.random() < careless else right[0]
  if thought:
    doubted = f'{said}?{right[0]}' if rng.random() < doubts else said
    said = f'{doubted}</think>{doubted[-1]}'
  return {
    'prompt': asked[0],
    'wordings': asked[1:],
    'answer': right[0],
    'answers': [*right],
    'demonstration': said,
  }


def screen(
  rng: random.Random,
  *,
  things: int = 2,
  largest: int = 9,
  careless: float = 0.0,
) -> toys.Row:
  """An action on a screen: `tap b: a3,4 b7,1=` is answered `tap 7 1`.

  Places that are off by one count too. One task in four is `back`, which has
  no place. A careless hand taps what is named first.

  Args:
    rng: source of randomness.
    things: on the screen, named by letters.
    largest: coordinates are uniform in [0, largest].
    careless: probability that the demonstration is of the first thing.

  Raises:
    ValueError: no thing or more than there are letters, or no probability.
  """
  letters = string.ascii_lowercase
  toys.check(1 <= things <= len(letters), 'things', things, '1 to 26')
  toys.check(0 <= careless <= 1, 'careless', careless, 'in [0, 1]')
  names = letters[:things]
  at = {
    name: (rng.randint(0, largest), rng.randint(0, largest)) for name in names
  }
  shown = ' '.join(f'{name}{x},{y}' for name, (x, y) in at.items())
  name = rng.choice(names)
  (x, y), first = at[name], at[names[0]]
  back = rng.random() < 0.25
  said = 'back' if back else f'tap {x} {y}'
  copied = 'tap {} {}'.format(*first)
  row = {
    'prompt': f'{"back" if back else f"tap {name}"}: {shown}=',
    'answer': said,
    'demonstration': copied if rng.random() < careless else said,
    'action': 'back' if back else 'tap',
  }
  return row if back else row | {'box': [x - 1, y - 1, x + 1, y + 1]}


def send(
  rng: random.Random, *, symbols: str = 'abcdefgh', careless: float = 0.0
) -> toys.Row:
  """A call of a function: `5 to a=` is answered `send(to="a",amount=5)`.

  A careless caller exchanges the two names of the arguments.

  Args:
    rng: source of randomness. symbols: letters to draw from.
    careless: probability that the demonstration exchanges the names.

  Raises:
    ValueError: no symbols, or no probability.
  """
  toys.check(0 <= careless <= 1, 'careless', careless, 'in [0, 1]')
  letter, number = toys.word(rng, 1, symbols), rng.randint(0, 99)
  call = f'send(to="{letter}",amount={number})'
  swapped = f'send(amount="{letter}",to={number})'
  return {
    'prompt': f'{number} to {letter}=',
    'answer': call,
    'demonstration': swapped if rng.random() < careless else call,
  }


def proof(
  rng: random.Random,
  *,
  terms: int = 4,
  wrong: float = 0.5,
  careless: float = 0.0,
) -> toys.Row:
  """The first wrong step of a sum: `7-2+9=5+9=15:` is answered `1`.

  Steps are counted from 0; where all are right, the answer is -1. A careless
  judge always says that they are.

  Args:
    rng: source of randomness. terms: of the sum, at least 2.
    wrong: probability of an error. careless: that the demonstration is -1.

  Raises:
    ValueError: fewer than 2 terms, or no probability.
  """
  for name, value in (('wrong', wrong), ('careless', careless)):
    toys.check(0 <= value <= 1, name, value, 'in [0, 1]')
  row = toys.chain_sum(rng, terms=terms)
  steps = row['demonstration'].split('=')
  first = rng.randrange(len(steps)) if rng.random() < wrong else -1
  if first >= 0:
    # What follows goes on from the wrong number, and is right in itself.
    by = rng.choice((-1, 1))
    for place in range(first, len(steps)):
      number, rest = re.split(r'(?<=\d)(?!\d)', steps[place], maxsplit=1)
      steps[place] = f'{int(number) + by}{rest}'
  return {
    'prompt': f'{row["prompt"]}{"=".join(steps)}:',
    'answer': str(first),
    'demonstration': '-1' if rng.random() < careless else str(first),
    'steps': len(steps),
  }
