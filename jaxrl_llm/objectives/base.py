"""Objectives: from differentiable statistics to one loss.

    loss(stats, batch, coefs) -> (f32[], metrics)
    reads: what it must be given     block: int | 'batch'

`block` is how many adjacent rows a loss couples: 1 where tokens are
independent, 2 for adjacent pairs, G for groups, 'batch' for everything. A
microbatch must not cut a block. Metrics are sums that add over microbatches,
except names that end in `_max`, which are reduced by the maximum, and
`slopes` f32[N], by which the learner finds the groups that teach.

The parts of an objective are pure array functions:

    surrogate  f(logp, old_logp, advantages, mask) -> f32[N, T] losses
    gate       the same arguments -> f32[N, T] constant factors of the losses
    row loss   the same arguments -> f32[N] losses of whole responses
    cost       f(stats, batch) -> f32[N, T]

One that reads more, or what belongs to more than its own row, is marked with
`reads` and gets it by keyword.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp

from jaxrl_llm import control
from jaxrl_llm.reads import given, of_shape, united
from jaxrl_llm.types import Array, Batch, Stats

_NO_COSTS: Mapping[str, Cost] = types.MappingProxyType({})


class Objective(Protocol):
  """What a step of the optimiser minimises.

  Attributes:
    parts: the functions of its own loss. samples: G that they compare, 0 where
      they compare none. block: rows that a microbatch must not cut. costs: what
      is added, by name. reads: what parts and costs must be given. controllers:
      of the coefficients of the costs.
  """

  @property
  def parts(self) -> tuple[Callable, ...]: ...

  @property
  def samples(self) -> int: ...

  @property
  def block(self) -> int | Literal['batch']: ...

  @property
  def costs(self) -> Mapping[str, Cost]: ...

  @property
  def reads(self) -> frozenset[str]: ...

  @property
  def controllers(self) -> Mapping[str, control.Controller]: ...

  def loss(self, stats: Stats, batch: Batch, coefs: Mapping[str, Array]):
    """f32[] of the rows of a microbatch, and metrics that add up.

    Args:
      coefs: of the costs, by name.
    """


@dataclasses.dataclass(frozen=True)
class Cost:
  """A per-token cost and the coefficient it is multiplied by.

  Attributes:
    fn: f(stats, batch) -> f32[N, T]; what it reads comes by keyword.
    coefficient: of the cost in the loss, a number or a `control.Controller`.
  """

  fn: Callable
  coefficient: float | control.Controller = 1.0


def every_token(logp, old_logp, advantages, mask):
  """A gate of ones."""
  del old_logp, advantages, mask
  return jnp.ones_like(logp)


class _Costed:
  """Shared by objectives that add named token costs to their own loss."""

  costs: Mapping[str, Cost]
  samples: int

  @property
  def parts(self) -> tuple[Callable, ...]:
    """The functions of the objective's own loss."""
    raise NotImplementedError

  @property
  def _readers(self) -> tuple[Callable, ...]:
    return *self.parts, *(cost.fn for cost in self.costs.values())

  @property
  def block(self) -> int | Literal['batch']:
    if 'share' in self.reads:
      return 'batch'
    return self.samples if 'group' in self.reads else 1

  @property
  def reads(self) -> frozenset[str]:
    return united(self._readers)

  @property
  def controllers(self) -> Mapping[str, control.Controller]:
    return {
      name: control.controller(cost.coefficient)
      for name, cost in self.costs.items()
    }

  def loss(self, stats, batch, coefs):
    loss = self.policy_loss(stats, batch)
    metrics = {'loss/policy': loss} | self._diagnosis(stats, batch)
    for name, cost in self.costs.items():
      inputs = given(cost.fn, stats, batch)
      costs = cost.fn(stats, batch, **inputs)
      costs = of_shape(cost.fn, costs, stats.logp.shape)
      value = jnp.sum(batch.weights * costs)
      loss = loss + coefs[name] * value
      metrics[f'loss/{name}'] = value
    return loss, metrics

  def policy_loss(self, stats, batch):
    """f32[], the loss without costs."""
    raise NotImplementedError

  def _diagnosis(self, stats, batch):
    """What the loss without costs asks of tokens and of rows."""
    fixed = jax.lax.stop_gradient(stats)
    old = fixed.replace(logp=batch.old_logp)
    slopes, before = (
      jax.grad(self.policy_loss)(x, batch) for x in (fixed, old)
    )
    slope, rows = slopes.logp, stats.logp.shape[0]
    # Where the loss is flat at the old policy, too, nothing is clipped.
    clipped = batch.signal & (before.logp != 0) & (slope == 0)
    largest = [
      jnp.max(jnp.abs(x).reshape(rows, -1), axis=1)
      for x in jax.tree.leaves(slopes)
    ]
    return {
      'policy/clip_fraction': jnp.sum(batch.share * clipped),
      'policy/push_up': jnp.sum(jnp.maximum(-slope, 0)),
      'policy/push_down': jnp.sum(jnp.maximum(slope, 0)),
      'slopes': functools.reduce(jnp.maximum, largest),
    }


def _constants(batch):
  return batch.old_logp, batch.credit.advantages, batch.rollouts.loss_mask


@dataclasses.dataclass(frozen=True)
class PolicyGradient(_Costed):
  """sum_it w_it (gate_it surrogate_it + sum_c coef_c cost_c,it).

  Attributes:
    surrogate: f(logp, old_logp, advantages, mask) -> f32[N, T].
    gate: constant factors of the surrogate, from the same arguments. No
      gradient passes through it, and costs are not gated.
    costs: by the name under which coefficient and value are logged.
    samples: G, read where a part compares the rows of a group.
  """

  surrogate: Callable
  gate: Callable = every_token
  costs: Mapping[str, Cost] = dataclasses.field(
    default_factory=lambda: _NO_COSTS
  )
  samples: int = 0

  @property
  def parts(self):
    return self.surrogate, self.gate

  def policy_loss(self, stats, batch):
    rest = _constants(batch)
    fixed = jax.lax.stop_gradient(stats)
    gate = self.gate(fixed.logp, *rest, **given(self.gate, fixed, batch))
    gate = of_shape(self.gate, gate, stats.logp.shape)
    weights = batch.weights * gate
    inputs = given(self.surrogate, stats, batch)
    losses = self.surrogate(stats.logp, *rest, **inputs)
    return jnp.sum(weights * of_shape(self.surrogate, losses, weights.shape))


@dataclasses.dataclass(frozen=True)
class RowLosses(_Costed):
  """sum_i w_i loss_i + sum_it w_it sum_c coef_c cost_c,it.

  The w_i are `batch.row_weights`, keep / rows.

  Attributes:
    losses: f(logp, old_logp, advantages, mask) -> f32[N].
    costs: token costs, weighted by the recipe's aggregator.
    samples: G, read where the losses compare the rows of a group.
  """

  losses: Callable
  costs: Mapping[str, Cost] = dataclasses.field(
    default_factory=lambda: _NO_COSTS
  )
  samples: int = 0

  @property
  def parts(self):
    return (self.losses,)

  def policy_loss(self, stats, batch):
    inputs = given(self.losses, stats, batch)
    losses = self.losses(stats.logp, *_constants(batch), **inputs)
    losses = of_shape(self.losses, losses, batch.row_weights.shape)
    return jnp.sum(batch.row_weights * losses)


def _checked(objective):
  if objective.block == 0:
    raise ValueError(
      f'{objective.parts} compare the rows of a group: pass samples=G'
    )
  return objective


def _live(costs: Mapping[str, Cost]) -> Mapping[str, Cost]:
  # A cost of constant coefficient 0 is dropped, so that no forward pass is
  # spent on it.
  live = {n: c for n, c in costs.items() if c.coefficient != 0.0}
  return types.MappingProxyType(live)


def bound(
  fn: Callable, parts: Mapping[str, Any]
) -> tuple[Callable, dict[str, Cost]]:
  """A function with the numbers among some parts, and the costs among them.

  Raises:
    ValueError: a number that the function does not take.
  """
  costs = {name: x for name, x in parts.items() if isinstance(x, Cost)}
  hyper = {name: x for name, x in parts.items() if name not in costs}
  known = inspect.signature(fn).parameters
  unknown = sorted(hyper.keys() - known.keys())
  # A function that hands numbers on to another takes any.
  if unknown and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
    raise ValueError(
      f'{fn} has no hyper-parameters {unknown}; a cost is given as Cost(...)'
    )
  return (functools.partial(fn, **hyper) if hyper else fn), costs


def policy_gradient(
  surrogate: Callable,
  *,
  gate: Callable = every_token,
  samples: int = 0,
  **parts: Any,
) -> PolicyGradient:
  """A surrogate with its numbers and with costs; one that is off is left out.

  Args:
    samples: G, for a surrogate or gate that compares the rows of a group.
    parts: costs by their names, and hyper-parameters of the surrogate.

  Raises:
    ValueError: such a part without `samples`.

  Example:
    >>> from jaxrl_llm.objectives import costs, surrogates
    >>> loss = policy_gradient(surrogates.clip, low=0.1, kl=Cost(costs.k3, 0.5))
    >>> loss.surrogate.keywords, loss.costs['kl'].coefficient
    ({'low': 0.1}, 0.5)
  """
  surrogate, costs = bound(surrogate, parts)
  return _checked(PolicyGradient(surrogate, gate, _live(costs), samples))


def row_losses(
  losses: Callable, *, samples: int = 0, **parts: Any
) -> RowLosses:
  """A loss of whole responses with its numbers and with token costs.

  Args:
    samples: G, for losses that compare the rows of a group.
    parts: costs by their names, and hyper-parameters of the loss.

  Raises:
    ValueError: such losses without `samples`.
  """
  losses, costs = bound(losses, parts)
  return _checked(RowLosses(losses, _live(costs), samples))
