"""Requests and answers as OpenAI's chat completions have them.

What a request asks for is done, or overruled because what is trained is the
run's own distribution, or refused. Nothing else is let pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxrl_llm.serving.ledger import digest
from jaxrl_llm.tasks.speech import Message, Said

# Asked for, and overruled: how the run samples decides.
OVERRULED = (
  *('temperature', 'top_p', 'top_k', 'min_p', 'seed', 'reasoning_effort'),
  *('frequency_penalty', 'presence_penalty', 'parallel_tool_calls'),
)
# Of no consequence for an answer.
_INERT = (
  *('model', 'user', 'metadata', 'store', 'service_tier', 'stream_options'),
  *('safety_identifier', 'prompt_cache_key', 'verbosity'),
)
_READ = (
  *('messages', 'tools', 'tool_choice', 'max_tokens', 'max_completion_tokens'),
  *('stop', 'stream', 'n', 'logprobs', 'response_format'),
)
_ROLES = ('system', 'developer', 'user', 'assistant', 'tool')
_STOPS = 4
# What the names of answers begin with.
_NAMED = 'chatcmpl-'
_DIGITS = re.compile('[0-9a-f]{1,16}')
# Of a payment; more would leave no precision to other rewards.
LARGEST_REWARD = 1e6


class Refused(Exception):
  """A request that is not answered.

  Attributes:
    status: of HTTP. code: by which programs tell what is wrong.
  """

  def __init__(
    self, words: str, *, status: int = 400, code: str = 'invalid_request'
  ):
    super().__init__(words)
    self.status, self.code = status, code

  @property
  def body(self) -> dict[str, Any]:
    """What is sent in place of an answer."""
    kind = 'invalid_request_error'
    return {
      'error': {
        'message': str(self),
        'type': kind,
        'param': None,
        'code': self.code,
      }
    }


class Request(NamedTuple):
  """What is asked for.

  Attributes:
    messages: with texts as contents and arguments as mappings.
    tools: JSON schemas of what may be called.
    most: tokens of the answer, 0 for as many as there are.
    stop: texts before which it ends.
    stream: in events. usage: whether the last of them counts tokens.
    overruled: names of what was asked for in vain.
  """

  messages: Sequence[Message]
  tools: Sequence[Any]
  most: int
  stop: tuple[str, ...]
  stream: bool
  usage: bool
  overruled: tuple[str, ...]


def request(body: Any) -> Request:
  """Reads the JSON of a request.

  Raises:
    Refused: it cannot be answered; it says why.
  """
  if not isinstance(body, dict):
    raise Refused('a request is a JSON object')
  given = {name: x for name, x in body.items() if x is not None}
  for name in given:
    if name not in (*_READ, *_INERT, *OVERRULED):
      raise Refused(f'{name} is not supported; leave it out')
  if given.get('n', 1) != 1:
    raise Refused(f'n={given["n"]!r}: ask again for another answer, with n=1')
  if given.get('logprobs'):
    raise Refused('logprobs are not told; leave it out')
  form = given.get('response_format', {'type': 'text'})
  if form != {'type': 'text'}:
    raise Refused(f'response_format {form!r:.80}: answers are text alone')
  messages = given.get('messages')
  if not isinstance(messages, list) or not messages:
    raise Refused('messages must be a list with at least one message')
  read = _answered([_message(each) for each in messages])
  if read[-1]['role'] == 'assistant':
    raise Refused(
      'the last message is of the assistant, and answers cannot go on from '
      'words that are given; end with a message of the user or a tool'
    )
  tools, forced = _tools(given)
  overruled = [name for name in OVERRULED if name in given]
  return Request(
    messages=read,
    tools=tools,
    most=_most(given),
    stop=_stop(given.get('stop', [])),
    stream=_truth(given, 'stream'),
    usage=bool(_options(given).get('include_usage')),
    overruled=(*overruled, *(['tool_choice'] if forced else [])),
  )


def reward(body: Any) -> tuple[float, int]:
  """Reads the JSON of a payment, {"reward": 0.5, "id": "chatcmpl-..."}.

  Returns:
    The amount, and the identity of the answer that is paid, -1 for the last.

  Raises:
    Refused: it pays nothing that is known.
  """
  if not isinstance(body, dict) or not {*body} <= {'reward', 'id'}:
    raise Refused('a payment is a JSON object of reward and, if need be, id')
  amount, name = body.get('reward'), body.get('id')
  if isinstance(amount, bool) or not isinstance(amount, (int, float)):
    raise Refused(f'reward {amount!r:.40} must be a number')
  if not abs(amount) <= LARGEST_REWARD:
    raise Refused(f'reward {amount!r:.40} is beyond {LARGEST_REWARD:g}')
  if name is None:
    return float(amount), -1
  digits = name.removeprefix(_NAMED) if isinstance(name, str) else ''
  if not _DIGITS.fullmatch(digits):
    raise Refused(f'id {name!r:.40} is that of no answer')
  return float(amount), int(digits, 16)


def _truth(given: Mapping[str, Any], name: str) -> bool:
  if not isinstance(given.get(name, False), bool):
    raise Refused(f'{name} must be true or false, not {given[name]!r:.40}')
  return given.get(name, False)


def _options(given: Mapping[str, Any]) -> Mapping[str, Any]:
  options = given.get('stream_options', {})
  if not isinstance(options, dict):
    raise Refused('stream_options must be an object')
  return options


def _most(given: Mapping[str, Any]) -> int:
  found = [
    given[name]
    for name in ('max_completion_tokens', 'max_tokens')
    if name in given
  ]
  if not found:
    return 0
  most = found[0]
  if isinstance(most, bool) or not isinstance(most, int) or most < 1:
    raise Refused(f'max_tokens {most!r:.40} must be a whole number from 1 on')
  return most


def _stop(given: Any) -> tuple[str, ...]:
  stops = [given] if isinstance(given, str) else given
  good = isinstance(stops, list) and len(stops) <= _STOPS
  if not good or not all(isinstance(x, str) and x for x in stops):
    raise Refused(f'stop must be a text, or up to {_STOPS} of them')
  return tuple(stops)


def _tools(given: Mapping[str, Any]) -> tuple[list[Any], bool]:
  """The tools that may be called, and whether one was to be."""
  tools = given.get('tools', [])
  if not isinstance(tools, list):
    raise Refused('tools must be a list')
  for tool in tools:
    function = tool.get('function') if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(
      function.get('name'), str
    ):
      raise Refused(f'a tool is a function with a name, not {tool!r:.80}')
  choice = given.get('tool_choice', 'auto')
  if choice == 'none':
    return [], False
  if choice == 'auto':
    return tools, False
  if choice != 'required' and not isinstance(choice, dict):
    raise Refused(f'tool_choice {choice!r:.40} is none of auto, none, required')
  if not tools:
    raise Refused(f'tool_choice {choice!r:.40} without tools')
  # What the policy does is its own choice.
  return tools, True


def _message(given: Any) -> dict[str, Any]:
  """A message in one form, whatever its client is used to."""
  if not isinstance(given, dict) or given.get('role') not in _ROLES:
    role = given.get('role') if isinstance(given, dict) else given
    raise Refused(f'no message has the role {role!r:.40}; use {_ROLES}')
  role = 'system' if given['role'] == 'developer' else given['role']
  message: dict[str, Any] = {'role': role, 'content': _words(given)}
  for name in ('name', 'tool_call_id', 'reasoning_content'):
    if isinstance(given.get(name), str):
      message[name] = given[name]
  calls = given.get('tool_calls')
  if calls and role != 'assistant':
    raise Refused(f'a message of the {role} calls tools')
  if calls:
    message['tool_calls'] = [_call(each) for each in calls]
  if role == 'tool' and 'tool_call_id' not in message:
    raise Refused('a message of a tool needs tool_call_id')
  return message


def _answered(messages: Sequence[Message]) -> list[Message]:
  """The messages, with the results of a turn in the order of its calls.

  Programs that make several calls at once may send results as they come, and
  no row depends on when.

  Raises:
    Refused: a call has no result or two, or a result is that of no call.
  """
  found: list[Message] = []
  waiting = list(messages)
  while waiting:
    message = waiting.pop(0)
    if message['role'] == 'tool':
      raise Refused(
        f'tool_call_id {message["tool_call_id"]!r:.40}: a result follows the '
        'message that calls, once for each of its calls'
      )
    found.append(message)
    names = [call['id'] for call in message.get('tool_calls') or ()]
    results: dict[str, Message] = {}
    while waiting and waiting[0].get('tool_call_id') in {*names} - {*results}:
      result = waiting.pop(0)
      results[result['tool_call_id']] = result
    if {*names} != {*results}:
      raise Refused(
        f'the call {min({*names} - {*results})!r:.40} has no result; answer '
        'each of tool_calls by a message of a tool with its tool_call_id'
      )
    found += [results[name] for name in names]
  return found


def _words(given: Mapping[str, Any]) -> str:
  content = given.get('content')
  if content is None:
    return ''
  if isinstance(content, str):
    return content
  if not isinstance(content, list):
    raise Refused(f'content must be text, not {content!r:.40}')
  words = []
  for part in content:
    kind = part.get('type') if isinstance(part, dict) else None
    if kind != 'text' or not isinstance(part.get('text'), str):
      raise Refused(f'content of the type {kind!r:.40}: text alone is read')
    words.append(part['text'])
  return ''.join(words)


def _call(given: Any) -> dict[str, Any]:
  """A call in the history, with its arguments read if they can be."""
  try:
    name, arguments = given['function']['name'], given['function']['arguments']
    read = _object(arguments) if isinstance(arguments, str) else arguments
    if not isinstance(name, str) or not isinstance(read, (dict, str)):
      raise ValueError('a name and an object of arguments are needed')
  except (KeyError, TypeError, ValueError) as error:
    raise Refused(f'the call {given!r:.80} cannot be read: {error}') from error
  return {
    'id': str(given.get('id', '')),
    'type': 'function',
    'function': {'name': name, 'arguments': read},
  }


def _object(text: str) -> dict[str, Any] | str:
  """An object of JSON, or the text that is none."""
  try:
    found = json.loads(text)
  except (ValueError, RecursionError):
    return text
  return found if isinstance(found, dict) else text


def message(said: Said, identity: int) -> dict[str, Any]:
  """An answer as a message, in the form that `request` reads.

  A call that cannot be read has what was written in place of arguments, which
  is no object of JSON.

  Args:
    identity: of its request; it names the calls.
  """
  words = said.content if said.calls or said.thought else str(said)
  found: dict[str, Any] = {'role': 'assistant', 'content': words}
  if said.thought:
    found['reasoning_content'] = said.thought
  if said.calls:
    found['tool_calls'] = [
      {
        # Nine letters or digits, which is all that some templates take.
        'id': f'{digest(identity, number):016x}'[-9:],
        'type': 'function',
        'function': {
          'name': call.name,
          'arguments': call.written if call.error else dict(call.arguments),
        },
      }
      for number, call in enumerate(said.calls)
    ]
  return found


def written(answer: Mapping[str, Any]) -> dict[str, Any]:
  """The message as it is sent, with arguments as text."""
  if not answer.get('tool_calls'):
    return dict(answer)
  calls = [
    {
      **call,
      'function': {
        'name': call['function']['name'],
        'arguments': _argued(call['function']['arguments']),
      },
    }
    for call in answer['tool_calls']
  ]
  return {**answer, 'content': answer['content'] or None, 'tool_calls': calls}


def _argued(arguments: Any) -> str:
  """Arguments as text, as which those come that cannot be read."""
  if isinstance(arguments, str):
    return arguments
  return json.dumps(arguments, ensure_ascii=False)


class Answer(NamedTuple):
  """An answer to be sent.

  Attributes:
    message: of the assistant. cut: whether the budget of tokens ended it.
    read: tokens before it. drawn: tokens of it.
    identity: of its request. model: as the request called it.
    created: in seconds.
  """

  message: Mapping[str, Any]
  cut: bool
  read: int
  drawn: int
  identity: int
  model: str
  created: int

  @property
  def reason(self) -> str:
    """Why it ends, in the words of the protocol."""
    if self.cut:
      return 'length'
    return 'tool_calls' if self.message.get('tool_calls') else 'stop'

  @property
  def usage(self) -> dict[str, int]:
    return {
      'prompt_tokens': self.read,
      'completion_tokens': self.drawn,
      'total_tokens': self.read + self.drawn,
    }

  def body(self) -> dict[str, Any]:
    """All of it at once."""
    choice = {
      'index': 0,
      'message': written(self.message),
      'finish_reason': self.reason,
      'logprobs': None,
    }
    whole = self._named('chat.completion')
    return {**whole, 'choices': [choice], 'usage': self.usage}

  def events(self, usage: bool) -> Iterator[str]:
    """The same in events: the message, then why it ends."""
    delta = written(self.message)
    for number, call in enumerate(delta.get('tool_calls', ())):
      call['index'] = number
    named = self._named('chat.completion.chunk')
    for part, reason in ((delta, None), ({}, self.reason)):
      choice = {'index': 0, 'delta': part, 'finish_reason': reason}
      yield _event({**named, 'choices': [choice]})
    if usage:
      yield _event({**named, 'choices': [], 'usage': self.usage})
    yield 'data: [DONE]\n\n'

  def _named(self, kind: str) -> dict[str, Any]:
    return {
      'id': f'{_NAMED}{self.identity:016x}',
      'object': kind,
      'created': self.created,
      'model': self.model,
    }


def _event(body: Mapping[str, Any]) -> str:
  return f'data: {json.dumps(body)}\n\n'


def before(text: str, stops: Sequence[str]) -> str | None:
  """A text up to the first of some stops, None where none is in it."""
  found = [text.find(stop) for stop in stops if stop in text]
  return text[: min(found)] if found else None
