"""A run assembled: what the loop borrows, whatever the run is about.

`jaxrl_llm.problems` makes sessions, one class for each kind of problem. The
loop knows none of them: it asks for tools to make rows with, for what is
measured between iterations, and for a few rows to show.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from ml_collections import ConfigDict

from jaxrl_llm.plans.lent import Tools
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.training import shard, step
from jaxrl_llm.types import (
  Array,
  Credit,
  PyTree,
  Rollouts,
  Scores,
  Spec,
  TrainState,
)

# Hears of rows, some at a time, for people to read.
Record = Callable[[list[dict[str, Any]]], None]


def spread(group: np.ndarray, count: int) -> np.ndarray:
  """Indices of `count` rows of many groups, two of each, rising.

  Two, because a response says more beside another to the same prompt.

  Args:
    group: i32[N], the group of each row.
  """
  order = np.argsort(group, kind='stable')
  first = np.searchsorted(group[order], group[order])
  # The first two rows of every group, then the next ones, and so on.
  place = np.empty(len(group), int)
  place[order] = np.arange(len(group)) - first
  return np.sort(np.lexsort((group, place // 2))[:count])


class Lent(Tools, Protocol):
  """The tools of a plan, and what the loop asks of them afterwards.

  Attributes:
    curriculum: its state after the draws. metrics: what was noted.
    rater: the state of a second policy that learned, None without one.
  """

  curriculum: PyTree
  rater: TrainState | None
  metrics: dict[str, Any]

  def compare(self, rollouts: Rollouts, scores: Scores) -> Scores:
    """The scores, with who wins within a group where somebody says so."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Session:
  """What a run is made of.

  Attributes:
    config: its settings. recipe: its method. spec: its static sizes.
    program: what is compiled. compiled: its jitted parts.
    frozen: parameters that are not trained, {} where all are.
  """

  config: ConfigDict
  recipe: Recipe
  spec: Spec
  program: step.Program
  compiled: step.Compiled
  frozen: PyTree = dataclasses.field(default_factory=dict)

  @property
  def layout(self) -> shard.Layout:
    """Where the run's arrays live."""
    return self.program.layout

  @property
  def asked(self) -> int:
    """How many questions or tasks `measure` asks."""
    raise NotImplementedError

  @property
  def counts(self) -> Mapping[str, float]:
    """What was found in the run's data, logged once at its beginning."""
    return {}

  @property
  def trained(self) -> str:
    """What the run trains, in a line."""
    raise NotImplementedError

  @property
  def remarks(self) -> Sequence[str]:
    """What else a dry run says of it, a line each."""
    return ()

  @property
  def base(self) -> str:
    """The model it is trained from, a folder or hub name; '' without one."""
    return ''

  @property
  def example(self) -> str:
    """What the policy is asked first, as it reads it; '' if that is no text."""
    return ''

  @property
  def judged(self) -> bool:
    """Whether rows of a group are compared with each other."""
    return False

  def working_memory(self) -> dict[str, PyTree]:
    """Shapes of what sampling keeps beside parameters, by name."""
    return {}

  def sample(self, params: PyTree, key: Array) -> Rollouts:
    """The rows of an iteration of a plan that only samples, traceable.

    Args:
      params: as `sampling_params` gives them. Which tasks is not said.
    """
    raise NotImplementedError

  def init(self, trainable: PyTree) -> TrainState:
    """The state before the first iteration."""
    return self.layout.kept(self.program.init(trainable, self.spec))

  def draw(self, curriculum: PyTree, key: Array):
    """The tasks of one draw, and the curriculum's new state."""
    return self.compiled.draw(curriculum, key, self.config.sample.prompts)

  @property
  def fixed(self) -> PyTree:
    """What the compiled programs read of a policy beside what is trained."""
    return self.frozen

  def lend(
    self,
    state: TrainState,
    key: Array,
    meanwhile: Callable[[], None] = lambda: None,
  ) -> Lent:
    """What a plan makes rows with in one iteration.

    Args:
      state: before the iteration. key: of the draws of prompts.
      meanwhile: called before every verification, for what a device may do
        while the host verifies.
    """
    raise NotImplementedError

  def measure(
    self,
    params: PyTree,
    key: Array,
    *,
    samples: int,
    record: Record = lambda rows: None,
  ) -> dict[str, float]:
    """How good trainable parameters are, by name, with `/low` and `/high`.

    Args:
      samples: rows of each question or task.
      record: hears of rows that people may want to read.
    """
    raise NotImplementedError

  def evaluate(
    self,
    state: TrainState,
    step: int,
    record: Record = lambda rows: None,
  ) -> dict[str, float]:
    """What is measured of the policy after `step` iterations, by name."""
    raise NotImplementedError

  def of_sources(
    self, rollouts: Rollouts, credit: Credit
  ) -> Mapping[str, float]:
    """What the rows of an iteration earned by source; {} of one source."""
    return {}

  def marked(self, rollouts: Rollouts) -> Rollouts:
    """The rows, with `shown` of which the learner is to say more."""
    return rollouts

  def examples(
    self, rollouts: Rollouts, credit: Credit, seen: Array | None = None
  ) -> list[dict[str, Any]]:
    """A few rows of an iteration, of several groups, for people to read.

    Args:
      seen: f32[K, T, 4] or None, what the learner said of those `marked`.
    """
    raise NotImplementedError

  def export_adapter(
    self, state: TrainState, folder: pathlib.Path, *, card: str = ''
  ) -> object:
    """Writes what is trained beside a frozen model, for other programs.

    Raises:
      ValueError: no model is frozen.
    """
    raise ValueError(
      'nothing of this policy is frozen, so there is no adapter; export all of '
      'it, without --adapter'
    )

  def export(
    self,
    state: TrainState,
    folder: pathlib.Path,
    *,
    dtype: str | None = None,
    stochastic: bool = False,
    card: str = '',
  ) -> object:
    """Writes the policy in the format of other programs.

    Args:
      dtype: of the stored weights, None for the narrowest that keeps what
        training changed. stochastic: weights are rounded to it at random.
      card: README.md of what is written, '' for none.

    Returns:
      What was written, which prints as a sentence.

    Raises:
      ValueError: there is no such format for this kind of policy, or no such
        dtype.
    """
    raise NotImplementedError

  def try_out(self) -> None:
    """Refuses what would fail on every row, before the run begins.

    Raises:
      ValueError: with what failed.
    """

  def close(self) -> None:
    """Ends what the session has started."""
