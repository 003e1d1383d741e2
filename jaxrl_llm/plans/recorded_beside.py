"""Recorded responses, and as many behind them that are sampled.

The extra `recorded` bool[N] tells them apart.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jaxrl_llm.plans import actions, arranged, opponents, recorded
from jaxrl_llm.plans.base import Contract


def _doubled(samples):
  # Held-out questions are rated by their recorded rows alone, half a group, so
  # a scorer must not read a whole group behind one prompt.
  return Contract(2 * samples, provides={'recorded'}, one_prompt=False)


@dataclasses.dataclass(frozen=True)
class BesideOwn(recorded.Recorded):
  """The recorded responses, and as many of the policy behind them.

  The policy's are not judged and earn 0, and have the `log_mass` of their
  sampler.

  Attributes:
    samples: recorded rows of a group, which has twice as many.

  Source: HyPO, arXiv 2406.01462, algorithm 1.
  """

  @property
  def contract(self):
    return _doubled(self.samples)

  def collect(self, tools, prompts, state, key):
    shown, scores = recorded.rows(prompts)
    own = tools.generate(prompts, key, self.samples)
    actions.check_support(own, 'recorded responses')
    mass = own.extras['log_mass']
    shown, own = (
      rows.replace(extras={'log_mass': mass})
      for rows, mass in ((shown, jnp.zeros_like(mass)), (own, mass))
    )
    nothing = jnp.zeros_like(scores.components)
    count = len(prompts.task)
    components = arranged.together(count, scores.components, nothing)
    rollouts = arranged.beside(count, shown, own, recorded=(True, False))
    return rollouts, scores.replace(components=components), state


@dataclasses.dataclass(frozen=True)
class BesideReference(recorded.Recorded):
  """The recorded responses, and as many of the reference behind them.

  All are judged by the run's verifiers, whatever the record says of them, so
  that they are measured alike.

  Attributes:
    samples: recorded rows of a group, which has twice as many.
    first: iterations in which no recorded row counts.

  Source: A-LoL, arXiv 2305.14718, whose value of a prompt is what the
    reference's own responses earn.
  """

  first: int = 0

  @property
  def contract(self):
    return _doubled(self.samples).adding(refers=True)

  def init(self, spec):
    del spec
    return jnp.int32(0)

  def collect(self, tools, prompts, state, key):
    shown, _ = recorded.rows(prompts)
    shown = shown.replace(valid=shown.valid & (state >= self.first))
    drawn = opponents.of_reference(tools, prompts, key, self.samples)
    shown, drawn = shown.replace(extras={}), drawn.replace(extras={})
    rollouts = arranged.beside(
      len(prompts.task), shown, drawn, recorded=(True, False)
    )
    return *tools.verify(actions.drawn(tools, rollouts)), state + 1
