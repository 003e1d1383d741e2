"""Earlier cases that prompts show: a bank of them, and which are retrieved.

    case ~ retrieval(. | question, bank)
    answer ~ policy(. | question, case)
    bank' = bank with (question, answer, reward)

The policy is frozen; what is learned is the bank and what is a good case for
which question. An answer ends its episode, so the target of a value Q(s, c) is
the reward r, as where the paper plans.

    encode  f(N texts) -> f64[N, D], rows of length 1; a frozen encoder
    prompt  f(cases, question) -> text

The method is that of Memento (AgentFly), arXiv 2508.16153; single steps are its
section 4.2.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxrl_llm.learners.texts import Policy, rng_of


class Case(NamedTuple):
  """What was asked and said, and what it earned."""

  question: str
  answer: str
  reward: float


class Bank(NamedTuple):
  """What a learner has seen.

  Attributes:
    cases: in the order of their time.
    tries: (question, number of the case it was shown, reward), likewise.
    shown: numbers of the cases that each row of the last `act` was shown.
    weights: of the value, () where none is learned.
  """

  cases: tuple[Case, ...] = ()
  tries: tuple[tuple[str, int, float], ...] = ()
  shown: tuple[tuple[int, ...], ...] = ()
  weights: tuple[float, ...] = ()


def bigrams(texts: Sequence[str], *, size: int = 256) -> np.ndarray:
  """f64[N, size]: how often pairs of letters stand in each text, hashed.

  Rows have length 1, so that the product of two is the cosine of their counts.
  """
  found = np.zeros((len(texts), size))
  for row, text in zip(found, texts, strict=True):
    pairs = collections.Counter(zip(' ' + text, text + ' '))
    for pair, count in pairs.items():
      row[zlib.crc32(''.join(pair).encode()) % size] += count
  return found / np.linalg.norm(found, axis=1, keepdims=True)


def marked(cases: Sequence[Case], question: str) -> str:
  """A case a line, with the word right or wrong, then the question."""
  told = [f'{c.question}{c.answer} {_verdict(c)}' for c in cases]
  return '\n'.join([*told, question])


def _verdict(case: Case) -> str:
  return 'right' if case.reward > 0 else 'wrong'


@dataclasses.dataclass(frozen=True)
class _Reminded:
  """What shows cases; how they are chosen is its own.

  Attributes:
    policy: see `texts`. encode, prompt: see the module.
  """

  policy: Policy
  _: dataclasses.KW_ONLY
  encode: Callable[[Sequence[str]], np.ndarray] = bigrams
  prompt: Callable[[Sequence[Case], str], str] = marked

  def init(self) -> Bank:
    return Bank()

  def retrieved(self, bank: Bank, questions, key) -> list[list[int]]:
    """Numbers of cases for each question, the best first; the bank has some."""
    raise NotImplementedError

  def learned(self, bank: Bank) -> tuple[float, ...]:
    """The weights after the last tries."""
    return bank.weights

  def act(self, state: Bank, questions, key):
    draw, said = jax.random.split(key)
    shown: list[list[int]] = [[] for _ in questions]
    if state.cases:
      shown = self.retrieved(state, questions, draw)
    prompts = [
      self.prompt([state.cases[i] for i in each], question)
      for each, question in zip(shown, questions, strict=True)
    ]
    answers = self.policy(prompts, said)
    return answers, state._replace(shown=tuple(map(tuple, shown)))

  def update(self, state: Bank, questions, answers, rewards):
    rows = list(zip(questions, answers, map(float, rewards), strict=True))
    tries = [
      (question, case, reward)
      for (question, _, reward), shown in zip(rows, state.shown, strict=True)
      for case in shown
    ]
    bank = state._replace(
      cases=(*state.cases, *(Case(*row) for row in rows)),
      tries=(*state.tries, *tries),
      shown=(),
    )
    return bank._replace(weights=self.learned(bank))

  def similarity(self, questions, others) -> np.ndarray:
    """f64[N, M]: cosines."""
    return self.encode(questions) @ self.encode(others).T


@dataclasses.dataclass(frozen=True)
class NearestCases(_Reminded):
  """The cases whose questions are most alike, good and bad.

      top-K of cos(enc(s), enc(s_i))

  Attributes:
    top: K.

  Source: AgentFly (Memento), arXiv 2508.16153, equation 13, its
    non-parametric memory.
  """

  top: int = 4

  def retrieved(self, bank, questions, key):
    del key
    known = [case.question for case in bank.cases]
    return _first(self.similarity(questions, known), self.top)


@dataclasses.dataclass(frozen=True)
class LikelyCases(_Reminded):
  """The cases that most likely lead to a right answer.

      top-K of Q(s, c) = sigmoid(w . x(s, c))
      loss = -mean r log Q + (1 - r) log(1 - Q)      over all tries so far

  x is 1, the cosine of the questions, the case's reward, and the product of
  these two. The weights begin with the cosine alone, which is `NearestCases`,
  and take `passes` steps of gradient descent after each round.

  Attributes:
    top: K. rate: of a step. passes: steps.

  Source: AgentFly (Memento), arXiv 2508.16153, equations 15 to 17, its
    parametric memory, whose Q is a network of the two embeddings.
  """

  top: int = 4
  rate: float = 1.0
  passes: int = 20

  def init(self):
    return Bank(weights=(0.0, 1.0, 0.0, 0.0))

  def features(self, bank: Bank, questions) -> np.ndarray:
    """f64[N, C, 4]: x of each question with each case."""
    near = self.similarity(questions, [case.question for case in bank.cases])
    paid = np.broadcast_to([case.reward for case in bank.cases], near.shape)
    return np.stack([np.ones_like(near), near, paid, near * paid], axis=-1)

  def retrieved(self, bank, questions, key):
    del key
    return _first(self.features(bank, questions) @ bank.weights, self.top)

  def learned(self, bank):
    if not bank.tries:
      return bank.weights
    asked, case, reward = zip(*bank.tries, strict=True)
    numbers = {question: i for i, question in enumerate(dict.fromkeys(asked))}
    every = self.features(bank, list(numbers))
    x = every[[numbers[question] for question in asked], case]
    weights = np.array(bank.weights)
    for _ in range(self.passes):
      likely = 1 / (1 + np.exp(-x @ weights))
      weights -= self.rate * (likely - reward) @ x / len(x)
    return tuple(weights.tolist())


@dataclasses.dataclass(frozen=True)
class SoftCases(_Reminded):
  """A case drawn by its soft value, which similar questions tell.

      P(c | s) ~ exp(Q(s, c) / temperature)
      Q(s, c) = sum_i k(s, s_i) r_i / sum_i k(s, s_i)      i: tries of c
      k(s, s_i) = exp(-e^w (1 - cos(enc(s), enc(s_i))))

  The one weight w, how narrow the kernel is, takes a step of gradient descent
  on the mean of (Q(s_i, c_i) - r_i)^2 after each round, each try valued by the
  others of its case.

  Attributes:
    temperature: alpha, the weight of the entropy. prior: Q of a case that was
      never tried. rate: of a step. replay: tries that it is on, the last ones.

  Source: AgentFly (Memento), arXiv 2508.16153, equations 7, 9 and 11,
    algorithm 1, whose kernel is a network. prior and the leaving out are ours.
  """

  temperature: float = 0.1
  prior: float = 0.0
  rate: float = 1.0
  replay: int = 256

  def init(self):
    return Bank(weights=(math.log(10.0),))

  def kernel(self, bank: Bank, questions, others) -> np.ndarray:
    """f64[N, M]: k."""
    apart = 1 - self.similarity(questions, others)
    return np.exp(-math.exp(bank.weights[0]) * apart)

  def values(self, bank: Bank, questions) -> np.ndarray:
    """f64[N, C]: Q of every case."""
    shape = len(questions), len(bank.cases)
    if not bank.tries:
      return np.full(shape, self.prior)
    asked, case, reward = zip(*bank.tries, strict=True)
    weight = self.kernel(bank, questions, list(asked))
    of = np.eye(len(bank.cases))[list(case)]
    mass = weight @ of
    return np.where(
      mass > 0, weight * reward @ of / np.where(mass > 0, mass, 1), self.prior
    )

  def retrieved(self, bank, questions, key):
    soft = self.values(bank, questions) / self.temperature
    # The largest of values with Gumbel noise is a draw from their softmax.
    noise = rng_of(key).gumbel(size=soft.shape)
    return _first(soft + noise, 1)

  def slope(self, bank: Bank) -> float:
    """Of the mean square error, in w."""
    asked, case, reward = (
      list(part[-self.replay :]) for part in zip(*bank.tries, strict=True)
    )
    weight = self.kernel(bank, asked, asked)
    alike = np.equal.outer(case, case) & ~np.eye(len(case), dtype=bool)
    weight = np.where(alike, weight, 0)
    mass = weight.sum(axis=1)
    share = weight / np.where(mass > 0, mass, 1)[:, None]
    value = share @ reward
    steep = -math.exp(bank.weights[0]) * (1 - self.similarity(asked, asked))
    moved = (share * (np.array(reward) - value[:, None]) * steep).sum(axis=1)
    known = mass > 0
    return float(2 * np.mean(np.where(known, (value - reward) * moved, 0)))

  def learned(self, bank):
    if not bank.tries:
      return bank.weights
    return (bank.weights[0] - self.rate * self.slope(bank),)


def _first(values: np.ndarray, top: int) -> list[list[int]]:
  """Places of the largest values of each row, the first of equal ones."""
  return np.argsort(-values, axis=1, kind='stable')[:, :top].tolist()
