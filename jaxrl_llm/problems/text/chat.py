"""Chat templates: conversations in, tokens out.

A template writes control tokens, such as the marks between turns, around what
people wrote. What they wrote may hold the same letters and stays text, see
`marks`. Messages of the assistant are the policy's own words, in which control
tokens, such as <think>, are tokens.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxrl_llm.problems.text import marks

Messages = Sequence[Mapping[str, Any]]


def _blank(message: Mapping[str, Any]) -> bool:
  return not message['content'].strip() and not message.get('tool_calls')


# What `data.chat` may be.
SETTINGS = ('auto', 'always', 'never')


def no_message(text: str) -> bool:
  """A text is a prompt as it is."""
  del text
  return False


def is_message(tokenizer, setting: str) -> Callable[[str], bool]:
  """f(text): whether a prompt in text is the only message of a user.

  Args:
    setting: auto: where the tokenizer has a chat template, and the text spells
      none of its control tokens, as one does that a template has written.
      always; never: text is taken as it is.

  Raises:
    ValueError: another setting, or 'always' without a template.
  """
  if setting not in SETTINGS:
    raise ValueError(f'data.chat {setting!r} must be one of {SETTINGS}')
  absent = setting == 'auto' and tokenizer.chat_template is None
  if setting == 'never' or absent:
    return no_message
  template = Template(tokenizer)
  return lambda text: setting == 'always' or not template.controls(text)


class Template:
  """The chat template of a tokenizer.

  Args:
    tokenizer: of `transformers`.
    variables: what else the template is given, such as enable_thinking.

  Raises:
    ValueError: no template, or a variable that it does not read.
  """

  def __init__(self, tokenizer, variables: Mapping[str, Any] | None = None):
    if tokenizer.chat_template is None:
      raise ValueError(
        'the tokenizer has no chat template; give prompts as text, or add one '
        'to the model folder'
      )
    self._tokenizer, self._variables = tokenizer, dict(variables or {})
    # One, or several by name.
    self._source = str(tokenizer.chat_template)
    for name in self._variables:
      self._check(name)
    self._marks = marks.Marks(tokenizer, self._source)

  def encode(
    self, messages: Messages, tools: Sequence[Any] = (), *, whole: bool = False
  ) -> list[int]:
    """A conversation as tokens, up to where the answer begins or goes on.

    A last message of the assistant is how the answer begins: its turn stays
    open. Where it is blank, the turn begins as that of any answer does.

    Args:
      tools: that may be called, as JSON schemas.
      whole: to the end of the last message instead, for who judges it. The
        special tokens of the assistant are text then, too: who is judged must
        not end a turn by spelling its end.

    Raises:
      ValueError: messages or tools that the template cannot write, or control
        tokens in them that the tokenizer cannot spell.
    """
    open_turn = messages[-1]['role'] == 'assistant' and not whole
    if open_turn and _blank(messages[-1]):
      # The space that a template puts before it would be cut off with it.
      messages, open_turn = messages[:-1], False
    if open_turn and messages[-1].get('tool_calls'):
      raise ValueError(
        'the last message calls tools, and no answer of theirs follows that '
        f'the policy could go on from: {str(messages)[-200:]}'
      )
    written = self._written(
      messages,
      tools,
      whole=whole,
      add_generation_prompt=not (open_turn or whole),
      continue_final_message=open_turn,
    )
    return self.tokens(written)

  def write(
    self, messages: Messages, tools: Sequence[Any] = (), *, asks: bool
  ) -> str:
    """A conversation as text, to be read by `tokens` alone.

    Between marks stands what people wrote that reads as a control token.

    Args:
      asks: whether an answer begins behind the last message, which is ended
        whoever wrote it.

    Raises:
      ValueError: messages or tools that the template cannot write.
    """
    return self._written(messages, tools, add_generation_prompt=asks)

  def tokens(self, written: str, *, behind: bool = False) -> list[int]:
    """Tokens of what the template wrote, of which marked pieces are text.

    A template may cut a text between its marks. What is left of them is
    dropped, and nothing joins across it.

    Args:
      behind: it goes on from an earlier text.

    Raises:
      ValueError: control tokens that the tokenizer cannot spell.
    """
    return self._marks.tokens(written, behind=behind)

  @property
  def special(self) -> re.Pattern:
    """Finds special tokens of the tokenizer."""
    return self._marks.special

  @property
  def reads_clock(self) -> bool:
    """Whether it may write the date of the day, unless it is given one."""
    given = 'date_string' in self._variables
    return self.reads('strftime_now') and not given

  def controls(self, text: str) -> bool:
    """Whether a text spells a control token."""
    return self._marks.control.search(text) is not None

  def spells(self, messages: Messages) -> bool:
    """Whether others than the assistant wrote what reads as a control token."""
    others = [dict(m) for m in messages if m['role'] != 'assistant']
    return self._marks.around(others, self._marks.control) != others

  def behind(
    self,
    history: Messages,
    answer: Mapping[str, Any],
    new: Messages,
    tools: Sequence[Any] = (),
  ) -> str:
    """What is written between an answer and the next, whatever it says.

    To be read by `tokens`. The answer goes through the template with a mark in
    the place of its words, and what follows the mark is returned.

    Args:
      history: before the answer; a last message of the assistant is how the
        answer begins.
      answer: a message of the assistant with `marks.SPOT` among its words.
      new: messages of others, that the next answer follows.

    Raises:
      ValueError: messages or tools that the template cannot write, or a
        template that leaves the answer out.
    """
    if history and history[-1]['role'] == 'assistant':
      history = history[:-1]
    self._check_fields([*history, answer, *new], tools)
    written = self._rendered(
      [*self._protected(history), answer, *self._protected(new)],
      tools,
      add_generation_prompt=True,
    )
    before, spot, rest = written.rpartition(marks.SPOT)
    if not spot:
      raise ValueError(
        'the chat template of the tokenizer does not write what the assistant '
        f'said into {before[-200:]!r}; episodes of several turns need another'
      )
    return rest

  def _written(
    self,
    messages: Messages,
    tools: Sequence[Any],
    *,
    whole: bool = False,
    **options: bool,
  ) -> str:
    self._check_fields(messages, tools)
    return self._rendered(self._protected(messages, whole), tools, **options)

  def _check_fields(self, messages: Messages, tools: Sequence[Any]) -> None:
    if tools and not self.reads('tools'):
      raise ValueError(
        'the record has tools, and the chat template of the tokenizer writes '
        'none; take them out, or use a template for tools'
      )
    for message in messages:
      self.check_written(message, 'tool_calls')

  def _rendered(
    self, messages: Messages, tools: Sequence[Any], **options: bool
  ) -> str:
    """What the template makes of messages that have their marks."""
    try:
      return self._tokenizer.apply_chat_template(
        list(messages),
        tools=self._marks.around(tools, self._marks.control) or None,
        tokenize=False,
        **options,
        **self._variables,
      )
    except Exception as error:  # A template is a program: it raises anything.
      raise ValueError(
        f'the chat template of the tokenizer cannot write the messages '
        f'{str(messages)[:200]}: {type(error).__name__}: {str(error)[:400]}'
      ) from error

  def check_written(self, message: Mapping[str, Any], *names: str) -> None:
    """Refuses words of a message that the template would leave out.

    Args:
      names: of its fields, such as tool_calls.

    Raises:
      ValueError: naming the field.
    """
    for name in names:
      if message.get(name) and not self.reads(name):
        raise ValueError(
          f'a message has {name}, and the chat template of the tokenizer '
          'writes none; write them into its content as the model does, or use '
          'a template that does'
        )

  def _protected(
    self, messages: Messages, whole: bool = False
  ) -> list[Mapping[str, Any]]:
    """Messages with marks around the control tokens that are text in them."""
    own = self._marks.special if whole else marks.NONE
    return [
      self._marks.around(
        m, own if m['role'] == 'assistant' else self._marks.control
      )
      for m in messages
    ]

  def _check(self, name: str) -> None:
    if (
      name in inspect.signature(self._tokenizer.apply_chat_template).parameters
    ):
      raise ValueError(
        f'data.chat_template_kwargs: {name!r} is what the run itself gives the '
        'chat template; take it out'
      )
    if not self.reads(name):
      raise ValueError(
        f'data.chat_template_kwargs: {name!r} would do nothing: the chat '
        'template of the tokenizer does not read it; take it out'
      )

  def reads(self, name: str) -> bool:
    """Whether its source has that name in it."""
    return re.search(rf'\b{re.escape(name)}\b', self._source) is not None
