"""The turns of a policy and what stands between them, in tokens.

    begin    up to where the first answer begins
    read     what the policy said in a turn, from its tokens
    after    what stands between a turn and the next
    message  what goes into the history

A token is in a row because the policy drew it or because it is put there once:
what was said is never written and read again, whose tokens could be others.
`Templated` holds conversations in the chat template of a tokenizer, `Plain`
puts texts one behind the other.

The template need not be known. It writes the history with an answer of a mark
and the new messages behind it, and what it writes behind the mark is what
stands between the turns:

    <user> Hi <assistant> MARK <end> <user> And? <assistant>
                               ^^^^^ said, if the turn has ended
                                     ^^^^^^^^^^^^^^^^^^^^^^^^^ put behind it
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from jaxrl_llm.problems.text import calls, chat, encoding, marks, turns
from jaxrl_llm.tasks import speech
from jaxrl_llm.tasks.speech import Message, Said

# Between which a policy thinks, in the templates that know of it.
_THINK, _THOUGHT = '<think>', '</think>'


class Reader:
  """Reads turns from their tokens.

  Attributes:
    tokenizer: of the model. ends: tokens that end a turn, and their texts.
    silent: tokens without text. stop: strings that end a turn.

  Args:
    tokenizer: of `transformers`.
    ends: tokens that end a turn beside the tokenizer's EOS.
    silent: tokens without text; None is `encoding.silent_tokens`.
    stop: strings that end a turn.
  """

  def __init__(
    self,
    tokenizer,
    ends: Collection[int] = (),
    *,
    silent: Collection[int] | None = None,
    stop: Sequence[str] = (),
  ):
    self.tokenizer = tokenizer
    if silent is None:
      silent = encoding.silent_tokens(tokenizer, ends)
    added = tokenizer.added_tokens_decoder.items()
    named = {i for i, token in added if token.special and token.content in stop}
    named |= {tokenizer.eos_token_id, *ends} - {None}
    self.ends = {i: tokenizer.convert_ids_to_tokens(i) for i in sorted(named)}
    self.silent, self.stop = frozenset(silent), tuple(stop)

  def read(
    self,
    ids: Sequence[int],
    *,
    cut: bool = False,
    form: calls.Form | None = None,
    tools: Sequence[Any] = (),
    most: int = 0,
  ) -> Said:
    """A turn.

    Args:
      ids: its tokens. cut: whether the budget of tokens ended it; what was
        being called then is not.
      form: of calls of `tools`, of which a turn may make `most`, 0 for any
        number. None: nothing is a call.
    """
    text = encoding.text_of(
      self.tokenizer, ids, silent=self.silent, stop=self.stop
    )
    ended = ids[-1] if len(ids) and ids[-1] in self.ends else None
    thought, first, rest = _thought(text)
    reading = calls.Reading((), rest, -1)
    if form is not None and not cut:
      reading = calls.read(form, rest, tools, most=most)
    begun = len(text) - len(rest) if reading.calls else 0
    return Said(
      text,
      ids=ids,
      content=(first + reading.content).strip() if thought else reading.content,
      thought=thought,
      calls=reading.calls,
      start=begun + reading.start,
      ended=ended,
      cut=cut,
    )


def _thought(text: str) -> tuple[str, str, str]:
  """What was thought, and what was said before and behind it.

  A template may have begun to think.
  """
  before, closed, rest = text.partition(_THOUGHT)
  first, opened, inside = before.partition(_THINK)
  if not (opened or closed):
    return '', '', text
  if not opened:
    first, inside = '', before
  return inside.strip(), first, rest


class Chat(speech.Chat, Protocol):
  """How a policy is talked with, and what it says as messages."""

  def message(self, said: Said) -> Message:
    """A turn as a message of the assistant."""

  def sample_of(
    self,
    history: Sequence[Message],
    message: Message,
    tools: Sequence[Any] = (),
  ) -> list[int]:
    """The tokens that the policy would have drawn to say a message."""


class Plain:
  """Texts one behind the other, as base models read them."""

  def __init__(self, reader: Reader):
    self._reader, self._marks = reader, marks.Marks(reader.tokenizer)

  def begin(self, prompt, tools=()):
    del tools
    return encoding.encode_prompt(self._reader.tokenizer, prompt)

  def after(self, history, said, new, tools=()):
    """What others say, as it stands; control tokens are none in it."""
    del history, said, tools
    return self._marks.inert(''.join(m['content'] for m in new))

  def read(self, ids, tools=(), *, cut=False):
    del tools
    return self._reader.read(ids, cut=cut)

  def message(self, said):
    return {'role': 'assistant', 'content': str(said)}

  def sample_of(self, history, message, tools=()):
    del history, tools
    reader = self._reader
    [ids] = encoding.encode_responses(
      reader.tokenizer, [message['content']], reader.ends
    )
    return ids


class Worded:
  """Messages without a chat template, where conversations begin with one text.

  Args:
    inner: a chat of prompts in text. reader: of its turns.
  """

  def __init__(self, inner: Chat, reader: Reader):
    self._marks = marks.Marks(reader.tokenizer)
    self.after, self.read = inner.after, inner.read
    self.message, self.sample_of = inner.message, inner.sample_of
    self._begin = inner.begin

  def begin(self, prompt, tools=()):
    """All that was said so far, one behind the other.

    Raises:
      ValueError: control tokens in it, which nothing would tell from text.
    """
    words = ''.join(message['content'] for message in prompt)
    if found := self._marks.control.search(words):
      raise ValueError(
        f'{found[0]!r} in a message is a control token, which without a chat '
        'template cannot be told from text; take it out'
      )
    return self._begin(words, tools)


class Templated:
  """Messages through the chat template of a tokenizer.

  Every turn keeps the tokens that were drawn, and stays in sight. A template
  that would leave earlier thoughts out when it writes the history anew does
  not get to: `inspection` says whether it is one.
  """

  def __init__(self, reader: Reader, variables: Mapping[str, Any]):
    self._reader, self.ends = reader, reader.ends
    self.template = chat.Template(reader.tokenizer, variables)

  def begin(self, prompt, tools=()):
    return self.template.encode(prompt, tools)

  def after(self, history, said, new, tools=()):
    """What the template writes behind the turn.

    Where the turn has ended with a token, what follows that token; where it
    has not, all that the template ends a turn with goes before it. So it does
    where the turn ended with a token that the template does not end one with.

    Raises:
      ValueError: no message, one of the assistant, or one that the template
        cannot write.
    """
    _check_new(new)
    text = self.template.behind(history, _spot(new), new, tools)
    if said.ended is not None:
      found = _found([self._reader.ends[said.ended]], text)
      if found is not None:
        return self.template.tokens(text[found:])[1:]
    if new[0]['role'] == 'tool':
      # The rest of a call, which the policy has written.
      text = text[_found(self._reader.ends.values(), text) or 0 :]
    return self.template.tokens(text, behind=True)

  @functools.cached_property
  def form(self) -> tuple[calls.Form, int] | None:
    """How the template writes calls, see `calls.learned`."""
    return calls.learned(self.template, list(self.ends.values()))

  def read(self, ids, tools=(), *, cut=False):
    if not tools or self.form is None:
      return self._reader.read(ids, cut=cut)
    form, most = self.form
    return self._reader.read(ids, cut=cut, form=form, tools=tools, most=most)

  def message(self, said):
    if said.calls:
      return calls.message(said.content, said.calls)
    if said.thought and self.template.reads('reasoning_content'):
      words = {'content': said.content, 'reasoning_content': said.thought}
    else:
      words = {'content': str(said)}
    return {'role': 'assistant', **words}

  def sample_of(self, history, message, tools=()):
    """See `turns.rows`, which refuses what no policy could have said."""
    [row] = turns.rows(
      self.template,
      [*history, message],
      tools,
      learned=[len(history)],
      ends=self._reader.ends,
    )
    return row.response


def _check_new(new: Sequence[Message]) -> None:
  if not new:
    raise ValueError(
      'an environment that goes on must say something: give a text or messages'
    )
  for message in new:
    if message['role'] == 'assistant':
      raise ValueError(
        'an environment says messages of users, tools or the system, not of '
        f'the assistant, who is the policy: {str(message)[:80]}'
      )


def _spot(new: Sequence[Message]) -> Message:
  """An answer of a mark, that called the tools whose results follow."""
  answered = []
  for message in new:
    if message['role'] != 'tool':
      break
    answered.append(message)
  called = [
    {
      'id': message.get('tool_call_id', f'call{number:05d}'),
      'type': 'function',
      'function': {
        'name': message.get('name', 'tool'),
        'arguments': {'x': marks.SPOT},
      },
    }
    for number, message in enumerate(answered)
  ]
  answer = {'role': 'assistant', 'content': marks.SPOT}
  return {**answer, 'tool_calls': called} if called else answer


def _found(tokens: Collection[str], text: str) -> int | None:
  """Where the first of some tokens stands that is no part of a message."""
  ends = marks.any_of(tokens).pattern
  found = re.search(f'(?<!{marks.OPEN})(?:{ends})', text)
  return None if found is None else found.start()
