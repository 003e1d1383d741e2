"""Responses, and now and then a look at how every question is answered."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.tasks import bleu


@dataclasses.dataclass(frozen=True)
class Measured(Plan):
  """Independent responses, whose curriculum is told a score of each question.

      score = weight p (1 - p) + (1 - weight) (1 - self-BLEU)

  p is the mean reward, held to [0, 1], and self-BLEU says how alike in their
  tokens the responses are. Both are of responses that are not learned from,
  `count` to every question of the data, in the first iteration and in every
  `every`th after it.

  Attributes:
    samples: rows of a group. count: responses, rounded up to whole groups.
    every: iterations. weight: in [0, 1].

  Raises:
    ValueError: no response or no iteration.

  Source: the variance promotion score of MMR1, arXiv 2509.21268, section 3.1
    and table 6. Its code adds the self-BLEU itself, so that questions whose
    answers are alike are drawn more; this is the paper's diversity.
  """

  samples: int = 8
  count: int = 16
  every: int = 56
  weight: float = 0.8

  def __post_init__(self):
    if min(self.count, self.every) < 1:
      raise ValueError(
        f'{self.count} responses every {self.every} iterations measure '
        'nothing; use at least 1 of both'
      )

  @property
  def contract(self):
    return Contract(self.samples)

  def init(self, spec):
    del spec
    return jnp.int32(0)

  def collect(self, tools, prompts, state, key):
    look, draw = jax.random.split(key)
    if int(state) % self.every == 0:
      tools.tell(self._scores(tools, prompts.tokens.shape[0], look))
    rollouts = tools.generate(prompts, draw, self.samples)
    return *tools.verify(rollouts), state + 1

  def _scores(self, tools, size, key):
    """f64[A], the score of every question, so many asked at once."""
    scores = np.zeros(tools.tasks)
    for tasks, rounds in looks(tools, size, self.count, self.samples, key):
      earned = np.zeros(size)
      said: list[list[tuple[int, ...]]] = [[] for _ in tasks]
      for rollouts, rewards in rounds:
        earned += rewards.mean(axis=1) / len(rounds)
        for row, tokens in enumerate(_tokens(rollouts)):
          said[row // self.samples].append(tokens)
      rate = np.clip(earned, 0, 1)
      apart = np.array([1 - bleu.within(rows) for rows in said])
      scores[tasks] = (
        self.weight * rate * (1 - rate) + (1 - self.weight) * apart
      )
    return scores


def looks(tools, size, count, samples, key):
  """Answers to every question of the data, `size` questions at once.

  Args:
    count: responses to each, rounded up to whole groups of `samples`.

  Yields:
    Tasks i[size], and of each round its rollouts and rewards [size, samples].
  """
  rounds = -(-count // samples)
  for start in range(0, tools.tasks, size):
    # The last batch wraps around, to be of the same compiled shape.
    tasks = np.arange(start, start + size) % tools.tasks
    prompts, found = tools.questions(tasks), []
    for number in range(rounds):
      draw = jax.random.fold_in(key, start * rounds + number)
      rollouts, judged = tools.verify(tools.generate(prompts, draw, samples))
      found.append((rollouts, np.asarray(judged.total).reshape(size, -1)))
    yield tasks, found


def _tokens(rollouts):
  """The tokens of every response."""
  response, mask = (
    np.asarray(x) for x in (rollouts.content.response, rollouts.response_mask)
  )
  return [tuple(row[own].tolist()) for row, own in zip(response, mask)]
