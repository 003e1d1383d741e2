"""Questions with their answers before every question, as of few-shot prompts.

They are some of the training part, the same before all questions, and nobody
trains on them: a question would find its own answer there. Before messages
they are turns of a user and of the assistant, behind what the system is told;
before a text they are texts, each ended by an empty line:

    2+2= 4

    7-2+9=
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrl_llm.tasks import conversations, data, options

Messages = list[Mapping[str, Any]]


class Shot(NamedTuple):
  """An example: where it is from, its prompt and its answer."""

  place: str
  prompt: str | Messages
  answer: str


def taken(
  dataset: data.Dataset, count: int, *, seed: int
) -> tuple[tuple[Shot, ...], data.Dataset]:
  """Examples out of a dataset, and the rest of it, without their copies.

  Args:
    count: of examples, all of different questions.
    seed: which ones. As in `data.split`, adding rows moves few of them.

  Raises:
    ValueError: no question would be left, or one has no answer to be shown.
  """
  if not count:
    return (), dataset
  asked = [json.dumps(row['prompt']) for row in dataset.rows]
  ranked = sorted(set(asked), key=lambda prompt: _rank(prompt, seed))
  if count >= len(ranked):
    raise ValueError(
      f'data.shots={count} leaves none of the {len(ranked)} different '
      f'questions of {dataset.name} to train on; take fewer'
    )
  chosen = ranked[:count]
  shots = tuple(_shot(dataset, asked.index(prompt)) for prompt in chosen)
  rest = [i for i, prompt in enumerate(asked) if prompt not in set(chosen)]
  return shots, dataset.take(np.array(rest))


def _rank(prompt: str, seed: int) -> bytes:
  text = f'{seed}/shots/{prompt}'.encode(errors='surrogatepass')
  return hashlib.blake2b(text).digest()


def _shot(dataset: data.Dataset, index: int) -> Shot:
  """An example with a worked answer, if its record has one."""
  row, place = dataset.rows[index], dataset.place(index)
  answer = row.get('solution', row.get('answer'))
  if isinstance(answer, list):
    answer = answer[0]
  if type(answer) is int and options.of(row):
    answer = options.reference(row, answer)
  if not isinstance(answer, str) or not answer.strip():
    raise ValueError(
      f'{place}: data.shots shows questions with their answers, and this has '
      'none; name its field with data.answer_field, or set data.shots=0'
    )
  return Shot(place, data.prompt_of(place, row['prompt']), answer)


def before(prompt: str | Messages, shots: Sequence[Shot]) -> str | Messages:
  """A prompt behind examples.

  Raises:
    ValueError: an example is a conversation, and the prompt a text.
  """
  if isinstance(prompt, str):
    return ''.join(_text(shot, prompt) for shot in shots) + prompt
  own = 0
  while own < len(prompt) and conversations.own_system([prompt[own]]):
    own += 1
  turns = [message for shot in shots for message in _turns(shot)]
  return [*prompt[:own], *turns, *prompt[own:]]


def _text(shot: Shot, prompt: str) -> str:
  asked = shot.prompt
  if not isinstance(asked, str):
    raise ValueError(
      f'the prompt {prompt[:60]!r} is a text without a chat template, and the '
      f'example of {shot.place} is messages; give one form, or set data.shots=0'
    )
  gap = '' if asked[-1].isspace() else ' '
  return f'{asked}{gap}{shot.answer.strip()}\n\n'


def _turns(shot: Shot) -> Messages:
  """The turns of an example, of which the last is the assistant's."""
  talk = shot.prompt
  if isinstance(talk, str):
    talk = [{'role': 'user', 'content': talk}]
  talk = [m for m in talk if not conversations.own_system([m])]
  said = shot.answer
  # One that the assistant has begun goes on.
  if talk and talk[-1]['role'] == 'assistant':
    talk, said = talk[:-1], talk[-1]['content'] + said
  return [*talk, {'role': 'assistant', 'content': said}]
