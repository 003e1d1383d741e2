"""Equality of mathematical expressions, by the library math-verify.

Its own time limits use `signal.alarm`, which fails outside the main thread and
is slow to give up, so both are off: `Pool` runs this verifier in a process and
kills it at the item's limit.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import math_verify

from jaxrl_llm.tasks import answers, numbers

# It would warn on every call that its time limits are off.
logging.getLogger('math_verify').setLevel(logging.ERROR)
_LATEX = (math_verify.LatexExtractionConfig(),)
_STYLE = re.compile(r'\\(?:text|math)(?:rm|bf|it|sf)?\s*\{([^{}]*)\}')
_SIGNS = str.maketrans(
  {
    '∞': r'\infty ',
    '∪': r'\cup ',
    '∩': r'\cap ',
    '∈': r'\in ',
    '∅': r'\emptyset ',
    '≤': r'\le ',
    '≥': r'\ge ',
    '≠': r'\ne ',
    '±': r'\pm ',
    '×': r'\times ',
    '·': r'\cdot ',
    'π': r'\pi ',
    '√': r'\sqrt ',
    '−': '-',
    '²': '^2',
    '³': '^3',
  }
)
# Two of these are compared letter by letter: the library reads a word as a
# product, in which their order does not matter.
_WORD = re.compile(r'(?:no|[^\W\d_]{3,})(?:[ -][^\W\d_]+)*')
_CONSTANTS = frozenset({'infinity', 'inf'})
_EQUATION = re.compile(r'[^\W\d_][^=]*=')
_PROSE = re.compile(r'(?<![\\\w])[^\W\d_]{2,}')
_FORMULA = re.compile(r'(?<!\\)\$|\\\(')
_COPULA = re.compile(r'\b(?:is|are|equals)\b')
_SIGNED = re.compile(r'\\(?:pm|mp)(?![a-zA-Z])')
# '(C) 12', where what is asked for is a letter.
_LABELLED = re.compile(r'\(?([A-Z])[.):]+(?:\\?\s|\\q?quad|~)+\S')


def equal(
  responses: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> list[float]:
  """1 where the response's answer equals one of the row's, else 0.

  In this order: equal texts, also in other capitals if they are words; equal
  numbers, whatever unit or word follows them (`numbers.stated`); equal
  expressions, as the library says. A decimal fraction is right to one part in
  a million.

  Args:
    responses: the marked answer is compared (`answers.marked`), else the whole
      text, its last number, or the last expression that the library finds.
    rows: 'answer' is LaTeX, with or without `$` and `\\boxed`, or plain; or a
      list of them, any of which is right.

  Raises:
    ValueError: a row's answer is no expression.

  Source: Math-Verify, github.com/huggingface/Math-Verify.
  """
  return [
    float(any(_equals(response, gold) for gold in answers.accepted(row)))
    for response, row in zip(responses, rows, strict=True)
  ]


def _equals(response: str, gold: str) -> bool:
  gold, said = answers.final(gold), answers.final(response)
  words = _words(gold)
  if words in (_words(said), _words(_predicate(said)), _label(said)):
    return True
  if _WORD.fullmatch(words) and words not in _CONSTANTS:
    return False
  # x = 1 is more than the number 1 where y = 1 is another answer.
  right = () if _EQUATION.search(gold) else numbers.stated(gold)
  found = answers.number(response)
  if right and found:
    return any(_same_number(x, a) for x in found for a in right)
  reference = _boxed(gold)
  if not reference:
    raise ValueError(f'the answer {gold!r} is no expression')
  return any(
    math_verify.verify(
      reference, expression, timeout_seconds=None, allow_set_relation_comp=True
    )
    for expression in _expressions(response, said, bool(right))
  )


def _expressions(
  response: str, said: str, numeric: bool
) -> Iterator[list[Any]]:
  """What the library reads in a response, and in what it says at last.

  Where a number is asked for, only formulas: that of the prose was looked for,
  and the library would take the last digits, as those of '3 h 20 min'.
  """
  if answers.marked(response) is None and _PROSE.search(said):
    text = re.sub(r'\*\*|`', '', answers.without_reasoning(response))
    yield (
      _parsed(_latex(text))
      if numeric
      else math_verify.parse(_latex(text), parsing_timeout=None)
    )
    said = _predicate(said)
  formula = _FORMULA.search(said)
  yield formula and _parsed(_latex(said)) or _boxed(said)


def _predicate(text: str) -> str:
  """What something is said to be at last."""
  return answers.bare(_COPULA.split(text)[-1])


def _same_number(one: numbers.Number, other: numbers.Number) -> bool:
  if one.rounded or other.rounded:
    # The sixth digit of 0.333333 is off by slightly more than 1e-6 of 1/3.
    return numbers.same(one, other, 1.00001e-6, least=0)
  return numbers.same(one, other, 1e-20, least=0)


def _words(text: str) -> str:
  """A text to compare: an option without brackets, small words, no article."""
  text = ' '.join(_STYLE.sub(r'\1', text).split())
  text = re.sub(r'\A\(([A-Za-z])\)\Z', r'\1', text)
  if not re.fullmatch(r'(?:[^\W\d_]|[ -])+', text):
    return text
  return re.sub(r'\A(?:an?|the) ', '', text.casefold())


def _label(text: str) -> str | None:
  """The letter before the text of an option, as `_words` has it."""
  label = _LABELLED.match(_STYLE.sub(r'\1', text))
  return label[1].casefold() if label else None


def _latex(text: str) -> str:
  """The text with signs of Unicode as LaTeX."""
  text = unicodedata.normalize('NFKC', text.translate(_SIGNS))
  # One letter in another script is that letter: \mathrm{e}.
  text = re.sub(r'\\(?:text|math)(?:rm|bf|it)?\{(\w)\}', r'\1', text)
  text = re.sub(r'\\(?:lor|vee)(?![a-zA-Z])|∨', r'\\text{ or }', text)
  return text.replace('\\varnothing', '\\emptyset')


def _boxed(text: str) -> list[Any]:
  """What the library reads where all of a text is one expression."""
  latex = _latex(text)
  read = _parsed('\\boxed{' + latex + '}')
  if read or not _SIGNED.search(latex):
    return read
  # The library knows no two signs inside of a fraction, so both are written.
  upper = _SIGNED.sub(lambda sign: '+-'[sign[0] == '\\mp'], latex)
  lower = _SIGNED.sub(lambda sign: '-+'[sign[0] == '\\mp'], latex)
  return _parsed(f'\\boxed{{{upper}, {lower}}}')


def _parsed(text: str) -> list[Any]:
  return math_verify.parse(
    text, _LATEX, fallback_mode='no_fallback', parsing_timeout=None
  )
