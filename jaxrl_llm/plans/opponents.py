"""Plans whose groups are written by two policies: duels.

The first half of every group is the policy's own, the second its opponent's.
The extra `opponent` bool[N] marks the second half, whose tokens the policy did
not choose: but for `BesideReference` they are judged and not trained on.
"""

from __future__ import annotations

import dataclasses

import jax

from jaxrl_llm.plans import actions, arranged, settings
from jaxrl_llm.plans.base import Contract, Plan


def of_reference(tools, prompts, key, samples: int):
  """Responses of whom the recipe's reference names.

  Raises:
    ValueError: a sampler that records its candidates, of which the policy's
      log-probs would be those of another.
  """
  drawn = tools.opponent(prompts, key, samples, 1.0)
  actions.check_support(drawn, 'responses of the reference')
  return drawn


def halves(own, other, prompts: int):
  """Groups of own rows and, behind them, as many of others: see above."""
  return arranged.beside(prompts, own, other, opponent=(False, True))


@dataclasses.dataclass(frozen=True)
class Duel(Plan):
  """Half of every group by the policy, half by somebody else.

  Attributes:
    samples: rows of a group, an even number.

  Raises:
    ValueError: an odd number.
  """

  samples: int = 8

  def __post_init__(self):
    settings.even(self.samples, 2, 'halves')

  @property
  def contract(self):
    return Contract(self.samples, provides={'opponent'})

  def collect(self, tools, prompts, state, key):
    mine, theirs = jax.random.split(key)
    half = self.samples // 2
    own = tools.generate(prompts, mine, half)
    other = self.other(tools, prompts, theirs, half)
    return *tools.verify(halves(own, other, len(prompts.task))), state

  def other(self, tools, prompts, key, samples: int):
    """What somebody else says, and what the policy is to learn of it."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Versus(Duel):
  """Against a mixture of the policy with the opponent that its reference names.

      mix ~ policy^(1 - share) opponent^share, token by token

  The opponent is the reference itself, or a past iterate where the recipe's
  reference is `reference.Beside` one.

  Attributes:
    share: 1 is the opponent alone, 0 the policy itself.

  Raises:
    ValueError: a share outside [0, 1].
  """

  share: float = 1.0

  def __post_init__(self):
    super().__post_init__()
    settings.share(self.share)

  @property
  def contract(self):
    return super().contract.adding(refers=True)

  def other(self, tools, prompts, key, samples):
    drawn = tools.opponent(prompts, key, samples, self.share)
    return actions.within(drawn, False)


class BesideReference(Duel):
  """Beside responses of the reference, which are learned from as well.

  Their `logp` is that of the current policy.
  """

  @property
  def contract(self):
    return super().contract.adding(refers=True)

  def other(self, tools, prompts, key, samples):
    return actions.drawn(tools, of_reference(tools, prompts, key, samples))


class VersusTeacher(Duel):
  """Against the first policy of `teacher.paths`."""

  @property
  def contract(self):
    return super().contract.adding(asks={'teacher'})

  def other(self, tools, prompts, key, samples):
    return actions.within(tools.rival(prompts, key, samples), False)
