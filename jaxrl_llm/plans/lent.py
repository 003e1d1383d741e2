"""What the loop lends a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from jaxrl_llm.numerics import EntropyScale
from jaxrl_llm.tasks.speech import Said
from jaxrl_llm.types import Array, Prompts, Rollouts, Scores, Stats


class Tools(Protocol):
  """Sampling, text, verdicts, and passes and steps of the policy.

  Attributes:
    columns: T, the token budget of a response.
    components: names of the run's scores, length K.
    environment: what answers the policy's turns, see `tasks.environments`.
    program: what asks it, see `serving.host`.
  """

  columns: int
  components: tuple[str, ...]
  environment: Any
  program: Any

  def draw(self) -> Prompts:
    """The next prompts of the curriculum, as many as before."""

  def generate(
    self,
    prompts: Prompts,
    key: Array,
    samples: int,
    *,
    most: int = 0,
    uids: Any = None,
  ) -> Rollouts:
    """Responses of at most `most` tokens; 0 is the budget of the run.

    What is random in a row is a function of the key and of its entry in `uids`
    i32[N]; without them, of its place.
    """

  def turn(
    self, rollouts: Rollouts, kept: Any, key: Array, *, most: int, going: Any
  ) -> tuple[Rollouts, Any]:
    """The next words of rows, behind what they say so far.

    Args:
      rollouts: N rows; those of a group are adjacent and share their prompt.
      kept: of the turn before of the same rows, None before the first. It is
        used up.
      most: tokens of the turn. going: bool[N] of NumPy, rows that say
        something.

    Returns:
      Rollouts of `most` columns with what was said now, and what is kept.
    """

  def cached(
    self, *, slots: int, columns: int, size: int, most: int
  ) -> Callable[..., Rollouts] | None:
    """What answers contexts, and keeps what it has read for those to come.

    Args:
      slots: contexts that are kept, those used last.
      columns: tokens of a context with its answer.
      size: contexts answered at once. most: tokens of an answer.

    Returns:
      f(contexts, key, uids) -> Rollouts of `size` rows without prompts, the
      first of which answer the contexts, by the keys of `uids` i32[size]. None
      where the run keeps nothing, and contexts are prompts.
    """

  def opened(
    self, tasks: Array, openings: Sequence[Any]
  ) -> tuple[Prompts, list[Any]]:
    """Prompts of tasks as an environment opens them, and their conversations.

    Args:
      openings: of the tasks, see `tasks.environments`; one whose prompt is ''
        has that of the record.
    """

  @property
  def tasks(self) -> int:
    """Questions of the data, A."""

  def questions(self, tasks: Any) -> Prompts:
    """The prompts of tasks i[B]."""

  def tell(self, scores: Any) -> None:
    """Tells the curriculum a score of every question, f[A]."""

  def tempered(
    self, prompts: Prompts, key: Array, samples: int, heat: float
  ) -> Rollouts:
    """Responses at a temperature that is `heat` times the run's.

    Their log-probs are the policy's at the run's temperature.
    """

  def varied(
    self,
    prompts: Prompts,
    key: Array,
    samples: int,
    *,
    swing: float,
    scale: EntropyScale,
  ) -> tuple[Rollouts, Array]:
    """Responses whose temperature follows the entropy of every draw.

    Args:
      swing, scale: as of `truncation.Sampling`.

    Returns:
      The rows, with the policy's log-probs, and its entropies f32[N, T].
    """

  def greedy(self, prompts: Prompts) -> Rollouts:
    """The most probable token at every place, one response a prompt."""

  def verify(
    self, rollouts: Rollouts, texts=None, rows=None
  ) -> tuple[Rollouts, Scores]:
    """Scores; a row whose verifier failed is no longer valid.

    `texts` are judged in place of the responses, and by `rows` in the
    place of the questions' records.
    """

  def rows(self, tasks: Array) -> Sequence[Mapping[str, Any]]:
    """The record of the data behind each task."""

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

  def score(self, rollouts: Rollouts, *needs: str) -> Stats:
    """What the current policy says of the tokens it chose, 0 of others."""

  def hidden_square(self, rollouts: Rollouts) -> Array:
    """f32[N, T], |h|^2 of the state that each token was drawn from."""

  def teachers(self, rollouts: Rollouts) -> Array:
    """f32[N, T, C], log-probs under the C policies of `teacher.paths`."""

  def rated(self, rollouts: Rollouts, scores: Scores) -> Array:
    """f32[N, T], log-ratios of the policy of `Contract.rater` to its start.

    After a step of it on these rows.
    """

  def taught(self, rollouts: Rollouts, *needs: str) -> Stats:
    """What the first policy of `teacher.paths` says of the rows."""

  def referred(self, rollouts: Rollouts, *needs: str) -> Stats:
    """What the recipe's reference says of the rows."""

  def rival(self, prompts: Prompts, key: Array, samples: int) -> Rollouts:
    """Responses of the first policy of `teacher.paths`."""

  def opponent(
    self, prompts: Prompts, key: Array, samples: int, share: float
  ) -> Rollouts:
    """Responses of the policy mixed with the opponent of its reference."""

  def masked(
    self,
    prompts: Prompts,
    key: Array,
    samples: int,
    *,
    share: float,
    least: int,
  ) -> Rollouts:
    """Responses among the tokens that the reference's opponent would keep.

    Args:
      share: of its mass, at least. least: tokens, at least.
    """

  def ahead(self, rollouts: Rollouts, scores: Scores, key: Array):
    """What generates as the policy would after a step on these rows."""

  def moved(self, rollouts: Rollouts, key: Array):
    """What generates as the policy would once the recipe `contract.sampler`
    had moved it on these rows, whose rewards are 0."""

  def note(self, name: str, value: float) -> None:
    """Adds a metric."""
