"""Objectives: from differentiable statistics to one loss.

    loss(stats, batch, coefs) -> (f32[], metrics)
    needs: extra passes the loop must compute     block: int | 'batch'

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
`takes` and gets it by keyword.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import jax
import jax.numpy as jnp

from jaxrl_llm import control, credit
from jaxrl_llm.types import Array, Batch, Stats

_NO_COSTS: Mapping[str, Cost] = types.MappingProxyType({})
# The pass that an input comes from, or what else it needs.
_PASSES: Mapping[str, str] = {
  'ref_logp': 'ref_logp',
  'sampler_logp': credit.OWN_SAMPLES,
  'teacher_logp': 'teacher_logp',
  'values': 'values',
  'own_values': 'values',
  'own_after_values': 'after_values',
  'log_probs': 'log_probs',
}


def _local_ids(group: Array) -> Array:
  """Group ids of adjacent rows, numbered from 0 within the rows at hand.

  A microbatch carries the ids of the whole iteration, which are larger than
  its row count, the size that grouped reductions reserve.
  """
  starts = jnp.concatenate([jnp.zeros(1, bool), group[1:] != group[:-1]])
  return jnp.cumsum(starts, dtype=jnp.int32)


_INPUTS: Mapping[str, Callable[[Stats, Batch], Array | None]] = {
  'entropy': lambda stats, batch: jax.lax.stop_gradient(stats.entropy),
  'sampler_logp': lambda stats, batch: batch.rollouts.logp,
  'ref_logp': lambda stats, batch: batch.ref_logp,
  'teacher_logp': lambda stats, batch: batch.teacher_logp,
  'rewards': lambda stats, batch: batch.credit.rewards,
  'components': lambda stats, batch: batch.credit.components,
  'preference': lambda stats, batch: batch.credit.preference,
  'values': lambda stats, batch: batch.rollouts.extras['values'],
  'own_values': lambda stats, batch: stats.values,
  'own_after_values': lambda stats, batch: stats.after_values,
  'log_probs': lambda stats, batch: stats.log_probs,
  'valid': lambda stats, batch: batch.rollouts.valid,
  'keep': lambda stats, batch: batch.credit.keep,
  'tokens': lambda stats, batch: batch.rollouts.content.response,
  'task': lambda stats, batch: batch.rollouts.task,
  'group': lambda stats, batch: _local_ids(batch.rollouts.group),
  'share': lambda stats, batch: batch.share,
  'row_weights': lambda stats, batch: batch.row_weights,
}


def takes(*names: str):
  """Marks a part of an objective as reading more arrays, by keyword.

  Args:
    names: of `_INPUTS`, or `extras:key` for an entry of `rollouts.extras`
      that the plan provides, passed as `key`. Who takes `group` compares the
      rows of a group; who takes `share`, each token's share of the step's
      tokens, averages over the whole step. A microbatch then cuts neither.
      `values` are the old policy's; `own_values`, `own_after_values` and
      `log_probs` are differentiated with the policy.

  Raises:
    ValueError: a name that is neither.
  """
  for name in names:
    if name not in _INPUTS and not name.startswith('extras:'):
      raise ValueError(
        f'unknown input {name!r}; known: {sorted(_INPUTS)} and extras:<key>'
      )

  def mark(fn):
    fn.takes = tuple(dict.fromkeys((*taken(fn), *names)))
    read = (_PASSES.get(n, n) for n in names)
    passes = frozenset(
      n for n in read if n in _PASSES.values() or n.startswith('extras:')
    )
    fn.needs = credit.needs_of(fn) | passes
    return fn

  return mark


def taken(part: Callable) -> tuple[str, ...]:
  """What a part, or a partial of one, was marked to take."""
  while isinstance(part, functools.partial) and not hasattr(part, 'takes'):
    part = part.func
  return getattr(part, 'takes', ())


def _inputs(
  part: Callable, stats: Stats, batch: Batch
) -> dict[str, Array | None]:
  arrays = {}
  for name in taken(part):
    key = name.removeprefix('extras:')
    here = name in _INPUTS
    arrays[key] = (
      _INPUTS[name](stats, batch) if here else batch.rollouts.extras[key]
    )
  return arrays


class Objective(Protocol):
  """What a step of the optimiser minimises."""

  @property
  def block(self) -> int | Literal['batch']: ...

  @property
  def costs(self) -> Mapping[str, Cost]: ...

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
    names = frozenset().union(*map(taken, self._readers))
    if 'share' in names:
      return 'batch'
    return self.samples if 'group' in names else 1

  @property
  def needs(self) -> frozenset[str]:
    return frozenset().union(*map(credit.needs_of, self._readers))

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
      inputs = _inputs(cost.fn, stats, batch)
      value = jnp.sum(batch.weights * cost.fn(stats, batch, **inputs))
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
    gate = self.gate(fixed.logp, *rest, **_inputs(self.gate, fixed, batch))
    weights = batch.weights * gate
    inputs = _inputs(self.surrogate, stats, batch)
    return jnp.sum(weights * self.surrogate(stats.logp, *rest, **inputs))


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
    inputs = _inputs(self.losses, stats, batch)
    losses = self.losses(stats.logp, *_constants(batch), **inputs)
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


def policy_gradient(
  surrogate: Callable,
  *,
  gate: Callable = every_token,
  samples: int = 0,
  **costs: Cost,
) -> PolicyGradient:
  """A surrogate with named costs; a cost that is off is left out whole.

  Args:
    samples: G, for a surrogate or gate that compares the rows of a group.

  Raises:
    ValueError: such a part without `samples`.
  """
  return _checked(PolicyGradient(surrogate, gate, _live(costs), samples))


def row_losses(
  losses: Callable, *, samples: int = 0, **costs: Cost
) -> RowLosses:
  """A loss of whole responses with named token costs.

  Args:
    samples: G, for losses that compare the rows of a group.

  Raises:
    ValueError: such losses without `samples`.
  """
  return _checked(RowLosses(losses, _live(costs), samples))
