"""What the policy says in a turn, and how it is talked with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

Message = Mapping[str, Any]


class Call(NamedTuple):
  """A call of a tool that the policy wrote.

  Attributes:
    id: names it in its turn, for the message with its result.
    name: of the tool. arguments: by name.
    error: why it could not be read, '' where it could.
    written: what stands behind the name where it could not.
  """

  id: str
  name: str
  arguments: Mapping[str, Any]
  error: str = ''
  written: str = ''


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


class Chat(Protocol):
  """How a policy is talked with: messages as tokens, and back."""

  def begin(self, prompt: Any, tools: Sequence[Any] = ()) -> list[int]:
    """Tokens of a prompt, up to where the answer begins."""

  def after(
    self,
    history: Sequence[Message],
    said: Said,
    new: Sequence[Message],
    tools: Sequence[Any] = (),
  ) -> list[int]:
    """Tokens between a turn and the next.

    Args:
      history: messages before the turn. said: the turn.
      new: what others say to it.
      tools: that may be called, as JSON schemas.
    """

  def read(
    self, ids: Sequence[int], tools: Sequence[Any] = (), *, cut: bool = False
  ) -> Said:
    """What was said in a turn, see `dialogue.Reader`."""
