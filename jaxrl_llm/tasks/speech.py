"""What the policy says in a turn, as environments are told it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Call(NamedTuple):
  """A call of a tool that the policy wrote.

  Attributes:
    id: names it in its turn, for the message with its result.
    name: of the tool. arguments: by name.
    error: why it could not be read, '' where it could.
  """

  id: str
  name: str
  arguments: Mapping[str, Any]
  error: str = ''


class Said(str):
  """A turn of the policy: its whole text, and how it was said.

  It is an ordinary text for who needs no more.

  Attributes:
    ids: its tokens, all of them.
    content: the text beside thoughts and calls.
    thought: the text between the marks of thinking.
    calls: of tools, in their order. start: where the first begins, in
      characters of the text; -1 without.
    ended: the token that ended it, None where none did.
    cut: whether the budget of tokens did.
  """

  ids: tuple[int, ...]
  content: str
  thought: str
  calls: Sequence[Call]
  start: int
  ended: int | None
  cut: bool

  def __new__(
    cls,
    text: str,
    *,
    ids: Sequence[int] = (),
    content: str | None = None,
    thought: str = '',
    calls: Sequence[Call] = (),
    start: int = -1,
    ended: int | None = None,
    cut: bool = False,
  ):
    said = super().__new__(cls, text)
    said.ids, said.ended, said.cut = tuple(ids), ended, cut
    said.content = str(text) if content is None else content
    said.thought = thought
    said.calls, said.start = tuple(calls), start
    return said
