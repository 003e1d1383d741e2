"""Arithmetic that a policy wrote: its value, and whether it is what was asked.

The standard library alone, because verifier processes import it.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from jaxrl_llm.tasks import answers

_OPERATORS = {'+': operator.add, '-': operator.sub, '*': operator.mul}
# Numbers of a longer expression could not be few and small anyway.
_MAX_EXPRESSION = 200
_MAX_DEPTH = 20


def evaluate(expression: str) -> tuple[Fraction, list[int]]:
  """The value of an arithmetic expression, and the numbers it uses.

  Integers, `+ - * /`, parentheses and spaces, with the usual precedence and
  no unary signs. Parsed by recursive descent; nothing is executed as code.

  Raises:
    ValueError: anything else, a division by 0, or an expression that is very
      long or deep.
  """
  tokens = _tokens(expression)
  numbers: list[int] = []

  def atom(depth: int) -> Fraction:
    token = tokens.pop() if tokens else ''
    if token.isdecimal():
      numbers.append(int(token))
      return Fraction(numbers[-1])
    if token != '(' or depth >= _MAX_DEPTH:
      raise ValueError(f'no expression: {expression!r}')
    value = total(depth + 1)
    if not tokens or tokens.pop() != ')':
      raise ValueError(f'unbalanced parentheses: {expression!r}')
    return value

  def product(depth: int) -> Fraction:
    value = atom(depth)
    while tokens and tokens[-1] in '*/':
      divide = tokens.pop() == '/'
      factor = atom(depth)
      if divide and factor == 0:
        raise ValueError(f'division by 0: {expression!r}')
      value = value / factor if divide else value * factor
    return value

  def total(depth: int) -> Fraction:
    value = product(depth)
    while tokens and tokens[-1] in '+-':
      value = _OPERATORS[tokens.pop()](value, product(depth))
    return value

  value = total(0)
  if tokens:
    raise ValueError(f'no expression: {expression!r}')
  return value, numbers


def _tokens(expression: str) -> list[str]:
  """Numbers and symbols, last first."""
  if len(expression) > _MAX_EXPRESSION or not expression.isascii():
    raise ValueError(f'no expression: {expression[:40]!r}')
  for symbol in '+-*/()':
    expression = expression.replace(symbol, f' {symbol} ')
  tokens = expression.split()
  for token in tokens:
    if not (token.isdecimal() or token in '+-*/()'):
      raise ValueError(f'{token!r} is no number and no sign')
  return tokens[::-1]


def countdown_score(
  responses: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> list[float]:
  """1 where the expression makes the target from exactly the numbers, else 0.

  Args:
    responses: the final answer (`answers.final`) is an expression, or
      `expression=target`; anything else scores 0.
    rows: 'numbers', each to be used once, and 'target'.
  """
  return [
    _makes_target(answers.final(response), row)
    for response, row in zip(responses, rows, strict=True)
  ]


def _makes_target(answer: str, row: Mapping[str, Any]) -> float:
  expression, equals, claim = answer.partition('=')
  try:
    value, numbers = evaluate(expression)
  except ValueError:
    return 0.0
  honest = not equals or claim.strip() == str(row['target'])
  every = Counter(numbers) == Counter(row['numbers'])
  return float(honest and every and value == row['target'])
