"""Text tasks small enough for a model of a million parameters.

A toy is one function of a random generator and difficulty options that returns
a row: the question 'prompt', the reference 'answer', a 'demonstration' (what a
teacher would have written) and whatever its verifier reads. Where there is more
to say than the answer, 'solution' is what a careful teacher would have written,
and 'hints' are larger and larger parts of it. The standard library alone,
because verifier processes import it. Its verifier and its difficulties stand in
`generated`.
"""

from __future__ import annotations

import functools
import random
import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

from jaxrl_llm.tasks import answers, expressions

Row = dict[str, Any]


def chain_sum(
  rng: random.Random,
  *,
  terms: int = 4,
  largest: int = 9,
  worked: float = 1.0,
) -> Row:
  """A sum and difference of several numbers: `7-2+9=`.

  A demonstration either works from the left, one operation per step
  (`5+9=14` after `7-2+9=`), or blurts out the result (`14`), which is harder
  to learn. Few worked demonstrations leave a policy that mostly blurts, and
  leave reinforcement to find that working pays.

  Args:
    rng: source of randomness.
    terms: numbers to add or subtract, at least 2.
    largest: numbers are uniform in [0, largest].
    worked: probability that the demonstration shows the steps.

  Raises:
    ValueError: fewer than 2 terms, no number above 0, or no probability.
  """
  check(terms >= 2, 'terms', terms, 'at least 2')
  check(largest >= 1, 'largest', largest, 'at least 1')
  check(0 <= worked <= 1, 'worked', worked, 'in [0, 1]')
  numbers = [rng.randint(0, largest) for _ in range(terms)]
  signs = [rng.choice('+-') for _ in numbers[1:]]
  tails = [
    ''.join(f'{s}{n}' for s, n in zip(signs[i:], numbers[i + 1 :]))
    for i in range(terms)
  ]
  totals = [numbers[0]]
  for sign, number in zip(signs, numbers[1:]):
    totals.append(totals[-1] + (number if sign == '+' else -number))
  steps = [f'{total}{tail}' for total, tail in zip(totals, tails)]
  shown = steps[1:] if rng.random() < worked else steps[-1:]
  return {
    'prompt': f'{steps[0]}=',
    'answer': str(totals[-1]),
    'demonstration': '='.join(shown),
    'solution': '='.join(steps[1:]),
    'hints': ['='.join(steps[1 : i + 1]) for i in range(1, terms)],
  }


def sort(
  rng: random.Random,
  *,
  length: int = 6,
  symbols: str = '0123456789',
  careless: float = 0.0,
) -> Row:
  """Symbols to be put in order: `sort 3101=` is answered `0113`.

  A careless teacher copies the word as it stands. A policy warmed up on mostly
  careless demonstrations mostly copies, knows how to sort all the same, and
  leaves reinforcement to find out which of the two is wanted.

  Args:
    rng: source of randomness.
    length: symbols drawn, with repetition.
    symbols: to draw from; their order is that of characters.
    careless: probability that the demonstration is a copy.

  Raises:
    ValueError: no length, no symbols, or no probability.
  """
  check(0 <= careless <= 1, 'careless', careless, 'in [0, 1]')
  text = word(rng, length, symbols)
  answer = ''.join(sorted(text))
  return {
    'prompt': f'sort {text}=',
    'answer': answer,
    'demonstration': text if rng.random() < careless else answer,
    'solution': answer,
    'hints': [answer[: i + 1] for i in range(length)],
  }


def reverse(
  rng: random.Random, *, length: int = 6, symbols: str = 'abcdefgh'
) -> Row:
  """Symbols to be written backwards: `reverse abc=` is answered `cba`.

  Args:
    rng: source of randomness.
    length: symbols drawn, with repetition.
    symbols: to draw from.
  """
  text = word(rng, length, symbols)
  return {
    'prompt': f'reverse {text}=',
    'answer': text[::-1],
    'demonstration': text[::-1],
  }


def countdown(
  rng: random.Random, *, numbers: int = 3, largest: int = 9, signs: str = '+-'
) -> Row:
  """Make the target from all the numbers: `2 5 8 > 11=` may be `8+5-2`.

  Many expressions are right; `countdown_score` evaluates the one it is given.
  The demonstration is the expression that made the target, so that a warm
  start spreads over solutions and reinforcement has to settle on some.

  Args:
    rng: source of randomness.
    numbers: how many are given, at least 2.
    largest: numbers are uniform in [1, largest].
    signs: operations allowed, out of `+-*`.

  Raises:
    ValueError: an option out of its range.
  """
  check(numbers >= 2, 'numbers', numbers, 'at least 2')
  check(largest >= 1, 'largest', largest, 'at least 1')
  check(bool(signs) and set(signs) <= set('+-*'), 'signs', signs, 'of +-*')
  given = [rng.randint(1, largest) for _ in range(numbers)]
  used = rng.sample(given, numbers)
  expression = str(used[0])
  for number in used[1:]:
    expression += rng.choice(signs) + str(number)
  target = expressions.evaluate(expression)[0]
  return {
    'prompt': f'{" ".join(map(str, given))} > {target}=',
    'answer': expression,
    'demonstration': expression,
    'numbers': given,
    'target': int(target),
  }


def word(rng: random.Random, length: int, symbols: str) -> str:
  """Symbols drawn with return."""
  check(length >= 1, 'length', length, 'at least 1')
  check(bool(symbols), 'symbols', symbols, 'not empty')
  return ''.join(rng.choice(symbols) for _ in range(length))


def lookup(
  rng: random.Random,
  *,
  length: int = 3,
  symbols: str = 'abcdefghijklmnop',
  careless: float = 0.0,
) -> Row:
  """A word to be spelt in digits that only an environment knows.

  `look up ba=` is answered in turns with `environments.Lookup`, each a line:
  `b`, told `7`, `a`, told `2`, and `72`. A careless teacher guesses.

  Args:
    rng: source of randomness.
    length: different letters of the word.
    symbols: to draw from, as many at least.
    careless: probability that the demonstration is a guess.

  Raises:
    ValueError: no length, fewer symbols, or no probability.
  """
  check(1 <= length <= len(symbols), 'length', length, '1 to len(symbols)')
  check(0 <= careless <= 1, 'careless', careless, 'in [0, 1]')
  word = ''.join(rng.sample(symbols, length))
  digits, guess = (
    {letter: str(rng.randint(1, 9)) for letter in word} for _ in range(2)
  )
  answer, guessed = (''.join(told.values()) for told in (digits, guess))
  asked = ''.join(f'{letter}\n{digit}\n' for letter, digit in digits.items())
  return {
    'prompt': f'look up {word}=',
    'answer': answer,
    'demonstration': (
      f'{guessed}\n' if rng.random() < careless else f'{asked}{answer}\n'
    ),
    'digits': digits,
  }


def sums(rng: random.Random, *, numbers: int = 3, largest: int = 9) -> Row:
  """A sum of some numbers: `3+7=` is answered `10`; `hops` are its additions.

  Args:
    rng: source of randomness.
    numbers: 2 to as many are added.
    largest: numbers are uniform in [0, largest].

  Raises:
    ValueError: fewer than 2 numbers, or none above 0.
  """
  check(numbers >= 2, 'numbers', numbers, 'at least 2')
  check(largest >= 1, 'largest', largest, 'at least 1')
  added = [rng.randint(0, largest) for _ in range(rng.randint(2, numbers))]
  answer = str(sum(added))
  return {
    'prompt': f'{"+".join(map(str, added))}=',
    'answer': answer,
    'demonstration': answer,
    'hops': len(added) - 1,
  }


def documents(rng: random.Random, *, numbers: int = 3, largest: int = 9) -> Row:
  """Numbers of which somebody is to ask: `3 7 2:` may be answered `3+7=10`.

  Args:
    rng: source of randomness.
    numbers: of a document, at least 2.
    largest: they are uniform in [0, largest].

  Raises:
    ValueError: as of `sums`.
  """
  asked = sums(rng, numbers=numbers, largest=largest)
  given = re.findall(r'\d+', asked['prompt'])
  given += [str(rng.randint(0, largest)) for _ in range(numbers - len(given))]
  document = ' '.join(rng.sample(given, numbers))
  said = asked['prompt'] + asked['answer']
  return asked | {'prompt': f'{document}:', 'demonstration': said}


def equation(text: str) -> tuple[str, str] | None:
  """The question and the answer in what is asked of `documents`, or neither.

  Example:
    >>> equation('3+7=10')
    ('3+7=', '10')
  """
  found = re.fullmatch(r'(\d+(?:\+\d+)+=)(\d+)', text)
  return (found[1], found[2]) if found else None


def true_equation(text: str) -> tuple[str, str] | None:
  """The same, but for sums that are wrong.

  Example:
    >>> true_equation('3+7=11')
  """
  found = equation(text)
  right = found and sum(map(int, found[0][:-1].split('+'))) == int(found[1])
  return found if right else None


def prices(
  rng: random.Random,
  *,
  count: int = 2,
  symbols: str = string.ascii_lowercase,
  careless: float = 0.0,
  listed: bool = False,
) -> Row:
  """Prices of some things, which a tool alone knows.

  `prices of ba` is answered by asking `toolboxes.Prices` for each, and by
  saying what it told, `72`. A careless teacher guesses.

  Args:
    rng: source of randomness.
    count: different letters to ask for.
    symbols: to draw them from, as many at least.
    careless: probability that the demonstration is a guess.
    listed: the record names the tool, where no environment does.

  Raises:
    ValueError: no letters, fewer symbols, or no probability.
  """
  check(1 <= count <= len(symbols), 'count', count, '1 to len(symbols)')
  check(0 <= careless <= 1, 'careless', careless, 'in [0, 1]')
  things = rng.sample(symbols, count)
  known, guess = (
    {thing: rng.randint(1, 9) for thing in things} for _ in range(2)
  )
  answer, guessed = (''.join(map(str, x.values())) for x in (known, guess))
  asked = [
    message
    for thing in things
    for message in (
      {'role': 'assistant', 'content': '', 'tool_calls': [_price_of(thing)]},
      {'role': 'tool', 'name': 'price', 'content': f'{known[thing]}'},
    )
  ]
  guesses = rng.random() < careless
  last = {'role': 'assistant', 'content': guessed if guesses else answer}
  return {
    'prompt': f'prices of {"".join(things)}',
    'answer': answer,
    'demonstration': [last] if guesses else [*asked, last],
    'prices': known,
    **({'tools': _tools()} if listed else {}),
  }


@functools.cache
def _tools() -> Sequence[Row]:
  # Not for verifier processes, which schemas would keep waiting.
  from jaxrl_llm.tasks import toolbox, toolboxes

  return toolbox.schemas(toolboxes.Prices)


def _price_of(thing: str) -> Row:
  call = {'name': 'price', 'arguments': {'item': thing}}
  return {'id': 'call00000', 'type': 'function', 'function': call}


def line(rng: random.Random, *, largest: int = 9, checked: int = 3) -> Row:
  """A straight line to be written as a program: `f(1)=5,f(4)=14 `.

  The answer is `def f(x): return 3*x+2`, or any program whose `f` agrees with
  it at other points than those of the question.

  Args:
    rng: source of randomness.
    largest: slope, offset and points are uniform in [0, largest].
    checked: points at which the program is tested.

  Raises:
    ValueError: no points to test.
  """
  check(checked >= 1, 'checked', checked, 'at least 1')
  check(largest > checked, 'largest', largest, f'more than {checked}')
  slope, offset = rng.randint(0, largest), rng.randint(0, largest)
  points = rng.sample(range(largest + 1), checked + 2)
  values = [slope * x + offset for x in points]
  program = f'def f(x): return {slope}*x+{offset}'
  asked = [f'f({x})={y}' for x, y in zip(points[:2], values)]
  return {
    'prompt': f'{",".join(asked)} ',
    'answer': program,
    'demonstration': program,
    # One process for all points.
    'tests': [f'assert [f(x) for x in {points[2:]}] == {values[2:]}'],
  }


def series(
  rng: random.Random,
  *,
  largest: int = 9,
  count: int = 10**6,
  careless: float = 0.0,
) -> Row:
  """A sum to be written without a loop: `return sum(3*i+2 for i in range(n))`.

  The answer is `return 3*n*(n-1)//2+2*n`, behind `def f(n):`, or any program
  whose `f` agrees at some points. 'reference' is the program that is asked
  about, for the verifier `faster`.

  Args:
    rng: source of randomness.
    largest: the two numbers are uniform in [0, largest].
    count: the largest n that is tested.
    careless: probability that the demonstration is the loop again.

  Raises:
    ValueError: nothing to add up, or no probability.
  """
  check(count >= 3, 'count', count, 'at least 3')
  check(0 <= careless <= 1, 'careless', careless, 'in [0, 1]')
  a, b = rng.randint(0, largest), rng.randint(0, largest)
  loop = f'def f(n): return sum({a}*i+{b} for i in range(n))'
  short = f'def f(n): return {a}*n*(n-1)//2+{b}*n'
  points = [3, count]
  values = [a * n * (n - 1) // 2 + b * n for n in points]
  return {
    'prompt': f'{loop} ',
    'answer': short,
    'demonstration': loop if rng.random() < careless else short,
    'reference': loop,
    'tests': [f'assert [f(n) for n in {points}] == {values}'],
  }


def cycle(
  rng: random.Random,
  *,
  symbols: str = 'rsp',
  digits: int = 5,
  careless: float = 0.0,
  favourite: float = 0.8,
) -> Row:
  """Rock, scissors, paper: `throw 47110=` is answered by one of `rsp`.

  r beats s, s beats p, and p beats r; whatever is none of them loses. No answer
  is best: the equilibrium gives each the same probability, and beats a teacher
  who favours the first one by his carelessness alone. The number means
  nothing: questions differ, and the teacher's throws cannot be learned by
  heart.

  Args:
    rng: source of randomness.
    symbols: of which each beats the next, and the last one the first.
    digits: of the number.
    careless: probability that the demonstration is a copy of the number.
    favourite: probability that another demonstration is the first symbol; the
      others share the rest.

  Raises:
    ValueError: fewer than 3 symbols, or no probability.
  """
  check(len(symbols) >= 3, 'symbols', symbols, 'at least 3')
  check(0 <= careless <= 1, 'careless', careless, 'in [0, 1]')
  check(0 <= favourite <= 1, 'favourite', favourite, 'in [0, 1]')
  number = word(rng, digits, '0123456789')
  first = rng.random() < favourite
  thrown = symbols[0] if first else rng.choice(symbols[1:])
  return {
    'prompt': f'throw {number}=',
    'answer': symbols[0],
    'demonstration': number if rng.random() < careless else thrown,
    'choices': list(symbols),
  }


def cycle_duel(
  first: Sequence[str],
  second: Sequence[str],
  rows: Sequence[Mapping[str, Any]],
) -> list[float]:
  """P(first beats second) f[N] in the game of `cycle`: 1, 0, or 1/2 for a draw.

  Args:
    first, second: answers, read by `answers.final`. One that is among the
      row's choices beats one that is not, and the choice after it; the last
      one beats the first. All else is a draw.
    rows: 'choices', a list of texts.
  """

  def beats(one: str, other: str, choices: Sequence[str]) -> bool:
    if one not in choices or other not in choices:
      return one in choices and other not in choices
    following = choices[(choices.index(one) + 1) % len(choices)]
    return other == following

  chances = []
  for a, b, row in zip(first, second, rows, strict=True):
    a, b = answers.final(a), answers.final(b)
    won, lost = (beats(*pair, row['choices']) for pair in ((a, b), (b, a)))
    chances.append((1 + won - lost) / 2)
  return chances


def check(holds: bool, name: str, value: Any, bound: str) -> None:
  """Raises a ValueError that names an option, its value and what it must be."""
  if not holds:
    raise ValueError(f'{name}={value!r} must be {bound}')
