"""Learners of text: a frozen policy that is asked better and better.

    init() -> state
    act(state, questions, key) -> (answers, state)
    update(state, questions, answers, rewards) -> state

`learners.base` for texts, on the host. The policy is a function of prompts in a
field and never moves: what is learned is what else its prompts say. The state
is a value: to answer without learning, act and drop what it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from jaxrl_llm.types import Array, PyTree

# f(N prompts, key) -> N texts.
Policy = Callable[[Sequence[str], Array], list[str]]
# f(N questions, N answers) -> f64[N], higher is better.
Judge = Callable[[Sequence[str], Sequence[str]], np.ndarray]


class TextLearner(Protocol):
  """What answers questions the better the more it has seen."""

  def init(self) -> PyTree:
    """The state of one that has seen nothing."""

  def act(
    self, state: PyTree, questions: Sequence[str], key: Array
  ) -> tuple[list[str], PyTree]:
    """An answer to each question, and the state with what acting changes."""

  def update(
    self,
    state: PyTree,
    questions: Sequence[str],
    answers: Sequence[str],
    rewards: np.ndarray,
  ) -> PyTree:
    """The state that knows what the answers of the last `act` earned."""


def practise(
  learner: TextLearner,
  judge: Judge,
  questions: Sequence[str],
  key: Array,
  *,
  steps: int,
  batch: int,
  samples: int = 1,
) -> Iterator[tuple[PyTree, np.ndarray]]:
  """A learner that answers questions and hears what the answers earn.

  Args:
    questions: to draw from, each once before any is drawn again.
    batch: of different questions a step. samples: answers to each, adjacent.

  Yields:
    The state after each step, and what its answers earned, f64[N].

  Raises:
    ValueError: a batch of no questions, or of more than there are.
  """
  if not 0 < batch <= len(questions):
    raise ValueError(
      f'a batch of {batch} does not fit {len(questions)} questions; use a '
      f'number from 1 to {len(questions)}'
    )
  state, epoch = learner.init(), list[str]()
  for step in range(steps):
    order, act = jax.random.split(jax.random.fold_in(key, step))
    if len(epoch) < batch:
      epoch = [questions[i] for i in rng_of(order).permutation(len(questions))]
    asked = [q for q in epoch[:batch] for _ in range(samples)]
    epoch = epoch[batch:]
    answers, state = learner.act(state, asked, act)
    rewards = judge(asked, answers)
    state = learner.update(state, asked, answers, rewards)
    yield state, rewards


def rng_of(key: Array) -> np.random.Generator:
  """NumPy's randomness of a key."""
  return np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())


def speaking(tools: Any) -> Policy:
  """The policy that a plan is lent, see `plans.lent.Tools`, as a function."""

  def answer(prompts, key):
    tasks = np.zeros(len(prompts), np.int32)
    return tools.decode(tools.generate(tools.prompts(tasks, prompts), key, 1))

  return answer
