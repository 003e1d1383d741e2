"""Equality of mathematical expressions, by the library math-verify.

Its own time limits use `signal.alarm`, which fails outside the main thread and
is slow to give up, so both are off: `Pool` runs this verifier in a process and
kills it at the item's limit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from math_verify import parse, verify

from jaxrl_llm.tasks import answers

# It would warn on every call that its time limits are off.
logging.getLogger('math_verify').setLevel(logging.ERROR)


def _expressions(text: str) -> list[Any]:
  """Parsed forms of a text; a marked answer is boxed, so that it is LaTeX."""
  found = answers.marked(text)
  if found is not None:
    text = '\\boxed{' + found.strip('$ ') + '}'
  return parse(text, parsing_timeout=None)


def equal(
  responses: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> list[float]:
  """1 where the response's expression equals the row's answer, else 0.

  Args:
    responses: the marked answer is compared (`answers.marked`), else the last
      expression that the library finds.
    rows: 'answer' is LaTeX, with or without `$` and `\\boxed`, or plain.

  Raises:
    ValueError: the row's answer is no expression.

  Source: Math-Verify, github.com/huggingface/Math-Verify.
  """
  scores = []
  for response, row in zip(responses, rows, strict=True):
    reference = answers.final(str(row['answer'])).strip('$ ')
    gold = parse('\\boxed{' + reference + '}', parsing_timeout=None)
    if not gold:
      raise ValueError(f'the answer {row["answer"]!r} is no expression')
    found = _expressions(response)
    scores.append(float(verify(gold, found, timeout_seconds=None)))
  return scores
