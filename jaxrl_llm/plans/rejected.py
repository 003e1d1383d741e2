"""Responses of a better policy than the reference, by rejection sampling."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.plans import actions, opponents
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.selection import rejection


@dataclasses.dataclass(frozen=True)
class Rejected(Plan):
  """Of many responses of the reference, some in favour of high rewards.

  What is kept of endless candidates follows reference e^(reward / temperature),
  the policy that rewards and a KL to the reference make best. Its `logp` is
  that of the current policy.

  Attributes:
    samples: rows of a group. candidates: of which they are taken.
    temperature: beta, reward units; -> 0 keeps the best.

  Raises:
    ValueError: fewer candidates than rows.

  Source: RSO, arXiv 2309.06657, section 3.
  """

  samples: int = 8
  candidates: int = 64
  temperature: float = 0.5

  def __post_init__(self):
    if self.candidates < self.samples:
      raise ValueError(
        f'{self.candidates} candidates leave no choice of {self.samples} '
        f'responses; use at least {self.samples}'
      )

  @property
  def contract(self):
    return Contract(self.samples, refers=True)

  def collect(self, tools, prompts, state, key):
    draw, choose = jax.random.split(key)
    drawn = opponents.of_reference(tools, prompts, draw, self.candidates)
    drawn, scores = tools.verify(drawn)
    rewards = scores.total
    # A row whose verifier failed is kept only where nothing else is left.
    rewards = jnp.where(drawn.valid, rewards, -1e9)
    taken = rejection.accepted(
      choose,
      rewards.reshape(-1, self.candidates),
      count=self.samples,
      temperature=self.temperature,
    )
    rows = jnp.flatnonzero(taken, size=len(taken) * self.samples)
    kept, components = jax.tree.map(
      lambda x: x[rows], (drawn, scores.components)
    )
    mean = numerics.masked_mean(rewards, drawn.valid)
    tools.note('plan/candidates', float(mean))
    kept = actions.drawn(tools, kept)
    return kept, scores.replace(components=components), state
