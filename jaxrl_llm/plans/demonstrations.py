"""Demonstrations: what somebody else wrote, as rows.

The field `demonstration` of a question's record is its text. Where there is
none, as where it is null, empty or messages, or one that is too long for a
response, its row is not valid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxrl_llm.plans import actions, fields, given

_FIELD = 'demonstration'


def required(records: Sequence[Mapping[str, Any]]) -> None:
  """Refuses questions without a demonstration, see `Contract.checks`."""
  lack = f'have no text in a field "{_FIELD}", which the recipe learns from'
  fields.refuse(records, shown_in, lack)


def required_of_some(records: Sequence[Mapping[str, Any]]) -> None:
  """Refuses questions of which none has a demonstration, and counts others."""
  without = sum(not shown_in(record) for record in records)
  if without == len(records):
    required(records)
  if without:
    logging.warning(
      '%d of %d questions have no text in a field "%s"; the recipe learns from '
      'its own responses to them', without, len(records), _FIELD,
    )  # fmt: skip


def shown_in(record: Mapping[str, Any]) -> str:
  """The demonstration of a question; '' if there is none, or no text."""
  found = record.get(_FIELD)
  return found if isinstance(found, str) and found.strip() else ''


def demonstrated(tools, prompts):
  """The demonstrations of prompts as rows [B, T] of ordinary actions.

  Their `logp` is that of the current policy, so that a ratio is about how it
  has changed since.
  """
  columns = tools.columns
  records = tools.rows(prompts.task)
  texts = [shown_in(record) for record in records]
  ids = tools.responses(texts)
  fits = np.array(
    [text != '' and len(row) <= columns for text, row in zip(texts, ids)]
  )
  ids = [tokens if fit else [] for tokens, fit in zip(ids, fits)]
  rows = given.written(given.blank(prompts, 1, columns), ids)
  rows = rows.replace(action_mask=rows.response_mask, valid=jnp.asarray(fits))
  return actions.drawn(tools, rows)
