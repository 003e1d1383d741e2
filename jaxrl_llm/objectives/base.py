"""Objectives: from differentiable statistics to one loss.

    loss(stats, batch, coefs) -> (f32[], metrics)
    needs: extra passes the loop must compute     block: int | 'batch'

`block` is how many adjacent rows a loss couples: 1 where tokens are
independent, 2 for adjacent pairs, G for groups, 'batch' for everything. A
microbatch must not cut a block. Metrics are sums that add over microbatches,
except names that end in `_max`, which are reduced by the maximum.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Protocol

import jax
import jax.numpy as jnp

from jaxrl_llm import control, credit
from jaxrl_llm.types import Array, Batch, Stats

_NO_COSTS: Mapping[str, Cost] = types.MappingProxyType({})


class Objective(Protocol):
  """What a step of the optimiser minimises."""

  block: int | str

  @property
  def needs(self) -> frozenset[str]: ...

  @property
  def controllers(self) -> Mapping[str, control.Controller]: ...

  def loss(self, stats: Stats, batch: Batch, coefs: Mapping[str, Array]): ...


@dataclasses.dataclass(frozen=True)
class Cost:
  """A per-token cost and the coefficient it is multiplied by.

  Attributes:
    fn: f(stats, batch) -> f32[N, T].
    coefficient: a number, or a `control.Controller`.
  """

  fn: Callable
  coefficient: float | control.Controller = 1.0


@dataclasses.dataclass(frozen=True)
class PolicyGradient:
  """sum_it w_it (surrogate_it + sum_c coef_c cost_c,it).

  Attributes:
    surrogate: f(logp, old_logp, advantages, mask) -> f32[N, T].
    costs: by the name under which coefficient and value are logged.
  """

  surrogate: Callable
  costs: Mapping[str, Cost] = dataclasses.field(
    default_factory=lambda: _NO_COSTS
  )
  block = 1

  @property
  def needs(self) -> frozenset[str]:
    parts = [self.surrogate, *(cost.fn for cost in self.costs.values())]
    return frozenset().union(*map(credit.needs_of, parts))

  @property
  def controllers(self) -> Mapping[str, control.Controller]:
    return {
      name: control.controller(cost.coefficient)
      for name, cost in self.costs.items()
    }

  def loss(self, stats, batch, coefs):
    policy_loss, slope = self._surrogate(stats.logp, batch)
    loss, metrics = policy_loss, {'loss/policy': policy_loss}
    for name, cost in self.costs.items():
      value = jnp.sum(batch.weights * cost.fn(stats, batch))
      loss = loss + coefs[name] * value
      metrics[f'loss/{name}'] = value
    return loss, metrics | self._diagnose(slope, batch)

  def _surrogate(self, logp, batch):
    """The policy loss and its slope in each log-prob, from one evaluation."""

    def total(logp):
      losses = self.surrogate(
        logp,
        batch.old_logp,
        batch.credit.advantages,
        batch.rollouts.loss_mask,
      )
      return jnp.sum(batch.weights * losses)

    return jax.value_and_grad(total)(logp)

  def _diagnose(self, slope, batch):
    """Shares of tokens whose advantage the trust region silenced."""
    slope = jax.lax.stop_gradient(slope)
    pushed = (batch.credit.advantages != 0) & (batch.weights > 0)
    silenced = pushed & (slope == 0)
    return {
      'policy/clip_fraction': jnp.sum(batch.share * silenced),
      'policy/push_up': jnp.sum(jnp.maximum(-slope, 0)),
      'policy/push_down': jnp.sum(jnp.maximum(slope, 0)),
    }


def policy_gradient(surrogate, **costs: Cost | None) -> PolicyGradient:
  """A surrogate with named costs; a cost that is off is left out whole.

  A cost of constant coefficient 0 is dropped, so that no forward pass is
  spent on it.
  """
  live = {n: c for n, c in costs.items() if c.coefficient != 0.0}
  return PolicyGradient(surrogate, types.MappingProxyType(live))
