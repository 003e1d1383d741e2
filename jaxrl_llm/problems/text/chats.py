"""The conversations of a run, as plans go on with them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxrl_llm.problems.text import calls, dialogue, hermes
from jaxrl_llm.tasks.speech import Call, Message, Said


class Talk(NamedTuple):
  """A conversation so far.

  Attributes:
    prompt: text, or messages. tools: that may be called, as JSON schemas.
    turns: messages since, of the policy and of others.
  """

  prompt: str | Sequence[Message]
  tools: Sequence[Any] = ()
  turns: tuple[Message, ...] = ()


class Chats:
  """The chats of a run: of prompts in text, and of prompts in messages.

  Args:
    reader: of the policy's turns.
    variables: what else the chat template is given.
    tools: that may be called in all of them, as JSON schemas.
  """

  def __init__(
    self,
    reader: dialogue.Reader,
    variables: Mapping[str, Any] | None = None,
    tools: Sequence[Any] = (),
  ):
    self.reader, self.tools = reader, tuple(tools)
    self._variables = dict(variables or {})

  @functools.cached_property
  def plain(self) -> dialogue.Chat:
    """Of prompts in text."""
    chat_of = dialogue.Plain(self.reader)
    return hermes.Hermes(chat_of, self.reader) if self.tools else chat_of

  @functools.cached_property
  def templated(self) -> dialogue.Templated:
    """The chat template itself."""
    return dialogue.Templated(self.reader, self._variables)

  @functools.cached_property
  def in_messages(self) -> dialogue.Chat:
    """Of prompts in messages."""
    if self.tools and self.templated.form is None:
      return hermes.Hermes(self.templated, self.reader)
    return self.templated

  def asked_with(self, tools: Sequence[Any]) -> dialogue.Chat:
    """The chat of conversations that programs hold, with tools of theirs.

    Without a chat template messages stand one behind the other.
    """
    if self.reader.tokenizer.chat_template is None:
      plain = dialogue.Plain(self.reader)
      chat = hermes.Hermes(plain, self.reader) if tools else plain
      return dialogue.Worded(chat, self.reader)
    if tools and self.templated.form is None:
      return hermes.Hermes(self.templated, self.reader)
    return self.templated

  def of(self, prompt: str | Sequence[Message]) -> dialogue.Chat:
    """The chat that a prompt begins."""
    return self.plain if isinstance(prompt, str) else self.in_messages

  def begin(
    self, prompt: str | Sequence[Message], tools: Sequence[Any] = ()
  ) -> list[int]:
    """Tokens of a prompt, with tools beside those of all.

    Raises:
      ValueError: as of `dialogue.Chat.begin`.
    """
    return self.of(prompt).begin(prompt, [*self.tools, *tools])

  def example(self, prompt: str | Sequence[Message]) -> str:
    """How the policy would call the first tool, without arguments.

    Args:
      prompt: of the conversation.
    """
    name = calls.function_of(self.tools[0])['name']
    call = calls.message('', [Call('call00000', name, {})])
    history = prompt
    if isinstance(history, str):
      history = [{'role': 'user', 'content': history}]
    ids = self.of(prompt).sample_of(history, call, self.tools)
    return self.reader.tokenizer.decode(ids)

  def demonstrated(
    self, talk: Talk, messages: Sequence[Message]
  ) -> tuple[list[int], list[bool]]:
    """The tokens of messages behind a prompt, as an episode would hold them.

    Args:
      messages: of the assistant and of others, as many turns as there are.

    Returns:
      Tokens, and which of them the policy would have drawn.

    Raises:
      ValueError: messages that do not begin with the assistant's, or that the
        chat cannot write so.
    """
    chat_of, tools = self.of(talk.prompt), [*self.tools, *talk.tools]
    said = [i for i, m in enumerate(messages) if m['role'] == 'assistant']
    if said[:1] != [0]:
      raise ValueError('a demonstration begins with a message of the assistant')
    ids: list[int] = []
    own: list[bool] = []
    for place, end in zip(said, [*said[1:], len(messages)]):
      history = () if isinstance(talk.prompt, str) else talk.prompt
      history = [*history, *messages[:place]]
      drawn = chat_of.sample_of(history, messages[place], tools)
      told = []
      if end < len(messages):
        turn = chat_of.read(drawn, tools)
        told = chat_of.after(history, turn, messages[place + 1 : end], tools)
      ids += [*drawn, *told]
      own += [True] * len(drawn) + [False] * len(told)
    return ids, own

  def read(self, talk: Talk, ids: Sequence[int], *, cut: bool = False) -> Said:
    """A turn of a conversation."""
    return self.of(talk.prompt).read(ids, self.tools, cut=cut)

  def written(self, talk: Talk) -> list[int]:
    """All of a conversation, up to where the next turn begins.

    Raises:
      ValueError: one that begins with a text, as no template writes it.
    """
    if isinstance(talk.prompt, str):
      raise ValueError(
        'serve.history=template: the prompt is a text, which no chat template '
        'writes; give messages, or set serve.history=append'
      )
    return self.begin([*talk.prompt, *talk.turns], talk.tools)

  def after(
    self, talk: Talk, said: Said, observation: str | Sequence[Message]
  ) -> tuple[list[int], Talk]:
    """Tokens between a turn and the next, and the conversation until then.

    Args:
      observation: messages; a text is the message of a user.
    """
    chat_of = self.of(talk.prompt)
    new = observation
    if isinstance(new, str):
      new = [{'role': 'user', 'content': new}]
    told = () if isinstance(talk.prompt, str) else talk.prompt
    tools = [*self.tools, *talk.tools]
    ids = chat_of.after([*told, *talk.turns], said, new, tools)
    turns = (*talk.turns, chat_of.message(said), *new)
    return ids, talk._replace(turns=turns)
