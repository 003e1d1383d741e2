"""Numbers as people and models write them: in prose, in LaTeX, with units.

There are two readings. `stated` wants one number and little else, as behind
'the answer is'; `last` takes the last number of a text that says many things.
Both find none in what is no plain number: a pair, an interval, a ratio, a
time, a product with a variable, or two quantities.

Pure functions on the standard library alone, linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from jaxrl_llm.tasks import arithmetic
from jaxrl_llm.tasks.arithmetic import END, Reader, Token

_MAGNITUDES = {
  'hundred': 10**2,
  'thousand': 10**3,
  'million': 10**6,
  'billion': 10**9,
  'trillion': 10**12,
}
_PERCENT = ('%', 'percent', 'pct', 'percentage')
# What follows one of these no longer states the number: '5 because 2 + 3'.
_ASIDES = frozenset(
  'because since as so when where given assuming after not rather but if '
  'see however while whereas although though therefore thus hence which I '
  'we'.split()
)
# A number behind one of these belongs to what is counted: '5 of the 12'.
_DESCRIBING = frozenset(
  'of in out per for from at on by with than every each'.split()
)
_ARTICLES = frozenset('a the all these those'.split())
_RELATIONS = frozenset('= ≈ is are was were equals equal'.split())
_JOINING = frozenset(', ; and or'.split())
# Letters that are variables behind a number, where m, s and g are units.
_VARIABLES = frozenset('abeijknpqrtuvwxyz')
_FUNCTIONS = frozenset('log ln sin cos tan exp lim binom mod'.split())
# Units in which one quantity is told, one behind the other: 3 hours and 20
# minutes.
_TOGETHER = (
  frozenset('year month week day hour h hr minute min second sec s'.split()),
  frozenset('mile yard foot feet ft inch inche in'.split()),
  frozenset('pound lb ounce oz'.split()),
  frozenset('dollar euro pound cent penny pennie pence'.split()),
)
# Signs of something else than one number.
_UNEQUAL = re.compile(
  r'[<>≤≥≠±∓∈∪∩∞]|\\(?:[lgn]eq?|[lgn]t|pm|mp|in|cup|cap|infty)(?![a-z])'
)
# '(7 tens and 3 ones)' explains the number before it.
_REMARK = re.compile(r' \([^()\n]{0,80}[^\W\d_]{2}[^()\n]{0,80}\)')
_DIGIT = re.compile(r'\d')
# Units that exclude each other, by their spellings.
_UNITS = {
  spelling: spellings[0]
  for spellings in map(
    str.split,
    (
      'mm millimeter millimetre',
      'cm centimeter centimetre',
      'm meter metre',
      'km kilometer kilometre',
      'in inch inche',
      'ft foot feet',
      'yd yard',
      'mi mile',
      'mg milligram',
      'g gram',
      'kg kilogram',
      'lb pound',
      's sec second',
      'min minute',
      'h hr hour',
      'd day',
      'ml milliliter millilitre',
      'l liter litre',
    ),
  )
  for spelling in spellings
}


class Number(NamedTuple):
  """What was read.

  Attributes:
    value: without the percent sign, so that 50% is 50.
    percent: a percent sign or word follows.
    rounded: it was written with a decimal point.
    unit: the first word behind it, '' where there is none.
  """

  value: Fraction
  percent: bool = False
  rounded: bool = False
  unit: str = ''


def stated(text: str) -> list[Number]:
  """The one number of a statement, whatever words stand around it.

      x = 3\\frac{1}{2} cm    3 + 4 = 7 people    about 1,200 dollars each

  Args:
    text: a marked answer.

  Returns:
    Its readings: two for an exact number with a rounded one behind it, as in
    22/7 \\approx 3.14. [] where a text states no number or several, or where
    the number is part of something else, as in 2x, [0, 1), 5:3 or x > 5.
  """
  plain = arithmetic.plainer(text)
  if _UNEQUAL.search(plain) or '|' in plain:
    return []
  readings = map(_stated, _statements(arithmetic.tokens(plain)))
  return [number for number in readings if number]


def _stated(tokens: Sequence[Token]) -> Number | None:
  """The number of a statement without relations."""
  start = next((i for i in range(len(tokens)) if _starts(tokens, i)), None)
  if start is None or _is_symbolic(tokens, start):
    return None
  reader = Reader(tokens, start)
  value = reader.tried(reader.sum)
  if value is None:
    return None
  number = _described(reader, start, value)
  return number if _is_whole(tokens[reader.at :]) else None


def _described(reader: Reader, start: int, value: Fraction) -> Number:
  """A number read from `start` with what stands around it: minus, %, a unit."""
  before = reader.tokens[start - 1] if start else END
  if before.text.lower() in ('negative', 'minus'):
    value = -value
  magnitude = _MAGNITUDES.get(reader.peek().text.lower())
  if magnitude:
    reader.at += 1
    value *= magnitude
  following = reader.peek()
  return Number(
    value,
    following.text.lower() in _PERCENT,
    reader.rounded,
    following.text if following.kind == 'word' else '',
  )


def _statements(tokens: Sequence[Token]) -> list[Sequence[Token]]:
  """What stands behind the last relation, without asides.

  Also what stands before it, if that is 'about'; [] for several equations.
  """
  numbered = False
  for place, token in enumerate(tokens):
    if numbered and _word(token) in _ASIDES:
      tokens = tokens[:place]
      break
    numbered |= token.kind == 'number'
  parts: list[list[Token]] = [[]]
  relations = ['']
  for token in tokens:
    if token.text.lower() in _RELATIONS:
      parts.append([])
      relations.append(token.text)
    else:
      parts[-1].append(token)
  if any(_begins_equation(part) for part in parts[1:-1]):
    return []
  places = [i for i, part in enumerate(parts) if _numbered(part)]
  also = places[-1:] and relations[places[-1]] == '≈'
  return [parts[i] for i in places[-2 if also else -1 :]]


def _begins_equation(part: Sequence[Token]) -> bool:
  """Whether '5, y' of x = 5, y = 3 stands between two relations."""
  joints = [i for i, token in enumerate(part) if token.text in _JOINING]
  if not joints:
    return False
  before, after = part[: joints[-1]], part[joints[-1] :]
  return _numbered(before) and any(
    token.kind == 'word' and token.text not in _JOINING for token in after
  )


def _word(token: Token) -> str:
  # 'I think' is an aside, i is a number.
  return token.text if token.text == 'I' else token.text.lower()


def _numbered(tokens: Sequence[Token]) -> bool:
  return any(token.kind in ('number', 'command') for token in tokens)


def _starts(tokens: Sequence[Token], at: int) -> bool:
  """Whether arithmetic may start with a token, and its sign before it."""
  at += tokens[at].text in ('-', '+')
  # Of nested brackets, the inner ones.
  at += at < len(tokens) and tokens[at].text in '([{'
  at += at < len(tokens) and tokens[at].text in ('-', '+')
  return at < len(tokens) and tokens[at].kind in ('number', 'command')


def _is_symbolic(tokens: Sequence[Token], at: int) -> bool:
  """Whether what stands before a number makes it part of something else."""
  if any(token.text in ('+', '*', '/', '^', 'not') for token in tokens[:at]):
    return True
  if not at:
    return False
  before = tokens[at - 1]
  if before.text.lower() == 'than' and not any(
    _word(token) == 'no' for token in tokens[:at]
  ):
    return True
  # x - 5 and f(5), but not 'a 5'
  signed = tokens[at].text in ('-', '+') or not tokens[at].spaced
  return _is_function(before) or (
    signed and before.kind == 'word' and len(before.text) == 1
  )


def _is_function(token: Token) -> bool:
  return token.text.removeprefix('\\') in _FUNCTIONS


def _is_variable(token: Token) -> bool:
  return token.kind == 'word' and token.text.partition('^')[0] in _VARIABLES


def _is_whole(rest: Sequence[Token]) -> bool:
  """Whether what follows a number leaves it what it is."""
  if rest and (_is_variable(rest[0]) or rest[0].kind == 'command'):
    return False
  for token, following in zip(rest, (*rest[1:], END)):
    if token.text.lower() in _DESCRIBING or (
      token.text in ('(', '[') and token.spaced
    ):
      return True
    if token.kind == 'number' or token.text in ('+', '*', '^', '=', '('):
      return False
    if token.text == '/' and _is_variable(following):
      return False
  return True


def last(text: str) -> list[Number]:
  """The last number of a text, without the sum that leads to it.

      7 - 10 = -3 gives -3, 10 - 3 gives 3, 9 kg of CO2 gives 9

  Args:
    text: any.

  Returns:
    Its readings, as of `stated`; [] where there is none, or where the last is
    part of something else, as in (0, 1), 12:30 or 2x.
  """
  plain = arithmetic.plainer(text)
  without = _REMARK.sub(' ', plain)
  tokens = arithmetic.tokens(without if _DIGIT.search(without) else plain)
  lines = len(text.strip().splitlines())
  wordless = not any(token.kind == 'word' for token in tokens)
  if wordless and any(token.text in ',;' for token in tokens[1:-1]):
    return []
  readings: list[Number | None] = []
  end = 0
  for start, number, after in _quantities(tokens, lines):
    exact = start and start - 1 == end and tokens[start - 1].text == '≈'
    readings, end = [*(readings[-1:] if exact else ()), number], after
  return [*filter(None, readings)]


def _quantities(
  tokens: Sequence[Token], lines: int
) -> Iterator[tuple[int, Number | None, int]]:
  """Where each number of a text starts, what it is, and where it ends."""
  reader = Reader(tokens)
  while reader.at < len(tokens):
    start = reader.at
    if not _starts(tokens, start) or not _is_sign(tokens, start, lines):
      reader.at += 1
      continue
    end = _list_end(tokens, start)
    value = None if end else reader.tried(reader.quantity)
    if value is not None:
      number = _described(reader, start, value)
      whole = not (
        _is_term(tokens, start, reader.at) or _is_second(tokens, start, number)
      )
      if not _is_total(tokens, start):
        yield start, number if whole else None, reader.at
      continue
    reader.at = end or _joined_end(tokens, start)
    if end or tokens[start].kind == 'number':
      yield start, None, reader.at


def _is_sign(tokens: Sequence[Token], at: int, lines: int) -> bool:
  """Whether - or + is the sign of a number; True of all other tokens."""
  token = tokens[at]
  if token.text not in ('-', '+'):
    return True
  if at and not token.spaced and tokens[at - 1].text not in '=:([{':
    return False
  # '- 7' is a sign where it cannot be an item of a list, or a difference.
  alone = tokens[at - 1].text in '=:([{' if at else lines == 1
  return alone or not tokens[at + 1].spaced


def _is_term(tokens: Sequence[Token], start: int, end: int) -> bool:
  """Whether a number is part of something: x + 2, log 2, > 2, 2x."""
  after = tokens[end] if end < len(tokens) else END
  if _is_variable(after) and not after.spaced:
    return True
  before = tokens[start - 1] if start else END
  if _is_function(before) or _UNEQUAL.fullmatch(before.text):
    return True
  signs = '+', '-', '*', '/'
  sign = start if tokens[start].text in signs else start - 1
  return (
    sign > 0 and tokens[sign].text in signs and _is_variable(tokens[sign - 1])
  )


def _is_total(tokens: Sequence[Token], at: int) -> bool:
  """Whether a number is of what another was counted: 5 out of the 12."""
  before = [_word(token) for token in tokens[max(at - 5, 0) : at]]
  while before and before[-1] in _ARTICLES:
    before.pop()
  return before[-2:] == ['out', 'of']


def _is_second(tokens: Sequence[Token], at: int, number: Number) -> bool:
  """Whether a number ends '3 hours and 20 minutes' or 'between 3 and 5'."""
  before = [*tokens[max(at - 4, 0) : at]]
  joints = []
  while before and before[-1].text in _JOINING:
    joints.append(before.pop().text)
  if not any(token.kind == 'number' for token in before[-2:]):
    return False
  if joints == ['and'] and any(_word(token) == 'between' for token in before):
    return True
  units = {_unit(before[-1].text), _unit(number.unit)}
  return len(units) == 2 and any(units <= group for group in _TOGETHER)


def _unit(word: str) -> str:
  return word.lower().removesuffix('s') or word


def _list_end(tokens: Sequence[Token], at: int) -> int:
  """The place behind a list of numbers in brackets, or 0 where none starts."""
  if tokens[at].text not in '([{':
    return 0
  commas = False
  for place in range(at + 1, min(at + 40, len(tokens))):
    text = tokens[place].text
    if text in ')]}':
      return place + 1 if commas else 0
    if tokens[place].kind == 'word':
      return 0
    commas |= text in ',;'
  return 0


def _joined_end(tokens: Sequence[Token], at: int) -> int:
  """The place behind a token and what is joined to it: 12:30, 1.2.3, 1/0."""
  at += 1
  while at < len(tokens) and (
    tokens[at].kind == 'number' or tokens[at].text in ',:./'
  ):
    if tokens[at].spaced and ':' not in (tokens[at].text, tokens[at - 1].text):
      break
    at += 1
  return at


def same(
  one: Number, other: Number, tolerance: float, *, least: float = 1.0
) -> bool:
  """Whether two numbers are equal; those that are not whole, about.

      x = a  if both are integers,  else  |x - a| <= tolerance max(least, |a|)

  Where only one has a percent sign, it may also be so many hundredths. Units
  that both have and that exclude each other, such as m and km, make them
  different.
  """
  units = [
    _UNITS.get(_unit(number.unit.partition('^')[0]))
    or _UNITS.get(number.unit.lower())
    for number in (one, other)
  ]
  if all(units) and units[0] != units[1]:
    return False
  values = [one.value]
  if one.percent != other.percent:
    values.append(one.value / 100 if one.percent else one.value * 100)
  return any(_close(x, other.value, tolerance, least) for x in values)


def _close(x: Fraction, a: Fraction, tolerance: float, least: float) -> bool:
  if x.denominator == a.denominator == 1:
    return x == a
  return abs(x - a) <= Fraction(tolerance) * max(Fraction(least), abs(a))
