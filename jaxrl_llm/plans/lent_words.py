"""What turns tokens into words for a plan, and words into tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from jaxrl_llm.tasks.speech import Said
from jaxrl_llm.types import Array, Prompts, Rollouts


class Words(Protocol):
  """Texts and conversations of questions and of responses."""

  def prompts(self, tasks: Array, texts: Sequence[Any]) -> Prompts:
    """Prompts of other texts or messages than those of the tasks' records."""

  def fits(self, tasks: Array, texts: Sequence[Any]) -> list[bool]:
    """Which of such prompts are within the budget; `prompts` takes no other."""

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of plain texts, without any that the tokenizer adds."""

  def responses(self, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of whole responses, each ended once."""

  def decode(self, rollouts: Rollouts) -> list[str]:
    """The text of every response."""

  def pieces(self, rollouts: Rollouts) -> list[list[str]]:
    """The text of every response, token by token."""

  def talks(self, tasks: Array) -> list[Any]:
    """The conversations that begin with the prompts of tasks."""

  def chat(self, tools: Sequence[Any]) -> Any:
    """The chat of a program's conversations with these tools."""

  def read(
    self, rollouts: Rollouts, talks: Mapping[int, Any]
  ) -> dict[int, Said]:
    """What was said in the responses of some rows, and how they ended.

    Args:
      talks: the conversations that they go on with, by row.
    """

  def after(
    self, talk: Any, said: Said, observation: str | Sequence[Any]
  ) -> tuple[list[int], Any]:
    """Tokens between a turn and the next, and the conversation until then."""

  def written(self, talk: Any) -> list[int]:
    """Tokens of a conversation up to the next turn, as the template has it."""
