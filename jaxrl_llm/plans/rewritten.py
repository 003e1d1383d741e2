"""Episodes whose history the chat template writes anew: see `rewriting`."""

from __future__ import annotations

import dataclasses

from jaxrl_llm.plans import by_turn, ending, noted, rewriting
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Rewritten(Plan):
  """Episodes in an environment, of one row each or several.

  Rows that an episode does not need are not valid, nor are those of episodes
  that failed or needed more. The extras are those of `noted`, and, where every
  turn is a row, those of `by_turn.Steps`.

  Attributes:
    samples: episodes of a prompt. turns: the most of an episode, each of which
      may draw its share of the token budget.
    rows: the most of an episode, as many as turns where they are apart.
    apart: every turn is a row, also one that goes on from another.
  """

  samples: int = 8
  turns: int = 4
  rows: int = 1
  apart: bool = False

  @property
  def contract(self):
    return Contract(
      self.samples * self.rows,
      asks={'environment'},
      provides=noted.provided(self.apart),
      may_lag=True,
      one_prompt=False,
      turns=self.turns,
    )

  def collect(self, tools, prompts, state, key):
    rollouts, log = rewriting.play(
      tools,
      prompts,
      key,
      samples=self.samples,
      turns=self.turns,
      rows=self.rows,
      apart=self.apart,
    )
    ending.stops(tools, log)
    if self.apart:
      named = by_turn.named(log, self.samples)
      rollouts = rollouts.with_extras(**named)
    return *ending.judged(tools, rollouts, log, rows=self.rows), state
