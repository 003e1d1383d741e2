"""Feedback in words on parts of responses, for `notes.parts.Spans`.

    f(responses: list[str], rows: list[dict]) -> list[dict]

One mapping for each response: 'good' and 'poor' list its spans, each a text
that stands in the response, wherever it does, or a pair of places in it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from jaxrl_llm.tasks import answers

Span = str | tuple[int, int]


def compared(
  responses: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, list[Span]]]:
  """Good is what a response shares with the row's answer, poor is the rest.

  Args:
    responses: compared letter by letter; white space is neither.
    rows: 'answer', or the first of several.

  Example:
    >>> compared(['013'], [{'answer': '01'}])
    [{'good': [(0, 2)], 'poor': [(2, 3)]}]
  """
  return [
    _compared(response, answers.accepted(row)[0])
    for response, row in zip(responses, rows, strict=True)
  ]


def _compared(response: str, answer: str) -> dict[str, list[Span]]:
  matcher = difflib.SequenceMatcher(None, response, answer, autojunk=False)
  good: list[Span] = []
  poor: list[Span] = []
  for kind, start, end, _, _ in matcher.get_opcodes():
    if response[start:end].strip():
      (good if kind == 'equal' else poor).append((start, end))
  return {'good': good, 'poor': poor}


def places(response: str, spans: Sequence[Span]) -> list[tuple[int, int]]:
  """Where spans stand in a response; a text that does not stands nowhere.

  Raises:
    ValueError: a span that is neither a text nor a pair within the response.
  """
  found = []
  for span in spans:
    if isinstance(span, str):
      start = response.find(span) if span else -1
      while start >= 0:
        found.append((start, start + len(span)))
        start = response.find(span, start + len(span))
      continue
    try:
      start, end = span
      inside = 0 <= start <= end <= len(response)
    except (TypeError, ValueError):
      inside = False
    if not inside:
      raise ValueError(
        f'the span {span!r:.60} is no text, and no pair of places in a '
        f'response of {len(response)} letters'
      )
    found.append((start, end))
  return found
