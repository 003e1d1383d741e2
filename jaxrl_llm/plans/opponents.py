"""Plans whose groups are written by two policies: duels.

The first half of every group is the policy's own, the second its opponent's.
The extra `opponent` bool[N] marks the second half, whose tokens the policy did
not choose: but for `BesideReference` they are judged and not trained on.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm.plans import actions, arranged
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
  """Groups that are half a row set's, half another's, and who wrote what.

  Args:
    own, other: rollouts of equal shapes, with equal numbers of rows for each
      of the `prompts`, adjacent.

  Returns:
    Rollouts with the extra `opponent`.
  """
  own, other = (
    rows.with_extras(opponent=jnp.full_like(rows.valid, mark))
    for rows, mark in ((own, False), (other, True))
  )
  return arranged.together(prompts, own, other)


@dataclasses.dataclass(frozen=True)
class _Duel(Plan):
  """Half of every group by the policy, half by somebody else.

  Attributes:
    samples: rows of a group, an even number.

  Raises:
    ValueError: an odd number.
  """

  samples: int = 8

  def __post_init__(self):
    if self.samples % 2:
      raise ValueError(
        f'{self.samples} samples have no halves; use an even number'
      )

  @property
  def contract(self):
    return Contract(self.samples, provides={'opponent'})

  def collect(self, tools, prompts, state, key):
    mine, theirs = jax.random.split(key)
    half = self.samples // 2
    own = tools.generate(prompts, mine, half)
    other = self.other(tools, prompts, theirs, half)
    rollouts = halves(own, other, prompts.tokens.shape[0])
    return *tools.verify(rollouts), state

  def other(self, tools, prompts, key, samples: int):
    """What somebody else says, and what the policy is to learn of it."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Versus(_Duel):
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
    if not 0 <= self.share <= 1:
      raise ValueError(f'a share of {self.share} is not in [0, 1]')

  @property
  def contract(self):
    return super().contract.adding(refers=True)

  def other(self, tools, prompts, key, samples):
    drawn = tools.opponent(prompts, key, samples, self.share)
    return actions.within(drawn, False)


class BesideReference(_Duel):
  """Beside responses of the reference, which are learned from as well.

  Their `logp` is that of the current policy.
  """

  @property
  def contract(self):
    return super().contract.adding(refers=True)

  def other(self, tools, prompts, key, samples):
    return actions.drawn(tools, of_reference(tools, prompts, key, samples))


class VersusTeacher(_Duel):
  """Against the first policy of `teacher.paths`."""

  @property
  def contract(self):
    return super().contract.adding(asks={'teacher'})

  def other(self, tools, prompts, key, samples):
    return actions.within(tools.rival(prompts, key, samples), False)


class HalfStep(_Duel):
  """Against the policy that an ordinary step from here would make.

  The step is taken on a group whose halves are both the policy's own, and is
  forgotten: parameters and optimiser stay as they are.

  Source: EGPO, arXiv 2503.08942, algorithm 1.
  """

  def collect(self, tools, prompts, state, key):
    first, second, step, mine, theirs = jax.random.split(key, 5)

    def between(speaker, own, other):
      half, count = self.samples // 2, prompts.tokens.shape[0]
      own = tools.generate(prompts, own, half)
      other = speaker.generate(prompts, other, half)
      return tools.verify(halves(own, actions.within(other, False), count))

    ahead = tools.ahead(*between(tools, first, second), step)
    return *between(ahead, mine, theirs), state
