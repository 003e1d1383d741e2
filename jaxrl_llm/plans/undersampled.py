"""A plan whose sampler makes up for what its earlier responses hold too often.

Responses drawn from a policy follow it only on average: an answer that should
be every fourth may not be there at all. Data that were drawn to follow it
better make a gradient that varies less.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxrl_llm.plans import actions, arranged, settings
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.types import Rollouts


@dataclasses.dataclass(frozen=True)
class Undersampled(Plan):
  """Responses in rounds, each by a sampler that knows the rounds before.

  The first round is the policy's. Before each further one the sampler is made
  of the policy anew and moved by `sampler` on all rows so far. Every row has
  the log-probs of the policy, which learns from it as if it were its own.

  Attributes:
    sampler: the recipe that moves the sampler. samples: rows of a group.
    rounds: of an iteration, which share them; 1 is plain sampling.

  Raises:
    ValueError: rounds that do not divide the rows.

  Source: PROPS, arXiv 2311.08290, algorithms 1 and 2.
  """

  sampler: Any
  samples: int = 8
  rounds: int = 2

  def __post_init__(self):
    settings.even(self.samples, self.rounds, 'rounds')

  @property
  def contract(self):
    return Contract(self.samples, sampler=self.sampler)

  def collect(self, tools, prompts, state, key):
    each, speaker = self.samples // self.rounds, tools
    parts: list[Rollouts] = []
    for number in range(self.rounds):
      move, draw = jax.random.split(jax.random.fold_in(key, number))
      if number:
        speaker = tools.moved(self._rows(tools, parts), move)
      parts.append(speaker.generate(prompts, draw, each))
    return *tools.verify(self._rows(tools, parts)), state

  def _rows(self, tools, parts):
    """Whole groups, of which the rounds to come are rows that do not count."""
    nobody = jnp.zeros_like(parts[0].valid)
    missing = [parts[0].replace(valid=nobody)] * (self.rounds - len(parts))
    prompts = parts[0].valid.shape[0] * self.rounds // self.samples
    rollouts = arranged.together(prompts, *parts, *missing)
    return actions.drawn(tools, rollouts)
