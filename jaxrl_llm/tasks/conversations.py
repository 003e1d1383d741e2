"""Conversations of records, in the one form that everybody reads.

A message is {'role': text, 'content': text, ...}: content that came as parts
is joined, arguments of tool calls that came as JSON are objects, and fields
that are null are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Message = dict[str, Any]


def conversation(place: str, messages: Any) -> list[Message]:
  """Chat messages with text as their contents.

  Content may be text, or parts [{'type': 'text', 'text': ...}, ...], which are
  joined without anything between, as templates of models with images do. A
  message that calls tools may have none.

  Args:
    place: 'file:line' for messages of errors.

  Raises:
    ValueError: no list of messages with role and content, or content that is
      no text, such as an image.
  """
  if not isinstance(messages, list) or not messages:
    raise ValueError(
      f'{place}: messages must be a list of objects with role and content, '
      f'not {str(messages)[:60]!r}'
    )
  return [_message(f'{place}: message {i}', m) for i, m in enumerate(messages)]


def _message(place: str, message: Any) -> Message:
  if not isinstance(message, dict) or not isinstance(message.get('role'), str):
    raise ValueError(
      f'{place} must be an object with role and content, not '
      f'{str(message)[:60]!r}'
    )
  # What writes tables fills up absent fields with null, and templates print it.
  message = {k: v for k, v in message.items() if v is not None}
  content = message.get('content')
  if content is None and message.get('tool_calls'):
    content = ''
  if isinstance(content, list):
    content = ''.join(_part(place, i, part) for i, part in enumerate(content))
  if not isinstance(content, str):
    raise ValueError(
      f'{place}, of the {message["role"]}, must have content that is text or '
      f'parts of text, not {content!r:.60}'
    )
  message = message | {'content': content}
  if message.get('tool_calls'):
    message['tool_calls'] = _calls(place, message['tool_calls'])
  return message


def _calls(place: str, calls: Any) -> list[Any]:
  """Tool calls with their arguments as objects, which templates write as JSON.

  Makers of data keep them as the text that an API answers with, which a
  template would write as JSON once more.
  """
  if not isinstance(calls, list) or not all(isinstance(c, dict) for c in calls):
    raise ValueError(
      f'{place}: tool_calls must be a list of objects, not {calls!r:.60}'
    )
  return [_called(place, call) for call in calls]


def _called(place: str, call: Mapping[str, Any]) -> dict[str, Any]:
  if isinstance(call.get('function'), dict):
    return {**call, 'function': _called(place, call['function'])}
  arguments = call.get('arguments')
  if not isinstance(arguments, str):
    return dict(call)
  try:
    return {**call, 'arguments': json.loads(arguments)}
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f'{place}: the arguments {arguments[:60]!r} of a tool call are no JSON: '
      f'{error}'
    ) from error


def _part(place: str, number: int, part: Any) -> str:
  kind = part.get('type') if isinstance(part, dict) else type(part).__name__
  if kind != 'text':
    raise ValueError(
      f'{place}: part {number} of the content is of type {kind!r}, and the '
      'models read text alone; leave such records out'
    )
  if not isinstance(part.get('text'), str):
    raise ValueError(
      f'{place}: part {number} of the content has no text, but '
      f'{part.get("text")!r:.60}'
    )
  return part['text']


def own_system(messages: Sequence[Mapping[str, Any]]) -> bool:
  """Whether a conversation says itself what the system is told."""
  return any(m['role'] in ('system', 'developer') for m in messages)


def tools(place: str, given: Any) -> list[Any]:
  """The tools of a record, as JSON schemas; makers also keep them as JSON.

  Raises:
    ValueError: something else than a list of objects.
  """
  if isinstance(given, str) and given.strip():
    try:
      given = json.loads(given)
    except (ValueError, RecursionError) as error:
      raise ValueError(f'{place}: the tools are no JSON: {error}') from error
  if given in (None, [], ''):
    return []
  if not isinstance(given, list) or not all(isinstance(t, dict) for t in given):
    raise ValueError(
      f'{place}: tools must be a list of JSON schemas, not {given!r:.60}'
    )
  return given
