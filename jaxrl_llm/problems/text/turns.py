"""Conversations as rows of tokens of which the policy's own are known.

What an assistant wrote is found by position, whatever the template. It writes
the conversation up to an answer twice: as it asks for the answer, and with it.
The second text must go on from the first. What comes behind, up to the first
token that ends a response, is what a policy would have had to say: thoughts,
calls of tools and the end of the turn included.

    asked   <user> Hi <assistant>
    given   <user> Hi <assistant> Hello. <end>
                                  ^^^^^^^^^^^^

Several turns share a row where the template keeps what was said before. Where
it writes earlier turns anew, as those that drop earlier thoughts do, a new row
begins: each answer stands behind what the template would ask with.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxrl_llm.problems.text import chat

# A word that no template writes.
_WORD = 'zqwords'


class Row(NamedTuple):
  """A prompt and what follows it.

  Attributes:
    start: how many messages the prompt holds.
    prompt: its tokens, those of `Template.encode`.
    response: tokens, from the first of the policy's to the last.
    action: which of them the policy wrote; as many.
  """

  start: int
  prompt: list[int]
  response: list[int]
  action: list[bool]


def end_of_turn(tokenizer, ends: Collection[int] = ()) -> int:
  """The token with which the chat template ends a turn of the assistant.

  Gemma's is no EOS, nor is that of a base model with a template for chats. It
  is the first of those that end a response, or else a special token that stands
  right behind an answer. Where there is neither, or no template, it is the EOS.

  Args:
    tokenizer: of `transformers`.
    ends: tokens that end a response, beside the EOS.
  """
  eos = tokenizer.eos_token_id
  if tokenizer.chat_template is None:
    return eos
  template = chat.Template(tokenizer)
  talk = [('user', 'Hi'), ('assistant', _WORD)]
  messages = [{'role': role, 'content': text} for role, text in talk]
  try:
    written = template.write(messages, asks=False)
  except ValueError:  # Whoever asks with messages is told why.
    return eos
  behind = written.rpartition(_WORD)[2].lstrip()
  known = {eos, *ends}
  for token in template.tokens(behind, behind=True):
    if token in known:
      return token
  special = template.special.match(behind)
  return tokenizer.convert_tokens_to_ids(special[0]) if special else eos


def closing(
  tokenizer, ends: Collection[int], prompts: Sequence[str | chat.Messages]
) -> list[int]:
  """What ends a response to each prompt: a turn, or, behind text, a text."""
  turn = end_of_turn(tokenizer, ends)
  return [
    tokenizer.eos_token_id if isinstance(prompt, str) else turn
    for prompt in prompts
  ]


def rows(
  template: chat.Template,
  messages: chat.Messages,
  tools: Sequence[Any] = (),
  *,
  learned: Sequence[int],
  ends: Mapping[int, str],
) -> list[Row]:
  """The turns of a conversation that a policy learns, in as few rows as can be.

  The tokens are those of the text that the template writes. Only where the
  first letters of an answer would melt into a token with the mark before it,
  they are two: the mark's is given to a policy, which writes the other.

  Args:
    template: of the tokenizer.
    messages: at least up to the last turn that is learned.
    tools: that may be called, as JSON schemas.
    learned: indices of messages of the assistant, rising; none is the first.
    ends: tokens that end a response, and their texts.

  Returns:
    No row without a turn to learn.

  Raises:
    ValueError: a turn that nobody asked for, that the template writes
      otherwise than it asks for it, that it does not end with one of `ends`,
      or that holds one of these itself.
  """
  found: list[Row] = []
  asked = ''
  context: list[int] = []
  said: list[int] = []
  for index in learned:
    _check(template, messages, index, ends)
    before, asked = asked, template.write(messages[:index], tools, asks=True)
    given = template.write(messages[: index + 1], tools, asks=False)
    if not given.startswith(asked):
      raise ValueError(
        'the chat template asks for an answer with '
        f'{_differing(asked, given)!r} and writes one behind other words, so '
        'that what the assistant wrote cannot be told from what was given; '
        'set data.chat_template_kwargs so that both agree, or write prompt and '
        'completion as texts'
      )
    behind = []
    if found and asked.startswith(before):
      behind = _behind(template, before, context, asked[len(before) :])
    if found and behind[: len(said)] == said:
      between = behind[len(said) :]
      found[-1].response.extend(between)
      found[-1].action.extend([False] * len(between))
      context = [*context, *behind]
    else:
      context = template.tokens(asked)
      found.append(Row(index, context, [], []))
    said = _said(template, asked, context, given[len(asked) :], ends)
    found[-1].response.extend(said)
    found[-1].action.extend([True] * len(said))
  return found


def _check(template, messages, index, ends) -> None:
  """Refuses a turn that a policy could not have written."""
  message = messages[index]
  if messages[index - 1]['role'] == 'assistant':
    raise ValueError(
      f'messages {index - 1} and {index} are both of the assistant, whose turn '
      'ends when it has spoken; join them'
    )
  template.check_written(message, 'reasoning_content', 'thinking')
  for said in _texts(message):
    for end in ends.values():
      if end in said:
        raise ValueError(
          f'message {index}, of the assistant, holds {end!r}, which ends a '
          'response; take it out: the chat template writes it'
        )


def _texts(value: Any) -> Iterator[str]:
  """The texts in a message, however deep."""
  if isinstance(value, str):
    yield value
  elif isinstance(value, Mapping):
    for each in value.values():
      yield from _texts(each)
  elif isinstance(value, list | tuple):
    for each in value:
      yield from _texts(each)


def _behind(template, before: str, ids: list[int], text: str) -> list[int]:
  """Tokens of a text behind the tokens of what precedes it."""
  whole = template.tokens(before + text)
  if whole[: len(ids)] == ids:
    return whole[len(ids) :]
  return template.tokens(text, behind=True)


def _said(template, asked, ids, text, ends) -> list[int]:
  """Tokens up to the first that ends a response."""
  said = _behind(template, asked, ids, text)
  for place, token in enumerate(said):
    if token in ends:
      return said[: place + 1]
  raise ValueError(
    f'the chat template ends a turn with {text[-20:]!r}, and a response ends '
    f'with {" or ".join(map(repr, ends.values()))}; name its token as '
    'eos_token_id in generation_config.json of the model folder'
  )


def _differing(asked: str, given: str) -> str:
  """The end of a question, from the line in which an answer differs."""
  same = len(os.path.commonprefix([asked, given]))
  return asked[asked.rfind('\n', 0, same) + 1 :][:60]
