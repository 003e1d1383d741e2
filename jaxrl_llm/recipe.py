"""Recipes: a method as the joints it fills.

A recipe is a frozen dataclass whose defaults are the plainest method, so a
method states only what differs. What it is made of can be described, compared
and checked before anything runs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp

from jaxrl_llm import credit as credit_lib
from jaxrl_llm import reads
from jaxrl_llm import reference as reference_lib
from jaxrl_llm import update as update_lib
from jaxrl_llm.advantages import group
from jaxrl_llm.objectives import aggregate as aggregate_lib
from jaxrl_llm.objectives import base, critics, surrogates
from jaxrl_llm.plans import sampled
from jaxrl_llm.plans.base import Plan
from jaxrl_llm.rewards import combine as combine_lib
from jaxrl_llm.selection import curricula

# Where functions count: by the kind of their stage, else by the room that they
# live in, else by the slot that they fill.
JOINTS = {
  'curriculum': ('curriculum',),
  'plan': ('plans', 'plan'),
  'reward': ('shape', 'rewards', 'combine'),
  'selection': ('weigh', 'weightokens', 'selection'),
  'advantage': (
    *('estimate', 'estimatetokens', 'refine'),
    *('advantages', 'credit'),
  ),
  'surrogate': ('surrogate',),
  'loss': ('losses',),
  'gate': ('gate',),
  'cost': ('costs',),
  'aggregate': ('aggregate',),
  'critic': ('critics', 'critic'),
  'reward model': ('rating',),
  'update': ('update',),
  'reference': ('reference',),
}
_VALUES = frozenset({'values', 'after_values'})


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What a method does at every joint.

  Attributes:
    curriculum: which tasks are drawn.
    plan: how responses are made of them.
    combine: f(components, weights, rollouts) -> rewards f32[N].
    credit: stages from rewards to advantages and weights.
    objective: the loss.
    aggregate: f(mask, keep, group) -> weights f32[N, T]; see `weights`.
    critic: what the value heads answer, where there are any.
    update: the update rule.
    reference: the policy that costs may refer to.
    epochs: passes over the rows of one iteration.
    minibatches: optimizer steps of a pass.
  """

  curriculum: curricula.Curriculum = curricula.Shuffled()
  plan: Plan = sampled.Independent()
  combine: Callable = combine_lib.weighted_sum
  credit: credit_lib.Transform = credit_lib.estimate(group.reward)
  objective: base.Objective = base.policy_gradient(surrogates.score_function)
  aggregate: Callable = aggregate_lib.sequence_sum
  critic: critics.Critic = critics.Scalar()
  update: Callable = update_lib.single
  reference: reference_lib.Reference = reference_lib.Frozen()
  epochs: int = 1
  minibatches: int = 1

  @property
  def steps(self) -> int:
    """Optimizer steps of one iteration."""
    return self.epochs * self.minibatches

  @property
  def needs(self) -> frozenset[str]:
    """What its slots read and not every iteration has, see `reads`."""
    slots = (getattr(self, field.name) for field in dataclasses.fields(self))
    return reads.provided(reads.united(slots), *reads.ASKED)

  def weights(self, mask, keep, rollouts):
    """f32[N, T]: what the aggregator makes of the tokens of rows."""
    names = reads.reads_of(self.aggregate)
    read = {name: rollouts.extras[name] for name in names}
    return self.aggregate(mask, keep, rollouts.group, **read)

  @property
  def statistics(self) -> frozenset[str]:
    """What it needs of the policy beside log-probs, by fields of `Stats`."""
    return reads.statistics(self.needs)

  @property
  def refers(self) -> bool:
    """Whether anything reads the reference policy."""
    return 'ref_logp' in self.needs or self.plan.contract.refers


def describe(part, path: str = '') -> dict[str, str]:
  """A recipe as slots and values: what two methods are compared by.

  Example:
    >>> describe(Recipe(minibatches=2))['minibatches']
    '2'
    >>> describe(Recipe())['aggregate']
    'aggregate.sequence_sum'
  """
  return {
    slot: f'{stage}: {_name(leaf)}' if stage else _name(leaf)
    for slot, stage, leaf in _leaves(part, path)
  }


def parts_of(recipe: Recipe) -> dict[str, Callable]:
  """The functions and classes that fill its slots.

  Example:
    >>> parts_of(Recipe())['aggregate'].__name__
    'sequence_sum'
  """
  return {slot: leaf for slot, _, leaf in _leaves(recipe, '') if callable(leaf)}


def _leaves(part, slot: str) -> Iterator[tuple[str, str, Any]]:
  """Slots, kinds of stages and what fills them: functions, classes, values."""
  if isinstance(part, functools.partial):
    yield from _leaves(part.func, slot)
    yield from _below(part.keywords, slot)
  elif isinstance(part, credit_lib.Stage):
    (_, _, leaf), *pieces = _leaves(part.fn, slot)
    yield slot, type(part).__name__.lower(), leaf
    yield from pieces
    yield from _below(_fields(part, but='fn'), slot)
  elif dataclasses.is_dataclass(part):
    if slot:
      yield slot, '', type(part)
    yield from _below(_fields(part), slot)
  elif isinstance(part, tuple) and any(map(_has_parts, part)):
    yield from _below(dict(enumerate(part)), slot)
  elif isinstance(part, Mapping):
    yield from _below(part, slot)
  else:
    yield slot, '', part


def _has_parts(x) -> bool:
  return dataclasses.is_dataclass(x) or callable(x)


def _fields(part, but: str = '') -> dict[str, Any]:
  names = (field.name for field in dataclasses.fields(part))
  return {name: getattr(part, name) for name in names if name != but}


def _below(parts: Mapping, slot: str) -> Iterator[tuple[str, str, Any]]:
  for key, part in parts.items():
    yield from _leaves(part, f'{slot}.{key}'.lstrip('.'))


def _name(leaf) -> str:
  if isinstance(leaf, type):
    return leaf.__name__
  if callable(leaf):
    # A function that was executed from text has no module, and an object that
    # is called has the name of its class.
    module = (leaf.__module__ or '').rsplit('.', 1)[-1]
    return f'{module}.{reads.name_of(leaf)}'
  return repr(leaf)


def functions(recipe: Recipe) -> dict[tuple[str, str], Callable | None]:
  """The functions that a recipe is made of, by their joints and names.

  What only writes notes is left out: it comes with what reads them. A value
  that the critic says has a name and no function.
  """
  found: dict[tuple[str, str], Callable | None] = {
    ('critic', name): None for name in sorted(recipe.statistics & _VALUES)
  }
  for slot, stage, leaf in _leaves(recipe, ''):
    if callable(leaf) and (joint := _joint(slot.split('.'), stage, leaf)):
      found[joint, _name(leaf)] = leaf
  return found


def _joint(slot: list[str], stage: str, leaf: Callable) -> str:
  rooms = (leaf.__module__ or '').split('.')
  if leaf in (base.Cost, credit_lib.Chain) or 'notes' in (*slot, *rooms):
    return ''
  if slot[0] == 'curriculum':
    return 'curriculum'
  if 'costs' in slot and reads.statistics(reads.reads_of(leaf)) & _VALUES:
    return 'critic'
  for place in (stage, *rooms, *slot[:2]):
    for joint, places in JOINTS.items():
      if place in places:
        return joint
  return ''


def diff(first: Recipe, second: Recipe) -> dict[str, tuple[str, str]]:
  """What differs between two recipes: slot -> (first, second), '' if none.

  Example:
    >>> from jaxrl_llm.recipes import build
    >>> first, second = build('grpo', kl_weight=0.0), build('dr_grpo')
    >>> sorted(diff(first, second))
    ['aggregate', 'credit', 'credit.epsilon', 'minibatches']
  """
  a, b = describe(first), describe(second)
  return {
    slot: (a.get(slot, ''), b.get(slot, ''))
    for slot in sorted(a.keys() | b.keys())
    if a.get(slot) != b.get(slot)
  }


def missing(recipe: Recipe) -> list[str]:
  """What the recipe reads of every response and its plan does not provide."""
  wanted = reads.provided(recipe.needs, 'plan')
  return sorted(wanted - recipe.plan.contract.provides)


def check(recipe: Recipe, *, rows: int, microbatches: int) -> None:
  """Refuses splits that cut a group or a block, and arrays nobody provides.

  Raises:
    ValueError: naming the sizes and the nearest that divide, or the arrays.
      Those of the plan must be declared, see `reads`.

  Example:
    >>> check(Recipe(minibatches=3), rows=32, microbatches=1)
    Traceback (most recent call last):
    ValueError: 4 groups do not split into 3 minibatches; use 2 or 4
  """
  for name in recipe.plan.contract.provides:
    reads.find(name)
  absent = missing(recipe)
  if absent:
    raise ValueError(
      f'the recipe needs {absent} with every response, and its plan '
      f'{type(recipe.plan).__name__} does not provide them; use a plan that '
      'does, or name them among the columns of sampled.independent if they are '
      'numbers of the data'
    )
  samples = recipe.plan.contract.samples
  for slot, value in describe(recipe).items():
    if slot.endswith('.samples') and not slot.startswith('plan.'):
      if value not in ('0', repr(samples)):
        raise ValueError(
          f'{slot} compares groups of {value} rows, and the plan makes groups '
          f'of {samples}; give both the same number'
        )
  if samples == 1:
    _check_alone(recipe)
  steps = recipe.minibatches
  groups = rows // samples
  if groups % steps:
    raise ValueError(
      f'{groups} groups do not split into {steps} minibatches; '
      f'{_nearest(steps, groups)}'
    )
  per_step = rows // steps
  block = recipe.objective.block
  if block == 'batch':
    block = per_step
  if per_step % microbatches or (per_step // microbatches) % block:
    most = per_step // block
    raise ValueError(
      f'{per_step} rows in {microbatches} microbatches break blocks of '
      f'{block}; {_nearest(microbatches, most)}'
    )


def _check_alone(recipe: Recipe) -> None:
  """Refuses estimates by comparison where a row has nothing to compare with.

  An estimator is tried by its values: rows alone in their groups all get 0.
  """
  kinds = credit_lib.Estimate, credit_lib.EstimateTokens
  stages = credit_lib.stages_of(recipe.credit)
  last = [stage for stage in stages if isinstance(stage, kinds)][-1:]
  if not (last and isinstance(last[0], credit_lib.Estimate)):
    return
  rewards, alone = jnp.array([-1.0, 0.5, 2.0, 1.0]), jnp.arange(4)
  if not jnp.any(last[0].fn(rewards, alone, jnp.ones(4, bool)) != 0):
    raise ValueError(
      'recipe.samples is 1, and the recipe compares the responses to a prompt '
      'with each other: all advantages would be 0; use 2 or more'
    )


def _nearest(wanted: int, total: int) -> str:
  """The divisors of `total` on either side of `wanted`."""
  divisors = [d for d in range(1, total + 1) if total % d == 0]
  below = max((d for d in divisors if d <= wanted), default=1)
  above = min((d for d in divisors if d >= wanted), default=total)
  return (
    f'use {below}'
    if below == above or above < wanted
    else (f'use {below} or {above}')
  )
