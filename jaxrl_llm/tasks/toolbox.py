"""Tools as the methods of a class: what an agent may do, and what it earns.

    class Shop(Toolbox):
      def reset(self, row):
        self.prices, self.goal, self.bought = row['prices'], row['answer'], ''

      def price(self, item: str) -> int:
        '''The price of an item.

        Args:
          item: its name.
        '''
        return self.prices[item]

      @final
      def buy(self, item: str):
        '''Buys an item, and is done.

        Args:
          item: its name.
        '''
        self.bought = item

      def reward(self):
        return float(self.bought == self.goal)

An instance lives through one episode, in processes of its own: it is pickled
between turns, so that nothing it does reaches the run, and a turn that went
wrong leaves it as it was. Here are the class and what runs in those processes,
which import no JAX; `hosted` is the environment made of it.
"""

from __future__ import annotations

import base64
import dataclasses
import inspect
import json
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from jaxrl_llm.tasks import conversations, imports, pool
from jaxrl_llm.tasks.speech import Call

# Bytes of a pickled instance.
LARGEST_STATE = 1 << 20
# Characters, as JSON, of what an episode begins with.
LARGEST_OPENING = 1 << 18
_TYPES: Mapping[str, tuple[type, ...]] = {
  'integer': (int,),
  'number': (int, float),
  'string': (str,),
  'boolean': (bool,),
  'array': (list,),
  'object': (dict,),
}
Tool = TypeVar('Tool', bound=Callable[..., Any])


class Toolbox:
  """What a policy may call; its public methods are tools.

  Their signatures and docstrings become the schemas that the policy is shown.

  Attributes:
    said: what the policy said last, once its episode has ended.
    earned: by the turn whose tools are called; they add to it.
  """

  said: str = ''
  earned: float = 0.0

  def reset(self, row: Mapping[str, Any]) -> Any:
    """Begins an episode on a record of the data.

    Returns:
      What the policy is asked, a text or chat messages; None for the prompt of
      the record.
    """

  def reward(self) -> float:
    """What the episode earned beside its turns, asked once, at its end."""
    return 0.0


def final(tool: Tool) -> Tool:
  """Marks a tool whose call ends the episode."""
  tool.final = True  # type: ignore[attr-defined]
  return tool


@dataclasses.dataclass(frozen=True)
class Limits:
  """What ends an episode, or a call, that goes on for too long.

  Attributes:
    calls: of an episode. One more ends it unanswered.
    errors: turns in a row whose calls all went wrong, which end it.
    seconds: of the calls of a turn. What is late is an error that is read.
    episode_seconds: of all calls of an episode, which end it.
    characters: of a result; what is more is left out of its middle.
  """

  calls: int = 16
  errors: int = 3
  seconds: float = 5.0
  episode_seconds: float = 60.0
  characters: int = 2000

  def checked(self) -> Limits:
    """Itself.

    Raises:
      ValueError: a limit that is not positive.
    """
    for name, value in dataclasses.asdict(self).items():
      if not value > 0:
        raise ValueError(f'tools.{name}={value} must be positive')
    return self


def names(kind: type[Toolbox]) -> list[str]:
  """The names of the tools, in the order of the class."""
  found: dict[str, None] = {}
  for each in reversed(kind.__mro__):
    found |= dict.fromkeys(vars(each))
  return [
    name
    for name in found
    if not name.startswith('_')
    and not hasattr(Toolbox, name)
    and inspect.isfunction(getattr(kind, name))
  ]


def schemas(kind: type[Toolbox]) -> list[dict[str, Any]]:
  """The JSON schemas of the tools.

  Raises:
    ValueError: there is none, or one whose signature and docstring say too
      little; it names the tool and what is missing.
  """
  # Half a second of import that the processes of tools do not need.
  from transformers.utils import get_json_schema

  for name in ('said', 'earned'):
    if callable(getattr(kind, name)):
      raise ValueError(
        f'{kind.__name__}.{name} is no tool: by this name it holds what was '
        f'{name}; give the tool another'
      )
  made = []
  for name in names(kind):
    # Bound, so that `self` is no argument; no code of the class runs.
    tool = getattr(kind.__new__(kind), name)
    try:
      made.append(get_json_schema(tool))
    except Exception as error:
      raise ValueError(
        f'the tool {kind.__name__}.{name} cannot be shown to a policy: '
        f'{error}. Give every argument a type, and a docstring with a line '
        'about the tool and, under "Args:", one about every argument'
      ) from error
  if not made:
    raise ValueError(
      f'{kind.__name__} has no tools; give it a method whose name does not '
      'begin with "_"'
    )
  return made


def resolve(spec: str) -> type[Toolbox]:
  """The class at `package.module:Class`."""
  found = imports.imported(f'tools {spec!r}', spec)
  if not (isinstance(found, type) and issubclass(found, Toolbox)):
    raise TypeError(
      f'{spec} is no Toolbox; name a class that derives from '
      'jaxrl_llm.tasks.toolbox.Toolbox'
    )
  return found


def outcome(
  spec: str, given: Sequence[Any], row: Mapping[str, Any]
) -> tuple[str, float, str]:
  """Does a job of an episode in the process of a worker.

  Args:
    spec: of the class.
    given: ('reset',), ('call', state, calls, characters) or
      ('reward', state, said), where a state is text of an earlier outcome.
    row: the record of the data.

  Returns:
    A kind, 'ok' or 'errors'; the reward, or the seconds that calls took; and
    JSON of what else came out, as what the turn earned, or what went wrong.
  """
  try:
    what, *rest = given
    if what == 'reset':
      box = resolve(spec)()
      opened = box.reset(row)
      if opened is not None:
        opened = _opening(opened)
      return 'ok', 0.0, json.dumps({'state': _kept(box), 'opened': opened})
    box = pickle.loads(base64.b64decode(rest[0]))
    if what == 'reward':
      box.said = rest[1]
      return 'ok', pool.reward('the episode earned', box.reward()), ''
    return _called(box, *rest[1:])
  except (Exception, SystemExit) as error:
    return 'errors', 0.0, f'{type(error).__name__}: {error}'


def _opening(given: Any) -> Any:
  """What reset returned: a text, or messages.

  Raises:
    ValueError: something else, or something too large.
  """
  if not (isinstance(given, str) and given):
    given = conversations.conversation('what reset returned', given)
  if len(json.dumps(given)) > LARGEST_OPENING:
    raise ValueError(
      f'reset returned more than {LARGEST_OPENING:,} characters; say less'
    )
  return given


def _kept(box: Toolbox) -> str:
  """An instance as text.

  Raises:
    ValueError: one that is too large.
  """
  state = pickle.dumps(box)
  if len(state) > LARGEST_STATE:
    raise ValueError(
      f'{type(box).__name__} holds {len(state):,} bytes between turns, and '
      f'{LARGEST_STATE:,} are kept; hold what is large in the module'
    )
  return base64.b64encode(state).decode()


def _called(
  box: Toolbox, calls: Sequence[Call], characters: int
) -> tuple[str, float, str]:
  """The results of a turn's calls, in their order."""
  start = time.monotonic()
  results, ended, box.earned = [], False, 0.0
  for call in calls:
    try:
      if ended:
        raise Refused('the episode has ended')
      tool = _tool(type(box), call)
      result, good = _text(tool(box, **call.arguments)), True
      ended = getattr(tool, 'final', False)
    except Refused as error:
      result, good = f'error: {error}', False
    except (Exception, SystemExit) as error:
      result, good = f'error: {type(error).__name__}: {error}', False
    results.append([good, shortened(result, characters)])
  earned = pool.reward('the turn earned', box.earned)
  found = {
    'state': _kept(box),
    'results': results,
    'ended': ended,
    'earned': earned,
  }
  return 'ok', time.monotonic() - start, json.dumps(found)


class Refused(ValueError):
  """A call that cannot be made; the policy reads why."""


def _tool(kind: type[Toolbox], call: Call) -> Callable[..., Any]:
  """The function that a call means.

  Raises:
    Refused: there is none, or it takes no such arguments.
  """
  if call.error:
    raise Refused(call.error)
  known = names(kind)
  if call.name not in known:
    raise Refused(
      f'there is no tool {call.name!r}; there are {", ".join(known)}'
    )
  tool = getattr(kind, call.name)
  parameters = list(inspect.signature(tool).parameters.values())[1:]
  taken = {p.name: p for p in parameters}
  for name in call.arguments:
    if name not in taken:
      raise Refused(
        f'{call.name} has no argument {name!r}; it has {", ".join(taken)}'
      )
  for name, parameter in taken.items():
    if name not in call.arguments and parameter.default is parameter.empty:
      raise Refused(f'{call.name} needs the argument {name!r}')
  for name, value in call.arguments.items():
    wanted = _TYPE_NAMES.get(_plain_type(taken[name].annotation), '')
    types = _TYPES.get(wanted, (object,))
    # A truth value is an integer to Python.
    wrong = isinstance(value, bool) and wanted in ('integer', 'number')
    if wrong or not isinstance(value, types):
      raise Refused(
        f'the argument {name!r} of {call.name} must be of type {wanted}, not '
        f'{value!r:.60}'
      )
  return tool


_TYPE_NAMES = {
  'int': 'integer',
  'float': 'number',
  'str': 'string',
  'bool': 'boolean',
  'list': 'array',
  'dict': 'object',
}


def _plain_type(annotation: Any) -> str:
  """The name of a type without parameters; text where annotations are."""
  name = annotation if isinstance(annotation, str) else annotation.__name__
  return name.partition('[')[0]


def _text(result: Any) -> str:
  """A result as the policy reads it."""
  if isinstance(result, str):
    return result
  return json.dumps(result, ensure_ascii=False, default=str)


def shortened(text: str, characters: int) -> str:
  """A text of about so many characters at most, without its middle."""
  # What is no text by itself, half of a pair, cannot be read by tokenizers.
  text = text.encode(errors='replace').decode()
  extra = len(text) - characters
  if extra <= 0:
    return text
  half = characters // 2
  note = f'\n... {extra} characters left out ...\n'
  return text[: characters - half] + note + text[len(text) - half :]
