"""What a chat template does with conversations, found out by asking it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxrl_llm.problems.text import dialogue, marks, turns
from jaxrl_llm.tasks.speech import Message

_TOOL = {
  'type': 'function',
  'function': {
    'name': 'zqtool',
    'description': 'zqdescription',
    'parameters': {
      'type': 'object',
      'properties': {'zqkey': {'type': 'string', 'description': 'zqmeaning'}},
    },
  },
}


class Report(NamedTuple):
  """What was found.

  Attributes:
    closes: what is written behind an answer, up to a token that ends a turn of
      the policy; without one, up to the first special token.
    ends: the tokens that end a turn of the policy.
    keeps: whether the history is written as it was said, so that episodes read
      as the template would write them. rewrites: else how it differs.
    roles: that reach the text. tools: whether schemas of tools do.
    calls: of tools that are written of two in a turn.
  """

  closes: str
  ends: tuple[str, ...]
  keeps: bool
  rewrites: str
  roles: tuple[str, ...]
  tools: bool
  calls: int

  @property
  def closed(self) -> bool:
    """Whether a turn that the template has closed has ended."""
    return any(end in self.closes for end in self.ends)

  def check(self) -> None:
    """Refuses a template whose turns do not end.

    Raises:
      ValueError: naming both what it writes and what is waited for.
    """
    if not self.closed:
      raise ValueError(
        f'the chat template ends a turn with {self.closes!r}, and a response '
        f'ends with {" or ".join(map(repr, self.ends))}; name its token as '
        'eos_token_id in generation_config.json of the model folder'
      )

  def lines(self) -> list[str]:
    """The report, for people."""
    ends = ' or '.join(map(repr, self.ends))
    verb = 'as does' if self.closed else 'BUT NOT'
    history = 'as it was said'
    if not self.keeps:
      history = f'anew, and episodes keep it as it was said: {self.rewrites}'
    called = {0: 'no calls', 1: 'one call a turn', 2: 'several calls a turn'}
    schemas = 'schemas' if self.tools else 'no schemas'
    return [
      f'a turn ends with {self.closes!r}, {verb} a response, with {ends}',
      f'the history is written {history}',
      f'roles: {", ".join(self.roles)}',
      f'tools: {schemas}, {called[self.calls]}',
    ]


def inspect(templated: dialogue.Templated) -> Report:
  """Plays a few small conversations.

  Raises:
    ValueError: the template cannot write a question and its answer.
  """
  template, ends = templated.template, templated.ends
  user = _user('Hi')
  spot = {'role': 'assistant', 'content': marks.SPOT}
  behind = template.behind([user], spot, [_user('zqnext')])
  behind = behind.partition('zqnext')[0]
  first = marks.any_of(ends.values()).search(behind)
  first = first or template.special.search(behind)
  rewrites = ''
  for title, talk in _TALKS.items():
    rewrites = rewrites or _rewritten(templated, title, talk)
  roles = [
    role
    for role in ('system', 'user', 'assistant', 'tool')
    if _writes(template, _with_role(role), (), 'zqwords')
  ]
  calls = [
    count
    for count in (1, 2)
    if _writes(
      template,
      [user, _called(count)],
      [_TOOL] if template.reads('tools') else (),
      *(f'{word}{i}' for i in range(count) for word in ('zqkey', 'zqvalue')),
    )
  ]
  return Report(
    closes=behind if first is None else behind[: first.end()],
    ends=tuple(ends.values()),
    keeps=not rewrites,
    rewrites=rewrites,
    roles=tuple(roles),
    tools=_writes(template, [user], [_TOOL], 'zqtool', 'zqkey', 'zqmeaning'),
    calls=max(calls, default=0),
  )


def _user(text: str) -> Message:
  return {'role': 'user', 'content': text}


_TALKS = {
  'answers': [
    _user('Hi'),
    {'role': 'assistant', 'content': 'Yes'},
    _user('Why'),
    {'role': 'assistant', 'content': 'No'},
  ],
  'thoughts': [
    _user('Hi'),
    {'role': 'assistant', 'content': '<think>\nhm\n</think>\n\nYes'},
    _user('Why'),
    {'role': 'assistant', 'content': '<think>\nso\n</think>\n\nNo'},
  ],
}


def _with_role(role: str) -> list[Message]:
  message = {'role': role, 'content': 'zqwords'}
  if role == 'system':
    return [message, _user('Hi')]
  if role == 'tool':
    called = _called(1) | {'content': ''}
    return [_user('Hi'), called, {**message, 'tool_call_id': 'call00000'}]
  return [message] if role == 'user' else [_user('Hi'), message]


def _called(count: int) -> dict[str, Any]:
  calls = [
    {
      'id': f'call{i:05d}',
      'type': 'function',
      'function': {'name': 'zqtool', 'arguments': {f'zqkey{i}': f'zqvalue{i}'}},
    }
    for i in range(count)
  ]
  return {'role': 'assistant', 'content': '', 'tool_calls': calls}


def _writes(
  template,
  messages: Sequence[Message],
  tools: Sequence[Any],
  *words: str,
) -> bool:
  try:
    written = template.write(messages, tools, asks=False)
  except ValueError:
    return False
  return all(word in written for word in words)


def _rewritten(templated, title: str, talk) -> str:
  """How the history differs from what was said, '' where it does not."""
  learned = [i for i, m in enumerate(talk) if m['role'] == 'assistant']
  try:
    rows = turns.rows(
      templated.template, talk, learned=learned, ends=templated.ends
    )
  except ValueError as error:
    return f'{title}: {str(error)[:160]}'
  if len(rows) == 1:
    return ''
  again = templated.template.write(talk[: learned[1]], asks=True)
  return f'{title} {talk[learned[0]]["content"]!r} become {again[-80:]!r}'
