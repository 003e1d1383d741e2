"""Finding the answer inside a response: the text a verifier compares.

Pure string functions on the standard library alone, linear in the length of
the text, so that they are safe to run in the training process.
"""

from __future__ import annotations

import collections
import re
from decimal import Decimal

# Longer digit strings are noise, and would make exact arithmetic slow.
MAX_DIGITS = 400

_SPOKEN = re.compile(r'\banswer(?:[ \t]+is|[ \t]*:)[ \t]*:?', re.IGNORECASE)
_NUMBER = re.compile(
  # A digit that continues a word, a power or a subscript is no answer: in
  # '5 m^2' and 'CO2' the 2 belongs to the unit.
  r'(?<![\w.^])'
  r'(?P<sign>(?<![\w.)])[-+])?(?:\\?[$€£])?'
  r'(?P<value>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)'
  r'(?P<exponent>[eE][-+]?\d{1,3}(?!\d))?'
  r'(?:/(?P<below>\d+(?:\.\d+)?))?'
)
_LETTER = re.compile(r'[\s*(\[]*([A-Z])(?:[\s*)\].:]+|$)')
_IN_PARENTHESES = re.compile(r'\(([A-Z])\)')


def _boxed(text: str) -> str | None:
  """The content of the last closed `\\boxed{...}`, braces balanced."""
  mark = '\\boxed{'
  start = text.rfind(mark)
  if start < 0:
    return None
  depth = 1
  for end in range(start + len(mark), len(text)):
    depth += {'{': 1, '}': -1}.get(text[end], 0)
    if depth == 0:
      return text[start + len(mark) : end]
  return None


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
  matches = collections.deque(pattern.finditer(text), maxlen=1)
  return matches[0] if matches else None


def marked(text: str) -> str | None:
  """The answer that a response points out, or None when it points at none.

  Tried in this order, each time the last occurrence: `\\boxed{x}`,
  `<answer>x</answer>`, `#### x` to the end of the line, and `answer is x` or
  `answer: x` to the end of the line, without its full stop.
  """
  boxed = _boxed(text)
  if boxed is not None:
    return boxed.strip()
  opened = text.rfind('<answer>')
  if opened >= 0:
    inner = text[opened + len('<answer>') :]
    return inner.partition('</answer>')[0].strip()
  before, mark, after = text.rpartition('####')
  if mark:
    return after.strip().partition('\n')[0].strip()
  spoken = _last(_SPOKEN, text)
  if spoken is None:
    return None
  line = text[spoken.end() :].strip().partition('\n')[0]
  return line.strip().removesuffix('.').strip()


def final(text: str) -> str:
  """The marked answer, or the whole response, with spaces run together."""
  found = marked(text)
  return ' '.join((text if found is None else found).split())


def _decimal(match: re.Match[str]) -> Decimal | None:
  digits = match['value'].replace(',', '')
  if len(digits) > MAX_DIGITS or len(match['below'] or '') > MAX_DIGITS:
    return None
  value = Decimal((match['sign'] or '') + digits + (match['exponent'] or ''))
  if match['below'] is None:
    return value
  below = Decimal(match['below'])
  return value / below if below else None


def number(text: str) -> Decimal | None:
  """The last number of the marked answer, or of the text without a mark.

  Understood: signs (also the Unicode minus), decimals, thousands separated by
  commas, exponents of at most three digits, fractions `a/b`, a currency sign
  before and any unit after. A percent sign is a unit: `50%` reads as 50.

  Args:
    text: a response or a reference answer.

  Returns:
    The number, exact except for fractions (28 digits); None where there is
    none, where its denominator is 0, or beyond `MAX_DIGITS` digits.
  """
  found = marked(text)
  text = text if found is None else found
  # Unicode minus, and the thousands separators of LaTeX.
  for old, new in (('−', '-'), ('{,}', ','), ('\\,', ''), ('\\!', '')):
    text = text.replace(old, new)
  last = _last(_NUMBER, text)
  return None if last is None else _decimal(last)


def letter(text: str) -> str | None:
  """The option of a multiple-choice response, as one capital letter.

  The marked answer or, without a mark, the last line is read if it begins
  with a letter that stands alone (`B`, `(B)`, `**B**`, `B. because`); else
  the last `(B)` in the text. None where there is neither.
  """
  found = marked(text)
  lines = (text if found is None else found).strip().splitlines() or ['']
  match = _LETTER.match(lines[-1])
  if match:
    return match[1]
  options = _IN_PARENTHESES.findall(text)
  return options[-1] if options else None
