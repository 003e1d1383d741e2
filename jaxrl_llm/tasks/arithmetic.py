"""Arithmetic as people and models write it, in plain text and in LaTeX.

A text becomes tokens in few spellings (`tokens`), and `Reader` reads from them
what stands there as a fraction: '3\\frac{1}{2}', '1{,}234', '3.2 x 10^5',
'5!', '\\sqrt{2}/2'. Exact but for roots, which have 30 digits.

Pure functions on the standard library alone, linear in the length of the text.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from typing import NamedTuple

# What is longer or deeper is noise, and would make exact arithmetic slow.
_MAX_DIGITS = 400
_MAX_BITS = 8192
_MAX_DEPTH = 8
_MAX_FACTORS = 4
_PI = Fraction('3.141592653589793238462643383279')
_PRECISE = Context(prec=30)


class Token(NamedTuple):
  """A 'number', 'command', 'word' or 'sign'; whether a space precedes it."""

  kind: str
  text: str
  spaced: bool


END = Token('end', '', True)
_TOKEN = re.compile(
  # 1,234 and 1 234; a digit inside a word (CO2) or behind its power (m^2)
  # belongs to the word.
  r'(?P<number>'
  r'(?:(?<![\d.,])(?<!\d )\d{1,3}(?:(?:,\d{3})+|(?: \d{3})+)(?!\d)|\d+)'
  r'(?:\.\d+)?(?:[eE][-+]?\d{1,3}(?!\w))?|\.\d+)'
  r'|(?P<command>\\(?:frac|sqrt|pi)(?![a-z]))'
  r"|(?P<word>[^\W\d_](?:['’\w]*\w)?(?:\^-?\d+)?)"
  r'|(?P<sign>\*\*|\\[a-zA-Z]+|\S)'
)
_STYLE = (
  r'\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it|sf)|mbox|operatorname)'
  r'\s*\{([^{}]*)\}'
)
# What to write for what, in this order.
_PLAINER = tuple(
  (re.compile(pattern), to)
  for pattern, to in (
    (r'[\u200b-\u200d\u2060\ufeff]|\\!', ''),
    # The calculator of GSM8K, 3+4=<<3+4=7>>7, arrows, quotations.
    (r'<<[^<>]*>>', ' '),
    (r'[-=]{1,2}>', '='),
    (r'(\A|\n) ?>+ ', r'\1'),
    (r'(?<![\w)])\*\*|\*\*(?![\w(\\-])', ' '),
    (r"\{,\}|(?<=\d)['’_](?=\d{3}(?!\d))", ','),
    (r'−', '-'),
    # A dash before a number is its sign, unless it joins two.
    (r'(?<![\w)])(?<!\d )[–—](?=[\d$.])', '-'),
    (r'[×∙⋅·]|\\(?:times|cdot|ast)(?![a-z])', '*'),
    (r'(?<=\d) ?[xX] ?(?=10 ?\^)|(?<=\d) [xX] (?=\d)', '*'),
    # 5x faster
    (r'(?<=\d)x(?= (?:[a-z]+er|as|more|less)\b)', ' times'),
    (r'[÷⁄∕]|\\div(?![a-z])', '/'),
    (r'≃|\\(?:approx|simeq|sim)(?![a-z])', '≈'),
    (r',? or (?:about|around|approximately|roughly)\b', ' ≈'),
    # No space separates the words of these scripts from numbers.
    (r'(?<=[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3])(?=\d)', ' '),
    (r'√ ?(\d+)', r'\\sqrt{\1}'),
    (r'√', r'\\sqrt'),
    (r'[→⇒∴]|\bi\.e\.,?', '='),
    (r'\\(?:therefore|implies|(?:long)?[rR]ightarrow|to)(?![a-z])', '='),
    (r'π', r'\\pi '),
    (r'°|\^ ?\{?\\circ\}?|\\degree(?![a-z])', ' degrees '),
    (r'\\([%$])', r'\1'),
    (r'\\[()\[\]]', ' '),
    (r'(?<=[^\W\d_])[$€£¥]', ' '),
    (r'[$€£¥]', ''),
    (r'\\[,;: ]|~|\\q?quad(?![a-z])', ' '),
    (r'\\(?:left|right|displaystyle|[bB]igg?[lr]?)(?![a-z])', ''),
    (rf'{_STYLE}(?=\s*\^)', r' \1'),
    (_STYLE, r' \1 '),
    (r'\\[dtc]frac(?![a-z])', r'\\frac'),
    (r'\\frac ?(\d) ?(?=[\d{])', r'\\frac{\1}'),
    (r'(\\frac ?\{[^{}]*\}) ?(\d)', r'\1{\2}'),
    (r'\\sqrt ?(\d)', r'\\sqrt{\1}'),
    (r'(?<![a-zA-Z\\])sqrt(?= ?\()', r'\\sqrt'),
    (r' ?\^ ?\{ ?(-?\w+) ?\}', r'^\1'),
  )
)

# 0.1\overline{6}, also with dots or a bar, and 0.1666...
_REPEATING = (
  re.compile(
    r'(?<!\d)(\d{0,9})\.(\d{0,9})\\(?:overline|bar|dot) ?\{?(\d{1,9})\}?'
  ),
  re.compile(
    r'(?<!\d)(\d{0,9})\.(\d{0,9}?)(\d{1,6}?)\3+(?:\.\.\.|\\[lc]?dots(?![a-z]))'
  ),
)


def _repeating(match: re.Match[str]) -> str:
  """A decimal fraction without end, as a fraction."""
  before = match[1] + match[2]
  over = int(before + match[3]) - int(before or 0)
  under = (10 ** len(match[3]) - 1) * 10 ** len(match[2])
  return f'\\frac{{{over}}}{{{under}}}'


def plainer(text: str) -> str:
  """The same in fewer spellings: ASCII where there is one, little LaTeX."""
  text = re.sub(
    '[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+',
    lambda raised: '^' + unicodedata.normalize('NFKC', raised[0]),
    text,
  )
  # 3½ is three and a half, not 31/2.
  text = re.sub(r'(?<=\d)[¼-¾⅐-⅞]', r' \g<0>', text)
  # Lines stay apart: a space may separate thousands.
  text = re.sub(r'[^\S\n]+', ' ', unicodedata.normalize('NFKC', text))
  for pattern in _REPEATING:
    text = pattern.sub(_repeating, text)
  for pattern, to in _PLAINER:
    text = pattern.sub(to, text)
  return text


def tokens(plain: str) -> list[Token]:
  """The tokens of a text that `plainer` made."""
  found, end = [], 0
  for match in _TOKEN.finditer(plain):
    kind = match.lastgroup or ''
    found.append(Token(kind, match[0], match.start() > end))
    end = match.end()
  return found


class _Unreadable(ValueError):
  """No number is written here."""


def _bounded(value: Fraction) -> Fraction:
  parts = value.numerator, value.denominator
  if max(part.bit_length() for part in parts) > _MAX_BITS:
    raise _Unreadable
  return value


def _decimal(value: Fraction) -> Decimal:
  return _PRECISE.divide(Decimal(value.numerator), Decimal(value.denominator))


def _power(base: Fraction, exponent: Fraction) -> Fraction:
  size = max(abs(base.numerator), base.denominator).bit_length()
  if size * abs(exponent) > _MAX_BITS or (not base and exponent <= 0):
    raise _Unreadable
  if exponent.denominator == 1:
    return base**exponent.numerator
  if base < 0:
    raise _Unreadable
  return Fraction(_PRECISE.power(_decimal(base), _decimal(exponent)))


class Reader:
  """Reads arithmetic at `at`, which is then behind it.

  A rule that finds no number raises `_Unreadable`.

      sum       product (+ product)*
      product   quantity (* quantity)*
      quantity  a number with all that is written into it: sign, mixed
                fraction, power, root, n/m without spaces, 10^n
  """

  def __init__(self, tokens: Sequence[Token], at: int = 0):
    self.tokens, self.at = tokens, at
    self.rounded = False
    self.wordless = not any(token.kind == 'word' for token in tokens)
    self._depth = 0

  def peek(self, ahead: int = 0) -> Token:
    place = self.at + ahead
    return self.tokens[place] if place < len(self.tokens) else END

  def takes(self, *texts: str) -> str:
    """Reads the next token if it is one of these; else ''."""
    text = self.peek().text
    if text not in texts:
      return ''
    self.at += 1
    return text

  def tried(self, rule: Callable[[], Fraction]) -> Fraction | None:
    """What a rule reads, or None with nothing read."""
    start = self.at
    try:
      return _bounded(rule())
    except (_Unreadable, ArithmeticError):
      self.at = start
      return None

  def sum(self) -> Fraction:
    """Reads all arithmetic that stands here."""
    value = self.product()
    while sign := self.takes('+', '-'):
      term = self.tried(self.product)
      if term is None:
        self.at -= 1
        break
      value = _bounded(value + term if sign == '+' else value - term)
    return value

  def product(self) -> Fraction:
    """Reads a term of a sum."""
    value = self.quantity()
    while sign := self.takes('*', '/'):
      factor = self.tried(self.quantity)
      if factor is None:
        self.at -= 1
        break
      value = _bounded(value * factor if sign == '*' else value / factor)
    return value

  def quantity(self) -> Fraction:
    """Reads one number."""
    negative = False
    while sign := self.takes('-', '+'):
      negative ^= sign == '-'
    value = self._unsigned()
    return -value if negative else value

  def _unsigned(self) -> Fraction:
    whole = self.peek().text.isdecimal()
    value = self.power()
    part = self.tried(self._part) if whole else None
    if part is not None:
      return value + part
    for _ in range(_MAX_FACTORS):
      if not self._is_factor():
        break
      factor = self.tried(self.power)
      if factor is None:
        break
      value = _bounded(value * factor)
    if self.peek().text == '/' and self.peek(1).kind == 'number':
      if self.peek().spaced == self.peek(1).spaced:
        self.at += 1
        value = _bounded(value / self.power())
    if self.peek().text == '*' and self.peek(1).text == '10':
      self.at += 1
      value = _bounded(value * self.power())
    return value

  def _part(self) -> Fraction:
    """The fraction of 3 1/2 or 3\\frac{1}{2}, behind its whole number."""
    if self.peek().text == '\\frac':
      part = self._atom()
    elif self.peek().spaced and self.peek(1).text == '/':
      part = self._atom()
      self.at += 1
      part /= self._atom()
    else:
      raise _Unreadable
    if not 0 < part < 1:
      raise _Unreadable
    return part

  def _is_factor(self) -> bool:
    following = self.peek()
    brackets = following.text == '(' and not following.spaced
    return brackets or following.kind == 'command'

  def power(self) -> Fraction:
    """Reads a number or bracket with its factorial and exponent."""
    # All nesting comes through here.
    if self._depth == _MAX_DEPTH:
      raise _Unreadable
    self._depth += 1
    try:
      value = self._atom()
      while self._takes_factorial():
        if value.denominator != 1 or not 0 <= value <= 170:
          raise _Unreadable
        value = Fraction(math.factorial(value.numerator))
      if self.takes('^', '**'):
        sign = -1 if self.takes('-') else 1
        value = _power(value, sign * self.power())
      return value
    finally:
      self._depth -= 1

  def _takes_factorial(self) -> bool:
    """Reads '!', unless it ends a sentence."""
    following = self.peek(1)
    ends = following is END or following.text[0].isupper()
    if self.peek().spaced or (ends and not self.wordless):
      return False
    return bool(self.takes('!'))

  def _atom(self) -> Fraction:
    token = self.peek()
    self.at += 1
    if token.kind == 'number':
      return self._number(token)
    if token.text == '\\pi':
      return _PI
    if token.text == '\\frac':
      over, under = self._argument(), self._argument()
      return over / under
    if token.text == '\\sqrt':
      index = self._atom() if self.peek().text == '[' else Fraction(2)
      return _power(self._argument(), 1 / index)
    closing = {'(': ')', '[': ']', '{': '}'}.get(token.text)
    if closing is None:
      raise _Unreadable
    value = self.sum()
    if not self.takes(closing):
      raise _Unreadable
    return value

  def _argument(self) -> Fraction:
    if self.peek().text not in ('{', '('):
      raise _Unreadable
    return self._atom()

  def _number(self, token: Token) -> Fraction:
    joint, after = self.peek(), self.peek(1)
    if joint.text in (',', ':', '.') and after.kind == 'number':
      # 12,34 and 12:30 and 2 : 3 and 1.2.3 are no numbers.
      joined = not after.spaced or (joint.text == ':' and joint.spaced)
    else:
      joined = joint.kind == 'number' and not joint.spaced
    if joined or len(token.text) > _MAX_DIGITS:
      raise _Unreadable
    self.rounded |= '.' in token.text
    return _bounded(Fraction(re.sub('[, ]', '', token.text)))
