"""Chat templates: conversations in, tokens out.

A template writes control tokens, such as the marks between turns, around what
people wrote. What they wrote may hold the same letters and stays text: such
letters go through the template between two marks, and are spelled out when the
rest is encoded. Messages of the assistant are the policy's own words, in which
control tokens, such as <think>, are tokens.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Messages = Sequence[Mapping[str, Any]]

# Code points that Unicode keeps for programs and no text has.
_OPEN, _CLOSE = '\ufdd0', '\ufdd1'
_NO_MARKS = {ord(_OPEN): None, ord(_CLOSE): None}


def _any_of(texts: Iterable[str]) -> re.Pattern:
  """Finds any of some texts, the longest first, as one may begin another."""
  longest = sorted(map(re.escape, texts), key=len, reverse=True)
  return re.compile('|'.join(longest) or '(?!)')


_NONE = _any_of(())


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
    added = tokenizer.added_tokens_decoder.values()
    special = {token.content for token in added if token.special}
    written = {
      token.content for token in added if token.content in self._source
    }
    self._special = _any_of(special)
    self._control = _any_of(special | {t for t in written if not t.isspace()})
    self._marks = re.compile(
      f'{_OPEN}({self._control.pattern}){_CLOSE}|[{_OPEN}{_CLOSE}]'
    )
    self._newline = self._plain('\n')

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
    first, *pieces = self._marks.split(written)
    ids = self._inside(first, self._plain) if behind else self._plain(first)
    for spelled, text in zip(pieces[::2], pieces[1::2]):
      if spelled:
        ids += self._spelled(spelled)
      if text:
        ids += self._inside(text, self._plain)
    return ids

  @property
  def reads_clock(self) -> bool:
    """Whether it may write the date of the day, unless it is given one."""
    given = 'date_string' in self._variables
    return self._reads('strftime_now') and not given

  def controls(self, text: str) -> bool:
    """Whether a text spells a control token."""
    return self._control.search(text) is not None

  def spells(self, messages: Messages) -> bool:
    """Whether others than the assistant wrote what reads as a control token."""
    others = [dict(m) for m in messages if m['role'] != 'assistant']
    return self._marked(others, self._control) != others

  def _written(
    self,
    messages: Messages,
    tools: Sequence[Any],
    *,
    whole: bool = False,
    **options: bool,
  ) -> str:
    if tools and not self._reads('tools'):
      raise ValueError(
        'the record has tools, and the chat template of the tokenizer writes '
        'none; take them out, or use a template for tools'
      )
    for message in messages:
      self.check_written(message, 'tool_calls')
    try:
      return self._tokenizer.apply_chat_template(
        [self._marked(m, self._protected(m, whole)) for m in messages],
        tools=self._marked(tools, self._control) or None,
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
      if message.get(name) and not self._reads(name):
        raise ValueError(
          f'a message has {name}, and the chat template of the tokenizer '
          'writes none; write them into its content as the model does, or use '
          'a template that does'
        )

  def _protected(self, message: Mapping[str, Any], whole: bool) -> re.Pattern:
    """The control tokens that are text in a message."""
    if message['role'] != 'assistant':
      return self._control
    return self._special if whole else _NONE

  def _check(self, name: str) -> None:
    if (
      name in inspect.signature(self._tokenizer.apply_chat_template).parameters
    ):
      raise ValueError(
        f'data.chat_template_kwargs: {name!r} is what the run itself gives the '
        'chat template; take it out'
      )
    if not self._reads(name):
      raise ValueError(
        f'data.chat_template_kwargs: {name!r} would do nothing: the chat '
        'template of the tokenizer does not read it; take it out'
      )

  def _reads(self, name: str) -> bool:
    return re.search(rf'\b{re.escape(name)}\b', self._source) is not None

  def _marked(self, value: Any, tokens: re.Pattern) -> Any:
    """A value with marks around the tokens of every text in it."""
    if isinstance(value, str):
      # Whoever wrote marks could forge with them.
      value = value.translate(_NO_MARKS)
      return tokens.sub(rf'{_OPEN}\g<0>{_CLOSE}', value)
    if isinstance(value, Mapping):
      return {key: self._marked(each, tokens) for key, each in value.items()}
    if isinstance(value, list | tuple):
      return [self._marked(each, tokens) for each in value]
    return value

  def _spelled(self, token: str) -> list[int]:
    ids = self._inside(token, self._letters)
    if self._tokenizer.convert_tokens_to_ids(token) in ids:
      raise ValueError(
        f'{token!r} in the text of a message is a control token, which the '
        'tokenizer cannot spell in other tokens; take it out'
      )
    return ids

  def _inside(self, text: str, encode: Callable[[str], list[int]]) -> list[int]:
    """Tokens of a text that does not begin where the others do.

    Some tokenizers put a space before the first word of a text; after a
    newline they do not.
    """
    ids, count = encode(f'\n{text}'), len(self._newline)
    return ids[count:] if ids[:count] == self._newline else encode(text)

  def _plain(self, text: str) -> list[int]:
    return self._tokenizer(text, add_special_tokens=False)['input_ids']

  def _letters(self, text: str) -> list[int]:
    """Tokens of a text in which no added token is looked for."""
    backend = getattr(self._tokenizer, 'backend_tokenizer', None)
    if backend is None:
      return self._plain(text)
    if backend.normalizer is not None:
      text = backend.normalizer.normalize_str(text)
    words = [text]
    if backend.pre_tokenizer is not None:
      words = [w for w, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
    return [token.id for w in words for token in backend.model.tokenize(w)]
