"""Calls of tools in what the policy says, read as its template writes them.

No family has a parser here. A template is asked to write one call of made-up
words, and what stands around them is its form:

    <tool_call>{"name": "NAME", "arguments": {...}}</tool_call>
    ----------opener---------    --between--       ---closer---

or, with arguments that are no JSON,

    <tool_call>NAME <key>KEY</key><value>VALUE</value> ... </tool_call>

A form that does not read back what the template writes is none, see `learned`.
Space counts for nothing.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from jaxrl_llm.problems.text import chat
from jaxrl_llm.tasks.speech import Call

_CONTENT, _NAME = 'zqsaid', 'zqname'
_ARGUMENTS = {'zqkeya': 'zqvaluea', 'zqkeyb': 'zqvalueb'}
# The arguments that are read back, beside those of a call of made-up words.
_TRIED: tuple[dict[str, str], ...] = (
  {'a': 'x y', 'b': 'two\nlines'},
  {'a': 'é"}'},
  {},
)


class Reading(NamedTuple):
  """What was read in a text.

  Attributes:
    calls: in their order. content: the text beside them.
    start: where the first begins, in characters; -1 without.
  """

  calls: tuple[Call, ...]
  content: str
  start: int


class Form(Protocol):
  """How calls are written."""

  @property
  def opener(self) -> str:
    """What stands before a name."""

  @property
  def closer(self) -> str:
    """What stands behind the arguments."""

  def arguments(
    self, text: str, start: int, types: Mapping[str, str]
  ) -> tuple[dict[str, Any], int]:
    """The arguments behind a name, and where the call ends.

    Args:
      text: in which the name ends at `start`.
      types: of the arguments, as the tool's schema has them.

    Raises:
      ValueError: there are none; it says what is wrong.
    """


def _spaced(literal: str) -> str:
  """A pattern of a text in which space may be more or less."""
  return r'\s*'.join(map(re.escape, re.findall(r'\w+|[^\w\s]', literal)))


@dataclasses.dataclass(frozen=True)
class Json:
  """Arguments as a JSON object.

  Attributes:
    opener: before the name. between: name and object. closer: behind.
  """

  opener: str
  between: str
  closer: str

  def written(self, name: str, arguments: Mapping[str, Any]) -> str:
    """A call."""
    given = json.dumps(arguments, ensure_ascii=False)
    return f'{self.opener}{name}{self.between}{given}{self.closer}'

  def arguments(self, text, start, types):
    del types
    begun = re.compile(rf'\s*{_spaced(self.between)}\s*').match(text, start)
    if begun is None:
      raise ValueError(f'{self.between.strip()!r} is missing behind its name')
    try:
      found, end = json.JSONDecoder().raw_decode(text, begun.end())
    except (ValueError, RecursionError) as error:
      raise ValueError(f'its arguments are no JSON: {error}') from error
    if not isinstance(found, dict):
      raise ValueError('its arguments are no JSON object')
    closed = re.compile(rf'\s*{_spaced(self.closer)}').match(text, end)
    return found, end if closed is None else closed.end()


@dataclasses.dataclass(frozen=True)
class Pairs:
  """Arguments one by one, text as it stands and other values as JSON.

  Attributes:
    opener: before the name. key: before a key. between: key and value.
    value: behind a value. closer: behind all of them.
  """

  opener: str
  key: str
  between: str
  value: str
  closer: str

  def arguments(self, text, start, types):
    # Space around a value is the template's, as far as it writes any.
    before = self.between[len(self.between.rstrip()) :]
    behind = self.value[: len(self.value) - len(self.value.lstrip())]
    pair = re.compile(
      rf'\s*{_spaced(self.key)}\s*([\w.-]+)\s*{_spaced(self.between)}'
      rf'(?:{before})?(.*?)(?:{behind})?{_spaced(self.value)}',
      re.DOTALL,
    )
    closer = re.compile(rf'\s*{_spaced(self.closer)}')
    found: dict[str, Any] = {}
    while (each := pair.match(text, start)) is not None:
      found[each[1]] = _typed(each[2], types.get(each[1], 'string'))
      start = each.end()
    closed = closer.match(text, start)
    if closed is None:
      raise ValueError(f'{self.closer.strip()!r} is missing behind it')
    return found, closed.end()


def _typed(text: str, kind: str) -> Any:
  """A value of a schema's type, the text itself where it is none."""
  if kind == 'string':
    return text
  try:
    return json.loads(text)
  except (ValueError, RecursionError):
    return text


# As many families write calls, and as policies are told to whose template
# writes none.
HERMES = Json('<tool_call>\n{"name": "', '", "arguments": ', '}\n</tool_call>')


def read(
  form: Form, text: str, tools: Sequence[Any], *, most: int = 0
) -> Reading:
  """The calls in a text; those that cannot be made have an `error`.

  Args:
    tools: that may be called, as JSON schemas. What opens as a call does and
      has no mark of its own is one only with the name of a tool.
    most: of a turn, 0 for any number. Where there are more, none is made.
  """
  types = {f['name']: _types_of(f) for f in map(function_of, tools)}
  mark = re.split(r'["{\s]', form.opener.strip(), maxsplit=1)[0]
  opener = re.compile(rf'{_spaced(form.opener)}\s*([\w.-]+)')
  found: list[Call] = []
  named: list[int] = []
  content, at, first = '', 0, -1
  openings = list(_openings(opener, mark, text))
  for begun in openings:
    if begun.start() < at:
      continue
    name = begun[1] if begun.re is opener else ''
    if name not in types and len(mark) < 2:
      continue
    content += text[at : begun.start()]
    first = begun.start() if first < 0 else first
    named.append(begun.end())
    call = Call(f'call{len(found):05d}', name, {})
    try:
      if not name:
        raise ValueError('it names no tool')
      arguments, at = form.arguments(text, begun.end(), types.get(name, {}))
      found.append(call._replace(arguments=arguments))
    except ValueError as error:
      reason = f'the call cannot be read: {error}'
      at = _broken(form, text, begun.end(), openings)
      written = text[begun.end() : at]
      found.append(call._replace(error=reason, written=written))
  content = (content + text[at:]).strip() if found else text
  if most and len(found) > most:
    many = f'{len(found)} calls in a turn, and {most} may be made; none was'
    found = [
      call._replace(error=many, written=text[start:at])
      for call, start in zip(found[:most], named)
    ]
  return Reading(tuple(found), content, first)


def _broken(
  form: Form, text: str, start: int, openings: Sequence[re.Match[str]]
) -> int:
  """Where a call ends that cannot be read, before the next at the latest."""
  later = [begun.start() for begun in openings if begun.start() >= start]
  end = min(later, default=len(text))
  closer = re.compile(_spaced(form.closer))
  closed = [found.end() for found in closer.finditer(text, start, end)]
  return max(closed, default=end)


def _openings(
  opener: re.Pattern, mark: str, text: str
) -> Iterator[re.Match[str]]:
  """Where calls begin, whole or by their mark alone."""
  at = 0
  whole = rf'(?:{opener.pattern})'
  either = re.compile(f'{whole}|{re.escape(mark)}' if len(mark) > 1 else whole)
  while (found := either.search(text, at)) is not None:
    begun = opener.match(text, found.start())
    yield begun or found
    at = (begun or found).end()


def function_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
  """The schema of a function, which may be wrapped."""
  return tool.get('function', tool)


def _types_of(function: Mapping[str, Any]) -> dict[str, str]:
  properties = function.get('parameters', {}).get('properties', {})
  return {name: str(p.get('type', 'string')) for name, p in properties.items()}


def message(content: str, made: Sequence[Call]) -> dict[str, Any]:
  """A message of the assistant that makes calls."""
  said: dict[str, Any] = {'role': 'assistant', 'content': content}
  if made:
    said['tool_calls'] = [
      {
        'id': call.id,
        'type': 'function',
        'function': {'name': call.name, 'arguments': dict(call.arguments)},
      }
      for call in made
    ]
  return said


def learned(
  template: chat.Template, ends: Sequence[str]
) -> tuple[Form, int] | None:
  """The form in which a template writes calls, and how many it does at once.

  Args:
    ends: texts of the tokens that end a turn.

  Returns:
    None where it writes none, or none that can be read back; 0 for any number.
  """
  if not template.reads('tool_calls'):
    return None
  form = _form(template, ends)
  if form is None:
    return None
  tried = [{**_ARGUMENTS}, *_TRIED]
  if not all(_reads_back(template, form, [x], ends) for x in tried):
    return None
  several = _reads_back(template, form, tried, ends)
  return form, 0 if several else 1


def _tool(arguments: Mapping[str, Any]) -> dict[str, Any]:
  properties = {
    key: {'type': 'string', 'description': key} for key in arguments
  }
  parameters = {'type': 'object', 'properties': properties}
  function = {'name': _NAME, 'description': 'd', 'parameters': parameters}
  return {'type': 'function', 'function': function}


def _written(template, content, called, ends) -> str:
  """What the policy would have to say to make calls, '' where it cannot."""
  made = [
    Call(f'call{i:05d}', _NAME, arguments) for i, arguments in enumerate(called)
  ]
  talk = [{'role': 'user', 'content': 'Hi'}]
  tools = [_tool(_ARGUMENTS)] if template.reads('tools') else []
  try:
    asked = template.write(talk, tools, asks=True)
    given = template.write([*talk, message(content, made)], tools, asks=False)
  except ValueError:
    return ''
  same = 0
  while same < min(len(asked), len(given)) and asked[same] == given[same]:
    same += 1
  said = given[same:]
  for end in ends:
    said = said.partition(end)[0]
  return said.rpartition('</think>')[2]


def _form(template, ends) -> Form | None:
  """What stands around the made-up words of a call."""
  said = _written(template, _CONTENT, [_ARGUMENTS], ends)
  before, named, behind = said.partition(_NAME)
  if not named:
    return None
  opener = before.rpartition(_CONTENT)[2].strip()
  if not opener:
    return None
  brace = behind.find('{')
  if brace >= 0:
    try:
      found, end = json.JSONDecoder().raw_decode(behind, brace)
    except ValueError:
      found, end = None, 0
    if found == _ARGUMENTS:
      return Json(opener, behind[:brace].strip(), behind[end:].strip())
  words = [word for pair in _ARGUMENTS.items() for word in pair]
  parts = re.split('|'.join(words), behind)
  if len(parts) != 5 or re.findall('|'.join(words), behind) != words:
    return None
  first, between, among, _, last = parts
  # A value's end and the next key's beginning stand among them.
  count = 0
  while count < min(len(first), len(among)) and (
    first[-1 - count] == among[-1 - count]
  ):
    count += 1
  value = among[: len(among) - count]
  if not value.strip() or not last.startswith(value):
    return None
  key = among[len(among) - count :]
  return Pairs(opener, key.strip(), between, value, last[len(value) :].strip())


def _reads_back(template, form, called, ends) -> bool:
  said = _written(template, _CONTENT, called, ends)
  found = read(form, said, [_tool(_ARGUMENTS | {'a': '', 'b': ''})])
  return [(c.name, c.arguments, c.error) for c in found.calls] == [
    (_NAME, arguments, '') for arguments in called
  ]
