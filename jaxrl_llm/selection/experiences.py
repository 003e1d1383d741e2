"""Learning without gradients: a list of experiences that prompts carry.

A language model proposes how to revise the list from what tells good
responses from bad ones; the rest is here. Source: Training-Free GRPO, arXiv
2510.08191, and its published code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from jaxrl_llm.selection import filters


@dataclasses.dataclass(frozen=True)
class Operation:
  """One revision of the list.

  Attributes:
    kind: 'add', 'update' or 'delete'. text: the experience, none to delete.
    place: which one is updated or deleted, counted in the list before any
      operation.
  """

  kind: str
  text: str = ''
  place: int = -1


def revised(
  experiences: Sequence[str], operations: Sequence[Operation]
) -> tuple[str, ...]:
  """The list after all operations, new experiences at its end.

  Of several operations on one place the last holds. An update of an
  experience that was to be deleted keeps it.

  Raises:
    ValueError: an unknown kind, or a place that does not exist.
  """
  kept: list[str | None] = list(experiences)
  added = []
  for operation in operations:
    if operation.kind == 'add':
      added.append(operation.text)
    elif operation.kind not in ('update', 'delete'):
      raise ValueError(
        f'unknown operation {operation.kind!r}; use add, update or delete'
      )
    elif not 0 <= operation.place < len(experiences):
      raise ValueError(
        f'no experience {operation.place} to {operation.kind}; there are '
        f'{len(experiences)}'
      )
    else:
      gone = operation.kind == 'delete'
      kept[operation.place] = None if gone else operation.text
  return (*(text for text in kept if text is not None), *added)


def learned(
  experiences: Sequence[str],
  responses: Sequence[str],
  rewards,
  group,
  valid,
  propose: Callable[..., Sequence[Operation]],
) -> tuple[str, ...]:
  """One step: every group that has a contrast proposes, then all is merged.

  Args:
    responses: N texts. rewards: f32[N]. group: i32[N]. valid: bool[N].
    propose: f(experiences, texts, rewards) -> operations, for the valid rows
      of one group, best first; the semantic advantage that a language model
      reads off them.

  Returns:
    The revised list; the same where no group's rewards differ.
  """
  live = np.asarray(filters.mixed_groups(rewards, group, valid)) > 0
  rewards, group = np.asarray(rewards), np.asarray(group)
  operations: list[Operation] = []
  for one in np.unique(group[live]):
    rows = np.flatnonzero(live & (group == one))
    rows = rows[np.argsort(-rewards[rows], kind='stable')]
    texts = [responses[i] for i in rows.tolist()]
    operations += propose(experiences, texts, rewards[rows].tolist())
  return revised(experiences, operations)
