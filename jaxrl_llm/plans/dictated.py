"""Turns that records say, in place of the policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxrl_llm.plans import fields, given, prefixes


def required(field: str, records: Sequence[Mapping[str, Any]]) -> None:
  """Refuses questions without recorded turns, see `Contract.checks`."""

  def has(record):
    found = record.get(field)
    return isinstance(found, list) and all(isinstance(x, str) for x in found)

  says = f'have no list of texts in a field "{field}", the turns that lead'
  fields.refuse(records, lambda x: has(x) and x[field], says)


class Dictated:
  """Tools by which records say every turn, in place of the policy."""

  def __init__(self, tools, field: str):
    self._tools, self._field, self._turn = tools, field, 0

  def __getattr__(self, name):
    return getattr(self._tools, name)

  def turn(self, rollouts, kept, key, *, most, **how):
    """See `Tools.turn`; what is longer than a turn may be is cut."""
    del kept, key, how
    records = self._tools.rows(rollouts.task)
    said = [record[self._field][self._turn :][:1] for record in records]
    self._turn += 1
    ids = self._tools.responses([''.join(text) for text in said])
    ids = [row[:most] if text else [] for row, text in zip(ids, said)]
    prompts = prefixes.as_prompts(rollouts, rollouts.length)
    blank = given.blank(prompts, 1, most)
    return given.written(blank, ids), None
