"""Demonstrations: what an assistant should say, to a prompt or in a chat.

A record holds one of

    prompt, completion      text, or chat messages
    messages                a conversation, as of TRL and of OpenAI
    text                    a text to be said from its second token on
    prompt, demonstration   as generated tasks write it

Of `messages` every turn of the assistant is to be said but those of weight 0,
as OpenAI has it, and one that nobody asked for, at the very beginning. What
others say, and what a `prompt` holds, is read alone. Where either is messages,
a prompt that is text is the user's, and a completion the assistant's.

Rows come out with `prompt`, all that precedes the first turn to be said, and
either `completion`, a text behind a text, or `following`, messages. Of a `text`
alone the prompt is the same text, by which records are told apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxrl_llm.tasks import conversations, data

Row = dict[str, Any]


def load(settings: Any, *, seed: int) -> tuple[data.Dataset, data.Dataset]:
  """The training and the held-out records that the settings ask for.

  Args:
    settings: as in `data.load`.
    seed: of generated records and of the split.

  Raises:
    ValueError: as `data.load` and `parted` do.
  """
  train, held_out = data.load(settings, seed=seed, read=load_records)
  return _completed(train), _completed(held_out)


def load_records(
  path, *, prompt_field: str = 'prompt', **fields: Any
) -> data.Dataset:
  """Records with what is to be said, read as by `data.load_records`.

  Raises:
    ValueError: as `data.load_records` and `parted` do, with file and line.
  """

  def prepared(place, record):
    found = parted(place, record, prompt_field)
    return record | {prompt_field: found['prompt']} | found

  return data.load_records(
    path, prompt_field=prompt_field, prepared=prepared, **fields
  )


def _completed(dataset: data.Dataset) -> data.Dataset:
  """A generated dataset as one that was read."""
  rows = [
    row
    if row.keys() & {'following', 'completion', 'text'}
    else row | parted(dataset.place(i), row, 'prompt')
    for i, row in enumerate(dataset.rows)
  ]
  return dataclasses.replace(dataset, rows=rows)


def parted(place: str, record: Mapping[str, Any], prompt_field: str) -> Row:
  """What is read of a record, and what is to be said.

  Args:
    place: 'file:line' for messages of errors.

  Raises:
    ValueError: none or several of the forms, or what is neither text nor
      messages; naming the place.
  """
  given = {k: v for k, v in record.items() if v is not None}
  if 'messages' in given and 'completion' not in given:
    talk = conversations.conversation(place, given['messages'])
    return _divided(place, talk, 0)
  said = given.get('completion', given.get('demonstration'))
  text, more = given.get('text'), {prompt_field, 'completion', 'messages'}
  if isinstance(text, str) and text and given.keys().isdisjoint(more):
    return {'prompt': text, 'text': text}
  if 'messages' in given or prompt_field not in given or said is None:
    raise ValueError(
      f'{place}: a demonstration needs either messages, or {prompt_field} and '
      f'completion, or a text; this has {sorted(given)}'
    )
  asked = given[prompt_field]
  if isinstance(asked, str) and isinstance(said, str):
    return {'prompt': asked, 'completion': said}
  asked, said = (
    conversations.conversation(
      f'{place}: the {name}',
      [{'role': role, 'content': x}] if isinstance(x, str) else x,
    )
    for name, role, x in (
      ('prompt', 'user', asked),
      ('completion', 'assistant', said),
    )
  )
  return _divided(place, [*asked, *said], len(asked))


def _divided(place: str, talk: list[conversations.Message], start: int) -> Row:
  """A conversation up to the first turn to be said from `start` on, and it."""
  turns = [i for i, said in enumerate(talk) if i and said_by_policy(said)]
  for i in turns:
    weight = talk[i].get('weight', 1)
    if weight not in (0, 1):
      raise ValueError(
        f'{place}: message {i} has the weight {weight!r}; use 1 for a turn to '
        'be said, 0 for one to be read'
      )
  first = min((i for i in turns if i >= start), default=len(talk))
  return {'prompt': talk[:first], 'following': talk[first:]}


def said_by_policy(message: Mapping[str, Any]) -> bool:
  """Whether a message that follows a prompt is to be said."""
  return message['role'] == 'assistant' and message.get('weight', 1) != 0
