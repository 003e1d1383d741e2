"""How a policy stands in its preference game, on held-out questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxrl_llm.problems.text import oracles
from jaxrl_llm.problems.text.answering import Answering
from jaxrl_llm.problems.text.questions import Questions
from jaxrl_llm.problems.text.speaker import Speaker
from jaxrl_llm.types import PyTree


def evaluate(
  answering: Answering,
  questions: Questions,
  policies: tuple[PyTree, PyTree],
  key: jax.Array,
  *,
  samples: int,
  size: int,
) -> dict[str, float]:
  """Games of the policy against its start, and against its best challenger.

  Args:
    policies: parameters of the policy, and of the one that the run began with.
    samples: how many responses of each to every question.
    size: questions asked at once.

  Returns:
    `win_rate`, the chance to beat the start, and `exploitability`, as
    `exploited` says; means over the questions.
  """
  speakers = [Speaker(answering, params, questions) for params in policies]
  found = []
  size = min(size, len(questions))
  for start in range(0, len(questions), size):
    # The last batch wraps around, to be of the same compiled shape.
    tasks = np.arange(start, start + size) % len(questions)
    keys = jax.random.split(jax.random.fold_in(key, start))
    prompts = questions.prompts(tasks)
    own, other = (
      np.array(s.decode(s.generate(prompts, k, samples)), object).reshape(
        -1, samples
      )
      for s, k in zip(speakers, keys)
    )
    found += [
      (
        won(answering.oracle, mine, theirs, questions.rows[task]),
        exploited(answering.oracle, mine, theirs, questions.rows[task]),
      )
      for task, mine, theirs in zip(
        tasks[: len(questions) - start], own.tolist(), other.tolist()
      )
    ]
  rate, gap = np.mean(found, axis=0)
  return {'win_rate': float(rate), 'exploitability': float(gap)}


def table(
  oracle: oracles.Oracle,
  first: Sequence[str],
  second: Sequence[str],
  row: Mapping[str, Any],
) -> np.ndarray:
  """f32[A, B]: the chance of each of A answers to beat each of B others."""
  shape = len(first), len(second)
  a, b = (x.ravel().tolist() for x in np.indices(shape))
  chances, _ = oracles.chances(
    oracle,
    [first[i] for i in a],
    [second[i] for i in b],
    [row] * (shape[0] * shape[1]),
  )
  return chances.reshape(shape)


def won(oracle, own, other, row) -> float:
  """The mean chance of one policy's answers to beat another's."""
  return float(np.mean(table(oracle, own, other, row)))


def exploited(oracle, own, other, row) -> float:
  """What a challenger, chosen among all answers, wins beyond a draw.

      mean over j in one half of P(y beats y_j) - 1/2,
      y = argmax over all answers of the same mean over the other half

  Chosen on one half of the policy's answers and played against the other, in
  both ways: unlike the plain maximum it is not biased upwards, and its mean
  is at most the exploitability max_y P(y beats policy) - 1/2. It is 0, but
  for chance, at an equilibrium of the game without a regulariser.

  Args:
    own: at least two answers of the policy. other: more challengers.
  """
  challengers = [*dict.fromkeys([*own, *other])]
  game = table(oracle, challengers, own, row)
  half = len(own) // 2
  halves = game[:, :half].mean(axis=1), game[:, half:].mean(axis=1)
  there, here = (int(np.argmax(x)) for x in halves)
  return float((halves[1][there] + halves[0][here]) / 2 - 0.5)
