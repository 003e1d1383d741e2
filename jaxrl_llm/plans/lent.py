"""What the loop lends a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from jaxrl_llm.plans.lent_samples import Samples
from jaxrl_llm.plans.lent_words import Words
from jaxrl_llm.types import Array, Prompts, Rollouts, Scores, Stats


class Tools(Samples, Words, Protocol):
  """Questions, verdicts and passes, beside `Samples` and `Words`.

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

  def verify(
    self, rollouts: Rollouts, texts=None, rows=None
  ) -> tuple[Rollouts, Scores]:
    """Scores; a row whose verifier failed is no longer valid.

    `texts` are judged in place of the responses, and by `rows` in the
    place of the questions' records.
    """

  def rows(self, tasks: Array) -> Sequence[Mapping[str, Any]]:
    """The record of the data behind each task."""

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

  def note(self, name: str, value: float) -> None:
    """Adds a metric."""
