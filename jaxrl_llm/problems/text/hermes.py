"""Tools for chats whose template writes none, in the words of messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jaxrl_llm.problems.text import calls, dialogue
from jaxrl_llm.tasks.speech import Message

_HERMES = """You may call tools, which are:
{schemas}
A call is an object of JSON with the name of a tool and its arguments:
<tool_call>
{{"name": NAME, "arguments": {{ARGUMENT: VALUE}}}}
</tool_call>"""


class Hermes:
  """A chat whose template writes no tools, so that messages do.

  The system's message, or that of the user where there is no system, begins
  with their schemas; a call is a text between marks, and so is a result, in the
  message of a user.
  """

  def __init__(
    self, inner: dialogue.Plain | dialogue.Templated, reader: dialogue.Reader
  ):
    self._inner, self._reader = inner, reader

  def begin(self, prompt, tools=()):
    if isinstance(prompt, str):
      return self._inner.begin(f'{_schemas(tools)}\n\n{prompt}')
    if any(m['role'] == 'tool' or m.get('tool_calls') for m in prompt):
      prompt = joined(prompt)
    return self._inner.begin(_prefaced(prompt, tools))

  def after(self, history, said, new, tools=()):
    told = history
    if isinstance(self._inner, dialogue.Templated):
      told = worded(history, tools)
    return self._inner.after(told, said, joined(new))

  def read(self, ids, tools=(), *, cut=False):
    return self._reader.read(ids, cut=cut, form=calls.HERMES, tools=tools)

  def message(self, said):
    return {'role': 'assistant', 'content': str(said)}

  def sample_of(self, history, message, tools=()):
    return self._inner.sample_of(
      worded(history, tools),
      {'role': 'assistant', 'content': _words(message)},
    )


def worded(messages: Sequence[Message], tools: Sequence[Any]) -> list[Any]:
  """Messages whose tools, calls and results are words."""
  return _prefaced(joined(messages), tools)


def _prefaced(messages, tools):
  """Messages that begin with the schemas of tools."""
  first, *rest = messages
  said = f'{_schemas(tools)}\n\n{first["content"]}'
  return [{**first, 'content': said}, *rest]


def _schemas(tools: Sequence[Any]) -> str:
  lines = (json.dumps(tool, ensure_ascii=False) for tool in tools)
  return _HERMES.format(schemas='\n'.join(lines))


def _words(message: Message) -> str:
  """What a message says, with its calls in words."""
  written = [
    calls.HERMES.written(
      call['function']['name'], call['function']['arguments']
    )
    for call in message.get('tool_calls', ())
  ]
  return '\n'.join(filter(None, [message['content'], *written]))


def joined(messages: Sequence[Message]) -> list[dict[str, Any]]:
  """Messages without calls; results are a user's, whose messages are joined."""
  found: list[dict[str, Any]] = []
  for message in messages:
    role, words = message['role'], _words(message)
    if role == 'tool':
      role = 'user'
      words = f'<tool_response>\n{words}\n</tool_response>\n'
    if found and found[-1]['role'] == role == 'user':
      found[-1]['content'] += words
    else:
      found.append({'role': role, 'content': words})
  return found
