"""A frozen policy of text that reads examples in its prompt.

It knows a few ways to turn a word into another and has a habit for each kind of
question, `sort 3101=`, mostly the wrong one. What its prompt shows before the
question it reads as evidence, by the rule of Bayes, of how such a question is
to be answered:

    P(way | prompt) ~ habit(way | kind) prod_shown likelihood(shown | way)

An example that the way explains has the likelihood 1 - slip, any other slip; of
one that is called wrong it is the other way round. That in-context learning is
such inference is the view of arXiv 2111.02080.

The words of kinds mean nothing to it: which way is right is drawn at random.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from jaxrl_llm.learners.texts import rng_of

SLIP = 0.05
WRONG = 'wrong'
WAYS = (
  lambda word: word,
  lambda word: ''.join(sorted(word)),
  lambda word: word[::-1],
  lambda word: ''.join(sorted(word, reverse=True)),
  lambda word: word[1:] + word[:1],
  lambda word: word[-1:] + word[:-1],
)
KINDS = ('sort', 'turn', 'roll', 'flip', 'move', 'list')
_SAID = re.compile(r'(\w+) (\d+)=(\d*)(?: (' + WRONG + '))?')


@dataclasses.dataclass(frozen=True)
class World:
  """Kinds of questions, and who answers them.

  Attributes:
    habit: f64[kinds, ways], of the policy. right: i[kinds], the right ways.
  """

  habit: np.ndarray
  right: np.ndarray

  def questions(self, rng: np.random.Generator, count: int) -> list[str]:
    """Of random kinds, words of five digits; no two alike."""
    found: dict[str, None] = {}
    while len(found) < count:
      kind = KINDS[rng.integers(len(KINDS))]
      word = ''.join(map(str, rng.integers(0, 10, 5)))
      found[f'{kind} {word}='] = None
    return list(found)

  def posterior(self, prompt: str) -> tuple[np.ndarray, str]:
    """f64[ways] of what is asked last, and its word."""
    *shown, (kind, word, _, _) = _SAID.findall(prompt)
    logits = np.log(self.habit[KINDS.index(kind)])
    for other, example, answer, wrong in shown:
      if other == kind:
        fits = np.array([way(example) == answer for way in WAYS])
        logits = logits + np.log(np.where(fits != bool(wrong), 1 - SLIP, SLIP))
    chances = np.exp(logits - logits.max())
    return chances / chances.sum(), word

  def policy(self, prompts: Sequence[str], key) -> list[str]:
    """A way of each prompt's posterior, done to its word."""
    said, draws = [], rng_of(key).random(len(prompts))
    for prompt, draw in zip(prompts, draws, strict=True):
      chances, word = self.posterior(prompt)
      place = np.searchsorted(np.cumsum(chances), draw)
      said.append(WAYS[min(int(place), len(WAYS) - 1)](word))
    return said

  def answer(self, question: str) -> str:
    """The right one."""
    kind, word, _, _ = _SAID.findall(question)[-1]
    return WAYS[self.right[KINDS.index(kind)]](word)

  def accuracy(self, prompts: Sequence[str]) -> float:
    """The chance of a right answer, the mean over prompts, exact."""
    found = []
    for prompt in prompts:
      chances, word = self.posterior(prompt)
      right = [way(word) == self.answer(prompt) for way in WAYS]
      found.append(chances @ right)
    return float(np.mean(found))

  def judge(self, questions, answers) -> np.ndarray:
    """1 where the answer is right, else 0."""
    pairs = zip(questions, answers, strict=True)
    return np.array([float(said == self.answer(q)) for q, said in pairs])


def world(seed: int, *, known: float = 0.15) -> World:
  """A policy with a wrong habit of each kind.

  Args:
    known: the chance of the right way. The habit has 0.7 and the other ways
      share the rest.
  """
  rng = np.random.default_rng(seed)
  ways = np.array([rng.permutation(len(WAYS))[:2] for _ in KINDS])
  habit = np.full((len(KINDS), len(WAYS)), (0.3 - known) / (len(WAYS) - 2))
  habit[np.arange(len(KINDS)), ways[:, 0]] = known
  habit[np.arange(len(KINDS)), ways[:, 1]] = 0.7
  return World(habit, ways[:, 0])
