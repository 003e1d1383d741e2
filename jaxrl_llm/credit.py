"""Credit stages: from verified scores to per-token advantages and weights.

    Transform:  init(spec) -> state
                update(credit, rollouts, state) -> (credit, state)

A stage is a frozen dataclass, so a recipe prints, diffs and compares. Most
stages are a pure array function lifted by one of the names below; another
that has no memory is `Memoryless`, and one with memory writes its own `init`
and `update`.

    shape            f(rewards [N], rollouts) -> [N]
    weigh            f(rewards [N], group [N], valid [N]) -> [N] >= 0
    weigh_tokens     f(advantages [N, T], rollouts) -> [N, T] >= 0
    estimate         f(rewards [N], group [N], valid [N]) -> [N]
    estimate_tokens  f(rewards [N], rollouts) -> [N, T]
    refine           f(advantages [N, T], rollouts) -> [N, T]

A function or a class that reads more, such as an entry of `rollouts.extras`
which must first be computed, is marked with `reads`: the loop runs exactly the
passes that the stages, the objective and the costs of a recipe read.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Protocol

import chex
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.reads import of_shape, reads_of, united
from jaxrl_llm.types import Credit, Rollouts, Spec


class Transform(Protocol):
  """A stage of credit assignment."""

  def init(self, spec: Spec):
    """What the stage remembers before the first iteration."""

  def update(self, credit: Credit, rollouts: Rollouts, state):
    """The credit that the stage makes of another, and what it remembers."""


def earned(rewards, rollouts: Rollouts):
  """What each decision earned; it adds up to the reward of its row.

      q_t = paid_t + [t is last] (r - sum_u paid_u)

  So a row that was judged as a whole earns all of it with its last decision,
  and of one that was paid on the way only what shaping added is put there.

  Args:
    rewards: f32[N]. rollouts: reads `paid` on the loss mask.

  Returns:
    f32[N, T], 0 off the loss mask.
  """
  mask = rollouts.loss_mask
  paid = jnp.where(mask, rollouts.paid, 0.0)
  rest = rewards - jnp.sum(paid, axis=1)
  return paid + numerics.at_last(rest, mask)


class Memoryless:
  """A stage that keeps nothing between iterations and writes `apply` alone."""

  def init(self, spec):
    del spec
    return ()

  def update(self, credit, rollouts, state):
    return self.apply(credit, rollouts), state

  def apply(self, credit: Credit, rollouts: Rollouts) -> Credit:
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Stage(Memoryless):
  """A pure function at one joint of credit assignment.

  Attributes:
    fn: the function, with its hyper-parameters bound by `partial`.
  """

  fn: Callable

  @property
  def reads(self) -> frozenset[str]:
    return reads_of(self.fn)


class Shape(Stage):
  """rewards <- f(rewards, rollouts)."""

  def apply(self, credit, rollouts):
    rewards = self.fn(credit.rewards, rollouts)
    of_shape(self.fn, rewards, credit.rewards.shape)
    return credit.replace(rewards=jnp.where(rollouts.valid, rewards, 0))


class Weigh(Stage):
  """keep <- keep * f(rewards, group, valid)."""

  def apply(self, credit, rollouts):
    weight = self.fn(credit.rewards, rollouts.group, rollouts.valid)
    of_shape(self.fn, weight, credit.keep.shape)
    return credit.replace(keep=credit.keep * weight)


class WeighTokens(Stage):
  """token_keep <- token_keep * f(advantages, rollouts)."""

  def apply(self, credit, rollouts):
    weight = self.fn(credit.advantages, rollouts)
    of_shape(self.fn, weight, credit.token_keep.shape)
    return credit.replace(token_keep=credit.token_keep * weight)


@dataclasses.dataclass(frozen=True)
class KeepTokens(Memoryless):
  """token_keep <- token_keep * gate(old_logp, old_logp, advantages, mask).

  What a gate takes out of the surrogate alone is so taken out of every count,
  cost and bonus, too: as if it had not been sampled. Rewards have been compared
  before.

  Attributes:
    gate: of `objectives.regions`, of the sampler and the old policy.
  """

  gate: Callable

  @property
  def reads(self) -> frozenset[str]:
    return reads_of(self.gate) | {'old_logp'}

  def apply(self, credit, rollouts):
    old, mask = rollouts.extras['old_logp'], rollouts.loss_mask
    weight = self.gate(
      old, old, credit.advantages, mask, sampler_logp=rollouts.logp
    )
    of_shape(self.gate, weight, credit.token_keep.shape)
    return credit.replace(token_keep=credit.token_keep * weight)


class Estimate(Stage):
  """advantages <- f(rewards, group, valid), the same for every token."""

  def apply(self, credit, rollouts):
    advantages = self.fn(credit.rewards, rollouts.group, rollouts.valid)
    of_shape(self.fn, advantages, credit.rewards.shape)
    return credit.replace(
      advantages=jnp.where(rollouts.loss_mask, advantages[:, None], 0)
    )


@dataclasses.dataclass(frozen=True)
class EstimateByEpisode(Memoryless):
  """advantages <- f(rewards, group, valid) of episodes of several rows.

  Each episode is compared as one row, its first that is valid, and all of its
  rows get what that one does.

  Attributes:
    fn: f(rewards, group, valid) -> f32[N].
  """

  fn: Callable

  @property
  def reads(self) -> frozenset[str]:
    return reads_of(self.fn) | {'episode'}

  def apply(self, credit, rollouts):
    valid, episode = rollouts.valid, rollouts.extras['episode']
    count = valid.shape[0]
    row = jnp.arange(count)
    place = jnp.where(valid, row, count)
    first = jnp.full(count, count).at[episode].min(place)[episode]
    found = self.fn(credit.rewards, rollouts.group, valid & (first == row))
    of_shape(self.fn, found, credit.rewards.shape)
    found = found[jnp.minimum(first, count - 1)]
    advantages = jnp.where(rollouts.loss_mask, found[:, None], 0)
    return credit.replace(advantages=advantages)


@dataclasses.dataclass(frozen=True)
class WeighByEpisode(Memoryless):
  """keep_i <- keep_i len_i / sum_j len_j over the rows j of its episode.

  So means over rows, each of its tokens, are means over episodes.
  """

  @property
  def reads(self) -> frozenset[str]:
    return frozenset({'episode'})

  def apply(self, credit, rollouts):
    length = jnp.sum(rollouts.loss_mask * 1.0, axis=1)
    episode = rollouts.extras['episode']
    total = jnp.zeros_like(length).at[episode].add(length)[episode]
    share = numerics.safe_divide(length, total)
    return credit.replace(keep=credit.keep * share)


@dataclasses.dataclass(frozen=True)
class WeighByCopies(Memoryless):
  """keep_i <- keep_i (1 + aligned (c_i - 1)), c_i how often a row counts.

  Attributes:
    aligned: 0 leaves all as they are.
  """

  aligned: float = 1.0

  @property
  def reads(self) -> frozenset[str]:
    return frozenset({'copies'})

  def apply(self, credit, rollouts):
    copies = rollouts.extras['copies'] * 1.0
    return credit.replace(keep=credit.keep * (1 + self.aligned * (copies - 1)))


@dataclasses.dataclass(frozen=True)
class Sparing(Memoryless):
  """Another stage, which does not see the rows that an extra marks.

  They have no advantages and no targets, and influence nothing.

  Attributes:
    mark: the extra, bool[N]. stage: the other one.
  """

  mark: str
  stage: Transform

  @property
  def reads(self) -> frozenset[str]:
    return reads_of(self.stage) | {self.mark}

  def init(self, spec):
    return self.stage.init(spec)

  def update(self, credit, rollouts, state):
    seen = rollouts.valid & ~rollouts.extras[self.mark]
    return self.stage.update(credit, rollouts.replace(valid=seen), state)


class EstimateTokens(Stage):
  """advantages <- f(rewards, rollouts), token by token."""

  def apply(self, credit, rollouts):
    advantages = self.fn(credit.rewards, rollouts)
    of_shape(self.fn, advantages, credit.advantages.shape)
    return credit.replace(
      advantages=jnp.where(rollouts.loss_mask, advantages, 0)
    )


class Refine(Stage):
  """advantages <- f(advantages, rollouts)."""

  def apply(self, credit, rollouts):
    advantages = self.fn(credit.advantages, rollouts)
    of_shape(self.fn, advantages, credit.advantages.shape)
    return credit.replace(
      advantages=jnp.where(rollouts.loss_mask, advantages, 0)
    )


def _lift(stage):
  def lift(fn, **hyper):
    return stage(functools.partial(fn, **hyper) if hyper else fn)

  lift.__doc__ = stage.__doc__
  return lift


shape = _lift(Shape)
weigh = _lift(Weigh)
weigh_tokens = _lift(WeighTokens)
estimate = _lift(Estimate)
estimate_tokens = _lift(EstimateTokens)
refine = _lift(Refine)


@dataclasses.dataclass(frozen=True)
class Chain:
  """Stages one after another; the state is the tuple of theirs."""

  stages: tuple[Transform, ...]

  @property
  def reads(self) -> frozenset[str]:
    return united(self.stages)

  def init(self, spec):
    return tuple(stage.init(spec) for stage in self.stages)

  def update(self, credit, rollouts, state):
    chex.assert_equal(len(state), len(self.stages))
    states = []
    for stage, old in zip(self.stages, state):
      credit, new = stage.update(credit, rollouts, old)
      states.append(new)
    return credit, tuple(states)


def chain(*stages: Transform) -> Chain:
  """Stages one after another.

  Example:
    >>> from jaxrl_llm.advantages import group
    >>> from jaxrl_llm.selection import filters
    >>> both = chain(weigh(filters.mixed_groups), estimate(group.norm))
    >>> [type(stage).__name__ for stage in both.stages]
    ['Weigh', 'Estimate']
  """
  return Chain(tuple(stages))


def stages_of(credit: Transform) -> tuple[Transform, ...]:
  """The stages of a chain, or the only one that there is."""
  return credit.stages if isinstance(credit, Chain) else (credit,)
