"""Groups that demonstrations are rows of."""

from __future__ import annotations

import dataclasses

import jax

from jaxrl_llm.plans import (
  actions,
  arranged,
  demonstrations,
  opponents,
  settings,
)
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class WithDemonstration(Plan):
  """Groups of own responses and, as their last row, the demonstration.

  The extra `offline` bool[N] marks the demonstrations. They are verified like
  any response.

  Attributes:
    samples: rows of a group, the demonstration included; at least 2.
    optional: some questions may have none; their groups have own responses
      alone.

  Raises:
    ValueError: no own response, or a sampler that records its candidates,
      among which a demonstration need not be.
  """

  samples: int = 9
  optional: bool = False

  def __post_init__(self):
    if self.samples < 2:
      raise ValueError(
        f'samples = {self.samples} leave no own response beside the '
        'demonstration; use at least 2'
      )

  @property
  def contract(self):
    check = demonstrations.required
    if self.optional:
      check = demonstrations.required_of_some
    return Contract(self.samples, provides={'offline'}, checks=(check,))

  def collect(self, tools, prompts, state, key):
    own = self.others(tools, prompts, key)
    actions.check_support(own, 'demonstrations')
    shown = demonstrations.demonstrated(tools, prompts)
    rollouts = arranged.beside(
      len(prompts.task), own, shown, offline=(False, True)
    )
    return *tools.verify(rollouts), state

  def others(self, tools, prompts, key):
    """The rows before the demonstration, here the policy's own."""
    return tools.generate(prompts, key, self.samples - 1)


class BesideReference(WithDemonstration):
  """Demonstrations behind responses of whom the recipe's reference names.

  Their `logp` is that of the current policy.
  """

  @property
  def contract(self):
    return super().contract.adding(refers=True)

  def others(self, tools, prompts, key):
    drawn = opponents.of_reference(tools, prompts, key, self.samples - 1)
    return actions.drawn(tools, drawn)


@dataclasses.dataclass(frozen=True)
class OrDemonstrations(Plan):
  """Own responses, or in other iterations demonstrations.

  Attributes:
    samples: rows of a group; of a demonstration they are equal.
    share: the probability that an iteration has the policy's own responses; 1
      asks for no demonstrations.

  Raises:
    ValueError: a share outside [0, 1].

  Source: GKD, arXiv 2306.13649, algorithm 1, whose lambda is the share.
  """

  samples: int = 1
  share: float = 0.5

  def __post_init__(self):
    settings.share(self.share)

  @property
  def contract(self):
    checks = (demonstrations.required,) if self.share < 1 else ()
    return Contract(self.samples, checks=checks)

  def collect(self, tools, prompts, state, key):
    which, draw = jax.random.split(key)
    if float(jax.random.uniform(which)) < self.share:
      rollouts = tools.generate(prompts, draw, self.samples)
    else:
      shown = demonstrations.demonstrated(tools, prompts)
      rollouts = arranged.repeated(shown, self.samples)
    return *tools.verify(rollouts), state
