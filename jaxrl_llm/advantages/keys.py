"""Group estimators under other keys than the prompt.

Most "new group methods" are an old estimator among other rows: turns of one
agent, questions of as many hops, one step of many trajectories.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from jaxrl_llm import credit as credit_lib
from jaxrl_llm import grouping
from jaxrl_llm.reads import reads_of

_FIELDS = ('group', 'task', 'domain')


def ids(rollouts, name):
  """i32[N]: a field of the rollouts, or an entry of their extras."""
  return getattr(rollouts, name) if name in _FIELDS else rollouts.extras[name]


def key(rollouts, names):
  """i32[N] in [0, N): equal where all of the named ids are."""
  return grouping.joint(*(ids(rollouts, name) for name in names))


@dataclasses.dataclass(frozen=True)
class EstimateBy(credit_lib.Memoryless):
  """Stage: advantages <- fn(rewards, key, valid), the same for every token.

  Attributes:
    fn: f(rewards, group, valid) -> f32[N].
    names: rows are compared when all of these are equal: 'group', 'task',
      'domain', or keys of extras i32[N].
  """

  fn: Callable
  names: tuple[str, ...]

  @property
  def reads(self) -> frozenset[str]:
    return reads_of(self.fn) | ({*self.names} - {*_FIELDS})

  def apply(self, credit, rollouts):
    advantages = self.fn(
      credit.rewards, key(rollouts, self.names), rollouts.valid
    )
    advantages = jnp.where(rollouts.loss_mask, advantages[:, None], 0)
    return credit.replace(advantages=advantages)
