"""What a program asked in an episode, and the rows that are learned from it.

A program sends whole conversations, and sends them again with what came since.
Its own words it gives back in others: without their thoughts, with arguments
spaced anew. So a request is compared with earlier ones by what it means. Where
it goes on from an answer, its tokens are those that were read and drawn until
then, and behind them what is new; else it begins anew.

    asked   the tokens that a request is answered behind
    rows    the answered requests, one behind the other where they fit

Every token that was drawn is in one row, and there behind the tokens that it
was drawn behind.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxrl_llm.tasks.speech import Chat, Message, Said


class Asked(NamedTuple):
  """A request.

  Attributes:
    ids: what is read before the answer.
    identity: of all that is random in the answer, in [0, 2^63): a function of
      the episode, of `ids`, and of how often these were asked there before.
    agent: names the tools and what the system says.
    place: names the messages and tools, whatever their wording.
    tools: that may be called. chat: how it is talked in.
  """

  ids: tuple[int, ...]
  identity: int
  agent: int
  place: str
  tools: Sequence[Any]
  chat: Chat

  def read(self, drawn: Sequence[int], *, cut: bool = False) -> Said:
    """What an answer says, from the tokens that were drawn for it.

    Args:
      cut: whether the budget of tokens ended it.
    """
    return self.chat.read(drawn, self.tools, cut=cut)


class Turn(NamedTuple):
  """A request with its answer.

  Attributes:
    ids: what was read. said: what was drawn behind it.
    facts: arrays with an entry for each token that was drawn, by name.
    agent: names who asked. earned: what the program paid it.
    call: where it calls a tool whose result came back, in characters; else -1.
  """

  ids: tuple[int, ...]
  said: tuple[int, ...]
  facts: Mapping[str, Any]
  agent: int = 0
  earned: float = 0.0
  call: int = -1


class Row(NamedTuple):
  """Tokens of one or several turns.

  Attributes:
    ids: all of them. turns: where what each of them said begins.
  """

  ids: tuple[int, ...]
  turns: tuple[tuple[int, Turn], ...]

  @property
  def first(self) -> int:
    """Where the first token stands that was drawn."""
    return self.turns[0][0]


class _Answer(NamedTuple):
  number: int
  turn: Turn
  said: Said
  message: Message


def digest(*parts: Any) -> int:
  """A number in [0, 2^63) of values that can be written as JSON."""
  written = json.dumps(parts, sort_keys=True).encode()
  found = hashlib.blake2b(written, digest_size=8).digest()
  return int.from_bytes(found, 'big') >> 1


def meaning(message: Message) -> str:
  """What two messages share that are the same to who wrote them.

  Clients give answers back without thoughts, with other space around words and
  within arguments, and with nothing in place of no words.
  """
  role, words = message['role'], message.get('content') or ''
  calls = [
    [call['function']['name'], call['function']['arguments']]
    for call in message.get('tool_calls') or ()
  ]
  words = words.strip() if role == 'assistant' else words
  answers = message.get('tool_call_id', '') if role == 'tool' else ''
  return json.dumps([role, words, calls, answers], sort_keys=True)


class Ledger:
  """The requests of an episode and their answers.

  Args:
    chat_of: f(tools) -> the chat of conversations with these tools.
    name: of the episode; a number, or anything that JSON can write.
    anew: every request is answered behind what the chat writes of its
      messages, as a server without memory would. A row is gone on with only
      where that writes the answer in the tokens that were drawn.
  """

  def __init__(
    self,
    chat_of: Callable[[Sequence[Any]], Chat],
    name: Any = 0,
    *,
    anew: bool = False,
  ):
    self._chat_of, self._name, self._anew = chat_of, name, anew
    self._answers: dict[str, list[_Answer]] = {}
    self._times: dict[tuple[int, ...], int] = {}
    self._places: dict[int, int] = {}
    self._unread: set[str] = set()
    self.turns: list[Turn] = []

  def asked(
    self, messages: Sequence[Message], tools: Sequence[Any] = ()
  ) -> Asked:
    """The tokens of a request, and what is random in its answer.

    Args:
      messages: with texts as contents, arguments of calls as mappings, or as
        the text of an answer that could not be read, and the last of others
        than the assistant.
      tools: JSON schemas of what may be called.

    Raises:
      ValueError: messages or tools that the chat cannot write.
    """
    chat, place, found = self._chat_of(tools), _below('', tools), None
    for index, message in enumerate(messages):
      place = _below(place, meaning(message))
      if message['role'] == 'assistant' and place in self._answers:
        found = index, _nearest(self._answers[place], message)
        self._told(found[1])
    messages = [self._readable(message) for message in messages]
    if found and not self._anew and _others(messages[found[0] + 1 :]):
      index, (_, turn, said, _) = found
      new = chat.after(messages[:index], said, messages[index + 1 :], tools)
      ids = (*turn.ids, *turn.said, *new)
    else:
      ids = tuple(chat.begin(messages, tools))
    if not ids:
      raise ValueError('the messages have no tokens; say something')
    times = self._times[ids] = self._times.get(ids, -1) + 1
    identity = digest(self._name, ids, times)
    told = [m for m in messages if m['role'] in ('system', 'developer')]
    return Asked(ids, identity, digest(tools, told), place, tools, chat)

  def read(
    self, asked: Asked, ids: Sequence[int], *, cut: bool = False
  ) -> Said:
    """What an answer says, from its tokens.

    Args:
      cut: whether the budget of tokens ended it.
    """
    return asked.chat.read(ids, asked.tools, cut=cut)

  def answered(
    self,
    asked: Asked,
    said: Said,
    facts: Mapping[str, Any],
    message: Message,
  ) -> None:
    """Notes an answer that the program has received.

    Args:
      said: with all tokens that were drawn for it.
      facts: of each of them. message: as it was sent.
    """
    turn = Turn(asked.ids, said.ids, facts, asked.agent)
    self._places[asked.identity] = len(self.turns)
    self.turns.append(turn)
    place = _below(asked.place, meaning(message))
    answer = _Answer(len(self.turns) - 1, turn, said, message)
    self._answers.setdefault(place, []).append(answer)
    self._unread |= {
      call['function']['arguments']
      for call in message.get('tool_calls') or ()
      if isinstance(call['function']['arguments'], str)
    }

  def _told(self, answer: _Answer) -> None:
    """Notes that an answer was gone on from, with the results of its calls."""
    turn = self.turns[answer.number]
    self.turns[answer.number] = turn._replace(call=answer.said.start)

  def _readable(self, message: Message) -> Message:
    """A message in which calls that could not be read have no arguments.

    Raises:
      ValueError: arguments that are no object, and that no answer had.
    """
    calls = []
    for call in message.get('tool_calls') or ():
      given = call['function']['arguments']
      if isinstance(given, str):
        if given not in self._unread:
          raise ValueError(
            f'the arguments {given!r:.80} of a call are no object of JSON, and '
            'no answer had them; give answers back as they came'
          )
        call = {**call, 'function': {**call['function'], 'arguments': {}}}
      calls.append(call)
    return {**message, 'tool_calls': calls} if calls else message

  def pay(self, amount: float, identity: int = -1) -> None:
    """Rewards an answer, beside what the program returns at its end.

    Args:
      identity: of its request; -1 is the answer that was received last.

    Raises:
      ValueError: there is no such answer.
    """
    place = self._places.get(identity, len(self.turns) - 1)
    if place < 0 or identity not in (-1, *self._places):
      raise ValueError('no such answer was received in this episode')
    turn = self.turns[place]
    self.turns[place] = turn._replace(earned=turn.earned + amount)


def _below(place: str, more: Any) -> str:
  """Names what stands behind a place; as long as any name."""
  written = json.dumps([place, more], sort_keys=True).encode()
  return hashlib.blake2b(written, digest_size=16).hexdigest()


def _others(messages: Sequence[Message]) -> bool:
  """Whether the assistant wrote none of them."""
  return all(message['role'] != 'assistant' for message in messages)


def _nearest(answers: Sequence[_Answer], given: Message) -> _Answer:
  """Of answers that mean the same, the one that a message gives back.

  They may differ in their thoughts and in the names of their calls; those that
  differ in nothing that was given back are told apart by their tokens, never by
  when they came.
  """

  def names(message):
    return [call.get('id') for call in message.get('tool_calls') or ()]

  def order(answer):
    same = names(answer.message) == names(given)
    thought = given.get('reasoning_content')
    known = thought == answer.message.get('reasoning_content')
    return not same, not known, answer.turn.ids, answer.turn.said

  return min(answers, key=order)


def in_order(turns: Sequence[Turn]) -> list[Turn]:
  """Turns by how much was read, in an order that depends on tokens alone."""
  return sorted(
    turns, key=lambda t: (len(t.ids), t.ids, t.said, t.earned, t.call)
  )


def rows(
  turns: Sequence[Turn],
  fits: Callable[[int, int], bool] = lambda first, length: True,
) -> list[Row]:
  """The fewest rows that hold every turn behind what it was drawn behind.

  A turn goes behind the longest row that what it read begins with; where there
  is none, it is a row.

  Args:
    turns: of an episode, in any order.
    fits: f(first, length), whether there is room for a row of so many tokens of
      which the policy drew none before `first`.

  Returns:
    Rows in an order that depends on tokens alone.
  """
  made: list[Row] = []
  for turn in in_order(turns):
    length = len(turn.ids) + len(turn.said)
    ends = [
      index
      for index, row in enumerate(made)
      if turn.ids[: len(row.ids)] == row.ids and fits(row.first, length)
    ]
    whole, begins = (*turn.ids, *turn.said), len(turn.ids)
    if ends:
      last = max(ends, key=lambda index: len(made[index].ids))
      made[last] = Row(whole, (*made[last].turns, (begins, turn)))
    else:
      made.append(Row(whole, ((begins, turn),)))
  return made
