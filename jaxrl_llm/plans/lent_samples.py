"""What samples responses for a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from jaxrl_llm.numerics import EntropyScale
from jaxrl_llm.types import Array, Prompts, Rollouts, Scores


class Samples(Protocol):
  """Responses of the policy, and of others, to prompts."""

  def generate(
    self,
    prompts: Prompts,
    key: Array,
    samples: int,
    *,
    most: int = 0,
    uids: Any = None,
    agents: Any = 0,
  ) -> Rollouts:
    """Responses of at most `most` tokens; 0 is the budget of the run.

    What is random in a row is a function of the key and of its entry in `uids`
    i32[N]; without them, of its place. Who says each, of agents that are
    policies of their own, is `agents`, i32[N] or one number.
    """

  def turn(
    self,
    rollouts: Rollouts,
    kept: Any,
    key: Array,
    *,
    most: int,
    going: Any,
    agents: Any = 0,
  ) -> tuple[Rollouts, Any]:
    """The next words of rows, behind what they say so far.

    Args:
      rollouts: N rows; those of a group are adjacent and share their prompt.
      kept: of the turn before of the same rows, None before the first. It is
        used up.
      most: tokens of the turn. going: bool[N] of NumPy, rows that say
        something. agents: i32[N] of NumPy, who acts in each.

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
