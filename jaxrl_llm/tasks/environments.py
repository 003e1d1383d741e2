"""Environments of text: what answers the policy's turns.

    reset(rows) -> states                     one a row of the data
    step(states, actions) -> list[Step]       one a state, in order

An environment is ordinary Python over lists of texts. Its states are its own
business: any object that `step` does not change in place. The first thing the
policy sees is the question's prompt, or that of an `Opening`. What an
environment says next is the message of a user where the prompt went through a
chat template, and else is put behind the policy's words as it stands; control
tokens in it are text. An action is a text that also knows whether the budget of
tokens cut it, see `speech.Said`.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from jaxrl_llm import spelling
from jaxrl_llm.tasks import imports, toolboxes
from jaxrl_llm.tasks.speech import Said

Row = Mapping[str, Any]
Message = Mapping[str, Any]
# Why an episode ended: turns or tokens ran out, or the environment said so, for
# one of the reasons that it gives. Those of programs may also have run out of
# requests or rows.
STOPS = (
  *('turns', 'tokens', 'done'),
  *('said', 'tool', 'calls', 'errors', 'seconds', 'failed'),
  *('requests', 'rows'),
)


class Opening(NamedTuple):
  """A state before the first turn, and what the policy is asked in it.

  Episodes of one question are compared, and begin alike.

  Attributes:
    state: of the episode.
    prompt: in place of the record's, a text or chat messages.
    tools: that may be called beside those of the environment, as JSON schemas,
      in place of the record's.
  """

  state: Any
  prompt: str | Sequence[Message]
  tools: Sequence[Any] = ()


class Step(NamedTuple):
  """How an environment answers one action.

  Attributes:
    state: the new one.
    observation: what the policy reads next, a text or chat messages; '' at the
      end.
    reward: of this action, beside what verifiers say of the whole.
    done: nothing follows.
    anchor: names the new state; steps taken in states of one name can be
      compared. The first state of every episode is named ''.
    agent: who acts next, where one policy plays several.
    call: where in the action the tool was called, in characters; what stands
      before it is thought. -1: this went on without a call.
    stop: why nothing follows, one of the environment's `stops`. An episode
      that 'failed' does not count.
  """

  state: Any
  observation: str | Sequence[Message] = ''
  reward: float = 0.0
  done: bool = False
  anchor: str = ''
  agent: int = 0
  call: int = 0
  stop: str = 'done'


class Environment(Protocol):
  """What answers the policy's turns.

  It may also have
    stops       why episodes end, some of `STOPS`; ('done',) without
    tools       JSON schemas, which prompts begin with
    truncated   f(states) -> rewards of episodes whose turns or tokens ran out
    try_out     f(rows), before a run; in one process, where several share it
    close       called when a run ends
  """

  def reset(self, rows: Sequence[Row]) -> list[Any]:
    """A state for each row of the data, or the `Opening` of an episode."""

  def step(self, states: Sequence[Any], actions: Sequence[Said]) -> list[Step]:
    """How each state answers the action taken in it; the states stay."""


class Lookup:
  """Letters whose digits only the environment knows.

  A letter is a question and is answered by its digit, whatever words come
  before it; anything else ends the episode. The last action of a good episode
  is the digits of the word.

      look up ba=   b   7   now a   2   72

  A question asked once earns 0.1, so that asking pays before the answer does.
  The state is named by the letters known so far; agent 0 asks, and agent 1
  acts once it knows a letter.
  """

  def reset(self, rows):
    return [(row['digits'], '') for row in rows]

  def step(self, states, actions):
    return [self._answer(*pair) for pair in zip(states, actions, strict=True)]

  def _answer(self, state, action):
    digits, known = state
    words = action.split()
    letter = words[-1] if words else ''
    if letter not in digits:
      return Step(state, done=True)
    new = letter not in known
    known = ''.join(sorted({*known, letter}))
    return Step(
      (digits, known),
      observation=f'{digits[letter]}\n',
      reward=0.1 * new,
      anchor=known,
      agent=1,
      call=action.rindex(letter),
    )


class NumberLine:
  """A number to be taken to another, by one up or down a turn.

  A turn means the last sign in it, whatever words come before; it does not move
  off the line from 0 to 'largest', nor without a sign.

      8 to 10=   +   9   +

  Its reward is 1 where the target is reached, which ends the episode, -1 where
  the turn led no nearer, and else 0. The state is named by its number.

  Source: `NumberLine` of gym_cards, RL4VLM, arXiv 2405.10292, in texts in place
  of pictures. There an episode ends after 2 largest turns, here after those of
  the recipe; there words without an action are one drawn at random.
  """

  def reset(self, rows):
    return [(row['start'], row['target'], row['largest']) for row in rows]

  def step(self, states, actions):
    return [self._moved(*pair) for pair in zip(states, actions, strict=True)]

  def _moved(self, state, action):
    at, target, largest = state
    signs = [sign for sign in action if sign in '+-']
    move = {'+': 1, '-': -1}[signs[-1]] if signs else 0
    new = min(max(at + move, 0), largest)
    if new == target:
      return Step((new, target, largest), reward=1.0, done=True)
    nearer = abs(new - target) < abs(at - target)
    return Step(
      (new, target, largest),
      observation=f'{new}\n',
      reward=0.0 if nearer else -1.0,
      anchor=f'{new}',
    )


ENVIRONMENTS: Mapping[str, Callable[[], Any]] = {
  'lookup': Lookup,
  'number_line': NumberLine,
  'prices': toolboxes.Prices,
  'python': toolboxes.Python,
  'search': toolboxes.Search,
}


@dataclasses.dataclass(frozen=True)
class Watched:
  """An environment whose answers are counted, and waited for so long.

  It runs in this process, where nothing can interrupt what hangs: the run ends
  then, and says where.

  Attributes:
    environment: what answers. name: what it is called.
    seconds: for all rows of a call.
    end: called with the sentence, from another thread, when they are over.
  """

  environment: Environment
  name: str
  seconds: float
  end: Callable[[str], None]

  @property
  def stops(self) -> Sequence[str]:
    return getattr(self.environment, 'stops', ('done',))

  @property
  def tools(self) -> Sequence[Any]:
    return getattr(self.environment, 'tools', ())

  def truncated(self, states: Sequence[Any]) -> list[float]:
    if not states or not hasattr(self.environment, 'truncated'):
      return [0.0] * len(states)
    return self._answered('truncated', len(states), states)

  def try_out(self, rows: Sequence[Row]) -> None:
    """Asks it about a few rows, to no end."""
    getattr(self.environment, 'try_out', self.reset)(rows)

  def close(self) -> None:
    getattr(self.environment, 'close', lambda: None)()

  def reset(self, rows: Sequence[Row]) -> list[Any]:
    return self._answered('reset', len(rows), rows)

  def step(self, states: Sequence[Any], actions: Sequence[Said]) -> list[Step]:
    return self._answered('step', len(states), states, actions)

  def _answered(self, what: str, count: int, *arguments):
    late = f'environment {self.name!r}: no answer of {what}'
    late += f' to {count} rows within {self.seconds:g} s'
    waiting = threading.get_ident()

    def over():
      place = _innermost(sys._current_frames().get(waiting))
      self.end(
        f'{late}; it is at {place}. Mend it, or raise environment_seconds'
      )

    timer = threading.Timer(min(self.seconds, threading.TIMEOUT_MAX), over)
    timer.daemon = True
    timer.start()
    try:
      answers = list(getattr(self.environment, what)(*arguments))
    finally:
      timer.cancel()
    if len(answers) != count:
      raise ValueError(
        f'environment {self.name!r}: {what} gave {len(answers)} answers to '
        f'{count} rows; it must give one for each, in their order'
      )
    return answers


def _innermost(frame) -> str:
  """Where a thread is, in a few words."""
  if frame is None:
    return 'an unknown place'
  code = frame.f_code
  return f'{code.co_filename}, line {frame.f_lineno}, in {code.co_name}'


def kind_of(name: str) -> Callable[[], Any]:
  """What makes the environment of that name, or of `package.module:Class`.

  Raises:
    ValueError: there is none, with the nearest known name.
  """
  if name in ENVIRONMENTS:
    return ENVIRONMENTS[name]
  if ':' not in name:
    near = spelling.nearest(name, ENVIRONMENTS)
    raise ValueError(
      f'unknown environment {name!r}; '
      + (f'did you mean {near!r}? ' if near else '')
      + f'known: {", ".join(sorted(ENVIRONMENTS))}, or package.module:Class'
    )
  return imports.imported(f'environment {name!r}', name)


def resolve(name: str) -> Environment:
  """The environment of that name, or of `package.module:Class`.

  Raises:
    ValueError: there is none, with the nearest known name.
  """
  try:
    found = kind_of(name)()
  except TypeError as error:
    raise ValueError(f'environment {name!r}: {error}') from error
  if name in ENVIRONMENTS:
    return found
  for method in ('reset', 'step'):
    if not callable(getattr(found, method, None)):
      raise ValueError(
        f'environment {name!r} has no method {method}; it needs reset(rows) '
        'and step(states, actions)'
      )
  return found
