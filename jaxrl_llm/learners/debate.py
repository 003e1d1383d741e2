"""A debate: one side answers, the other disagrees, a judge decides.

judge  f(question, rounds, last) -> the answer, or '' to let them go on;
       where `last`, nobody goes on and it has to say one
reply  f(question, own, others) -> prompt of a side, which has said `own` and
       heard `others`, both in the order of the rounds
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from jaxrl_llm.learners.texts import Policy


class Round(NamedTuple):
  """What both sides said."""

  affirmative: str
  negative: str


Judge = Callable[[str, Sequence[Round], bool], str]


def agreed(question: str, rounds: Sequence[Round], last: bool) -> str:
  """What both sides say at once; in the end what was said most, or earlier.

  Example:
    >>> debate = [Round('4', '5'), Round('4', '6')]
    >>> agreed('2+2=', debate, False), agreed('2+2=', debate, True)
    ('', '4')
  """
  del question
  affirmative, negative = rounds[-1]
  if affirmative == negative:
    return affirmative
  said = collections.Counter(answer for each in rounds for answer in each)
  return said.most_common(1)[0][0] if last else ''


def opposed(question: str, own: Sequence[str], others: Sequence[str]) -> str:
  """What the other side said, each called wrong, and the question once more."""
  del own
  return '\n'.join([*(f'{question}{said} wrong' for said in others), question])


@dataclasses.dataclass(frozen=True)
class Debate:
  """Two sides of a frozen policy, each told what the other said.

      a_1 ~ policy(. | question)
      n_t ~ policy(. | reply(question, a_1 ... a_t))            negative
      a_t ~ policy(. | reply(question, n_1 ... n_{t-1}))        affirmative

  After each round the judge may decide (discriminative), and the debate breaks
  off; after the last it extracts an answer from what was said (extractive).
  Nothing is learned: the state is the rounds of the last debates.

  Attributes:
    policy: see `texts`. judge, reply: see the module. By default the sides are
      in tit for tat, and the judge knows no more than they.
    rounds: at most.

  Source: Encouraging Divergent Thinking in Large Language Models through
    Multi-Agent Debate, arXiv 2305.19118, and its published code, of 3 rounds,
    where the judge is a model that reads the debate and extracts from the
    first round.
  """

  policy: Policy
  judge: Judge = agreed
  reply: Callable[[str, Sequence[str], Sequence[str]], str] = opposed
  rounds: int = 3

  def __post_init__(self):
    if self.rounds < 1:
      raise ValueError(f'a debate of {self.rounds} rounds; use 1 or more')

  def init(self) -> tuple[tuple[Round, ...], ...]:
    return ()

  def act(self, state, questions, key):
    del state
    said: list[list[Round]] = [[] for _ in questions]
    found = [''] * len(questions)
    for number in range(self.rounds):
      going = [i for i, answer in enumerate(found) if not answer]
      if not going:
        break
      keys = jax.random.split(jax.random.fold_in(key, number))
      heard = [(said[i], questions[i]) for i in going]
      affirmative = self.policy(
        [
          self.reply(q, [a for a, _ in rounds], [n for _, n in rounds])
          for rounds, q in heard
        ],
        keys[0],
      )
      negative = self.policy(
        [
          self.reply(q, [n for _, n in rounds], [*(a for a, _ in rounds), now])
          for (rounds, q), now in zip(heard, affirmative, strict=True)
        ],
        keys[1],
      )
      last = number == self.rounds - 1
      for i, *sides in zip(going, affirmative, negative, strict=True):
        said[i].append(Round(*sides))
        found[i] = self.judge(questions[i], said[i], False)
        if last and not found[i]:
          found[i] = self.judge(questions[i], said[i], True)
    return found, tuple(map(tuple, said))

  def update(self, state, questions, answers, rewards):
    del questions, answers, rewards
    return state
