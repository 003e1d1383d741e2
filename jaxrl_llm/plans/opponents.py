"""Plans whose groups are written by two policies: duels.

The first half of every group is the policy's own, the second its opponent's.
The extra `opponent` bool[N] marks the second half, whose tokens the policy did
not choose: but for `BesideReference` they are judged and not trained on.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm.plans import prefixes
from jaxrl_llm.plans.base import Contract, Plan


def halves(own, other, prompts: int):
  """Groups that are half a row set's, half another's, and who wrote what.

  Args:
    own, other: rollouts of equal shapes, with equal numbers of rows for each
      of the `prompts`, adjacent.

  Returns:
    Rollouts with the extra `opponent`.
  """

  other = other.replace(
    action_mask=jnp.zeros_like(other.action_mask),
    logp=jnp.zeros_like(other.logp),
  )
  return prefixes.together(prompts, _marked(own, False), _marked(other, True))


def _marked(rollouts, mark):
  return rollouts.with_extras(opponent=jnp.full_like(rollouts.valid, mark))


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

  def collect(self, tools, prompts, state, key):
    mine, theirs = jax.random.split(key)
    half = self.samples // 2
    own = tools.generate(prompts, mine, half)
    other = tools.opponent(prompts, theirs, half, self.share)
    rollouts = halves(own, other, prompts.tokens.shape[0])
    return *tools.verify(rollouts), state


class BesideReference(_Duel):
  """Beside responses of the reference, which are learned from as well.

  Their `logp` is that of the current policy.
  """

  @property
  def contract(self):
    return super().contract.adding(refers=True)

  def collect(self, tools, prompts, state, key):
    mine, theirs = jax.random.split(key)
    half = self.samples // 2
    own = tools.generate(prompts, mine, half)
    other = tools.opponent(prompts, theirs, half, 1.0)
    prefixes.check_support(other, 'responses of the reference')
    other = prefixes.scored_as(other, tools.score(other).logp)
    count = prompts.tokens.shape[0]
    parts = _marked(own, False), _marked(other, True)
    return *tools.verify(prefixes.together(count, *parts)), state


class VersusTeacher(_Duel):
  """Against the first policy of `teacher.paths`."""

  @property
  def contract(self):
    return super().contract.adding(asks={'teacher'})

  def collect(self, tools, prompts, state, key):
    mine, theirs = jax.random.split(key)
    half = self.samples // 2
    own = tools.generate(prompts, mine, half)
    other = tools.rival(prompts, theirs, half)
    rollouts = halves(own, other, prompts.tokens.shape[0])
    return *tools.verify(rollouts), state


class HalfStep(_Duel):
  """Against the policy that an ordinary step from here would make.

  The step is taken on a group whose halves are both the policy's own, and is
  forgotten: parameters and optimiser stay as they are.

  Source: EGPO, arXiv 2503.08942, algorithm 1.
  """

  def collect(self, tools, prompts, state, key):
    first, second, step, mine, theirs = jax.random.split(key, 5)
    half, count = self.samples // 2, prompts.tokens.shape[0]
    self_play = halves(
      tools.generate(prompts, first, half),
      tools.generate(prompts, second, half),
      count,
    )
    ahead = tools.ahead(*tools.verify(self_play), step)
    own = tools.generate(prompts, mine, half)
    other = ahead.generate(prompts, theirs, half)
    return *tools.verify(halves(own, other, count)), state


def versus(*, samples: int = 8, share: float = 1.0) -> Versus:
  """Half of every group by a mixture with the reference's opponent."""
  return Versus(samples, share)


def beside_reference(*, samples: int = 2) -> BesideReference:
  """Half of every group by the reference, and learned from."""
  return BesideReference(samples)


def versus_teacher(*, samples: int = 8) -> VersusTeacher:
  """Half of every group by the policy of `teacher.paths`."""
  return VersusTeacher(samples)


def half_step(*, samples: int = 8) -> HalfStep:
  """Half of every group by the policy after one more step."""
  return HalfStep(samples)
