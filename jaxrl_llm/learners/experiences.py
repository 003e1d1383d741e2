"""Experiences that prompts carry, edited by what tells a group's answers apart.

advantage  f(question, answers, rewards, experiences) -> operations, for the
           answers of one group, best first; what a language model reads off
           them in the paper
merge      f(experiences) -> experiences, what it makes of the edited list
prompt     f(experiences, question) -> text
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxrl_llm.learners.texts import Policy


class Operation(NamedTuple):
  """One edit of the list.

  Attributes:
    kind: 'add', 'modify' or 'delete'. text: the experience, none to delete.
    place: which one is modified or deleted, counted before any edit.
  """

  kind: str
  text: str = ''
  place: int = -1


Experiences = tuple[str, ...]
Advantage = Callable[
  [str, Sequence[str], Sequence[float], Experiences], Sequence[Operation]
]


def revised(
  experiences: Experiences, operations: Sequence[Operation]
) -> Experiences:
  """The list after all operations, new experiences at its end.

  Of several operations on one place the last holds.

  Raises:
    ValueError: an unknown kind, or a place that does not exist.

  Example:
    >>> revised(('a', 'b'), [Operation('add', 'c'), Operation('delete', '', 0)])
    ('b', 'c')
  """
  kept: list[str] = list(experiences)
  added = []
  for kind, text, place in operations:
    if kind == 'add':
      added.append(text)
    elif kind not in ('modify', 'delete'):
      raise ValueError(f'unknown operation {kind!r}; use add, modify or delete')
    elif not 0 <= place < len(kept):
      raise ValueError(
        f'no experience {place} to {kind}; there are {len(kept)}'
      )
    else:
      kept[place] = text if kind == 'modify' else ''
  return (*filter(None, kept), *added)


def winner(
  question: str,
  answers: Sequence[str],
  rewards: Sequence[float],
  experiences: Experiences,
) -> list[Operation]:
  """The question with its best answer, in place of what was said of it before.

  Experiences of a question begin with it: the first of them is modified, unless
  it says the same, and others are deleted.

  Example:
    >>> winner('2+2=', ['4', '5'], [1, 0], ('2+2=5',))
    [Operation(kind='modify', text='2+2=4', place=0)]
  """
  del rewards
  lesson = question + answers[0]
  about = [i for i, e in enumerate(experiences) if e.startswith(question)]
  if not about:
    return [Operation('add', lesson)]
  first, *others = about
  edits = [Operation('delete', '', place) for place in others]
  if experiences[first] != lesson:
    edits.insert(0, Operation('modify', lesson, first))
  return edits


def distinct(experiences: Experiences) -> Experiences:
  """Each of them once."""
  return tuple(dict.fromkeys(experiences))


def listed(experiences: Experiences, question: str) -> str:
  """One experience a line, and the question behind them."""
  return '\n'.join([*experiences, question])


@dataclasses.dataclass(frozen=True)
class TrainingFreeGRPO:
  """A frozen policy whose prompts carry the experiences of its groups.

      answers ~ policy(. | prompt(E, question))      G to each question
      operations of every group whose rewards differ, read off its answers
      E' = merge(E with what is added, modified and deleted)

  In place of the numbers of GRPO's advantage stand words, in that of a step of
  the parameters an edit of the prompt. The state is E, without experiences at
  first.

  Attributes:
    policy: see `texts`. advantage, merge, prompt: see the module.
    edits: operations of a group at most. most: experiences that are kept, the
      last ones.

  Source: Training-Free Group Relative Policy Optimization, arXiv 2510.08191,
    and its published code, whose `max_operations` is `edits`. There a language
    model summarises answers, proposes operations and merges; here functions do,
    by default the plainest.
  """

  policy: Policy
  advantage: Advantage = winner
  merge: Callable[[Experiences], Experiences] = distinct
  prompt: Callable[[Experiences, str], str] = listed
  edits: int = 1
  most: int = 16

  def __post_init__(self):
    if min(self.edits, self.most) < 1:
      raise ValueError(
        f'edits={self.edits} and most={self.most} leave nothing to learn; use '
        '1 or more of each'
      )

  def init(self) -> Experiences:
    return ()

  def act(self, state, questions, key):
    return self.policy([self.prompt(state, q) for q in questions], key), state

  def update(self, state, questions, answers, rewards):
    operations: list[Operation] = []
    for question in dict.fromkeys(questions):
      rows = [i for i, other in enumerate(questions) if other == question]
      earned = np.asarray(rewards)[rows]
      if earned.min() == earned.max():
        continue
      order = np.argsort(-earned, kind='stable')
      said = [answers[rows[i]] for i in order]
      proposed = self.advantage(question, said, earned[order].tolist(), state)
      operations += proposed[: self.edits]
    return self.merge(revised(state, operations))[-self.most :]
