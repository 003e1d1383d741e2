"""What plans ask of the records of all questions: see `Contract.checks`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxrl_llm.plans.base import Check

_ADD = 'add it to them, or leave them out of the data'


def refuse(
  records: Sequence[Mapping[str, Any]],
  has: Callable[[Mapping[str, Any]], Any],
  lack: str,
  remedy: str = _ADD,
) -> None:
  """Refuses questions whose records lack something.

  Args:
    has: f(record), whether it is there. lack: 'have no ...', of the others.
    remedy: what is to be done.
  """
  without = [record for record in records if not has(record)]
  if without:
    raise ValueError(
      f'{len(without)} of {len(records)} questions {lack}, among them '
      f'{without[0].get("prompt")!r:.60}; {remedy}'
    )


def required(
  records: Sequence[Mapping[str, Any]], field: str, says: str
) -> None:
  """Refuses questions without a field."""
  lack = f'have no field "{field}", {says}'
  refuse(records, lambda record: record.get(field), lack)


def need(field: str, says: str) -> Check:
  """The check that all records have a field.

  Args:
    says: what it is, 'which hints are made of'.
  """
  return functools.partial(required, field=field, says=says)
