"""Recipes: a method as the joints it fills.

A recipe is a frozen dataclass whose defaults are the plainest method, so an
entry states only what differs. An entry is a keyword-only factory whose
defaults are plain values: they become typed, locked flags. Off is 0 or
`math.inf`, never None.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
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
from jaxrl_llm.spelling import suggestion

_DEVIATES = 'Deviates:'
# What others are told apart from, the plainest first.
BASES = ('reinforce', 'ppo', 'grpo', 'dpo')
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
    aggregate: f(mask, keep, group) -> weights f32[N, T].
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
  def needs(self) -> frozenset[str]:
    """What its slots read and not every iteration has, see `reads`."""
    slots = (getattr(self, field.name) for field in dataclasses.fields(self))
    return reads.provided(reads.united(slots), *reads.ASKED)

  @property
  def statistics(self) -> frozenset[str]:
    """What it needs of the policy beside log-probs, by fields of `Stats`."""
    return reads.statistics(self.needs)

  @property
  def refers(self) -> bool:
    """Whether anything reads the reference policy."""
    return 'ref_logp' in self.needs or self.plan.contract.refers


@dataclasses.dataclass(frozen=True)
class Paper:
  """Where a method comes from.

  Attributes:
    title: as published. arxiv: its id, or '' for older work.
    confidence: VERIFIED (read in published code or text), VERIFIED-2 (read
      in a third party's), RECALLED, or ABSTRACT (reconstructed from it).
    other_titles: those of its other versions, earlier or later.
  """

  title: str
  arxiv: str = ''
  confidence: str = 'VERIFIED'
  other_titles: tuple[str, ...] = ()

  @property
  def titles(self) -> tuple[str, ...]:
    return self.title, *self.other_titles


@dataclasses.dataclass(frozen=True)
class Limit:
  """A special case: with these values an entry is another entry.

  The battery verifies that losses and gradients agree on random batches, at
  the proximal policy and away from it. The other entry is built with as many
  samples as this one.

  Attributes:
    other: the entry it becomes.
    values: hyper-parameters of this entry.
    other_values: hyper-parameters of the other.
    on_policy: holds where the ratio is 1, for the gradient alone: the losses
      of surrogates with one gradient there differ by constants.
    up_to_scale: holds up to one positive factor of loss and gradient.
  """

  other: str
  values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  other_values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  on_policy: bool = False
  up_to_scale: bool = False


@dataclasses.dataclass(frozen=True)
class Entry:
  """A registered method."""

  name: str
  factory: Callable[..., Recipe]
  paper: Paper
  limits: tuple[Limit, ...] = ()

  @property
  def base(self) -> str:
    """Of `BASES`, whose functions are most like this entry's.

    One of them is compared with those before it; '' for the plainest.
    """
    known = BASES[: BASES.index(self.name)] if self.name in BASES else BASES
    own = functions(self.factory())
    return min(
      reversed(known),
      key=lambda name: len(own ^ functions(build(name))),
      default='',
    )

  @property
  def joints(self) -> tuple[str, ...]:
    """Where the entry has a function that its base has not.

    Numbers do not count, nor what is left out.
    """
    if not self.base:
      return ()
    own = functions(self.factory()) - functions(build(self.base))
    found = {joint for joint, _ in own}
    return tuple(joint for joint in JOINTS if joint in found)

  @property
  def defaults(self) -> dict[str, float | int | bool | str | tuple]:
    parameters = inspect.signature(self.factory).parameters
    return {name: p.default for name, p in parameters.items()}

  @property
  def text(self) -> str:
    """The docstring, '' without one."""
    return inspect.getdoc(self.factory) or ''

  @property
  def summary(self) -> str:
    return self.text.partition('\n')[0]

  @property
  def deviates(self) -> str:
    """The paragraph of the docstring that begins 'Deviates:', on one line.

    It names every known difference from the paper; '' where none is known.
    """
    return paragraph(self.text, _DEVIATES)


def paragraph(text: str, head: str) -> str:
  """The paragraph of a docstring that begins so, on one line without that."""
  for each in map(str.strip, text.split('\n\n')):
    if each.startswith(head):
      return ' '.join(each.removeprefix(head).split())
  return ''


_ENTRIES: dict[str, Entry] = {}


def register(paper: Paper, *limits: Limit):
  """Decorates a factory of recipes and enters it under its own name."""

  def enter(factory):
    name = factory.__name__
    if name in _ENTRIES and not _same_code(factory, _ENTRIES[name].factory):
      raise ValueError(f'recipe {name!r} is registered twice')
    for parameter in inspect.signature(factory).parameters.values():
      keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY
      plain = isinstance(parameter.default, float | int | str | tuple)
      if not (keyword and plain):
        raise TypeError(
          f'recipe {name!r}: {parameter.name} must be keyword-only with a '
          'plain default (float, int, bool, str or tuple)'
        )
    _ENTRIES[name] = Entry(name, factory, paper, limits)
    return factory

  return enter


def _same_code(first: Callable, second: Callable) -> bool:
  """Whether two factories are one, of a file that was executed twice.

  As where a config file is also imported, for a verifier in it.
  """
  one, other = inspect.unwrap(first).__code__, inspect.unwrap(second).__code__
  same = one.co_firstlineno == other.co_firstlineno
  paths = map(os.path.realpath, (one.co_filename, other.co_filename))
  return same and len(set(paths)) == 1


def names() -> list[str]:
  """Every registered recipe, sorted.

  Example:
    >>> 'grpo' in names()
    True
  """
  # The entries register on import; importing here keeps this module, which
  # they build on, free of a cycle.
  from jaxrl_llm import recipes  # noqa: F401

  return sorted(_ENTRIES)


def get(name: str) -> Entry:
  """The entry of that name; the error for an unknown one suggests another.

  Example:
    >>> get('grpo').paper.arxiv
    '2402.03300'
  """
  known = names()
  if name not in known:
    raise KeyError(f'unknown recipe {name!r}. {suggestion(name, known)}')
  return _ENTRIES[name]


def build(name: str, **values) -> Recipe:
  """The recipe of that name, with some hyper-parameters replaced.

  Example:
    >>> build('dapo', clip_high=0.3).minibatches
    16
  """
  entry = get(name)
  for key in values:
    if key not in entry.defaults:
      raise KeyError(
        f'recipe {name!r} has no hyper-parameter {key!r}. '
        f'{suggestion(key, entry.defaults)}'
      )
  return entry.factory(**values)


def describe(part, path: str = '') -> dict[str, str]:
  """A recipe as slots and values: what two methods are compared by."""
  return {
    slot: f'{stage}: {_name(leaf)}' if stage else _name(leaf)
    for slot, stage, leaf in _leaves(part, path)
  }


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
  elif isinstance(part, tuple) and any(map(dataclasses.is_dataclass, part)):
    yield from _below(dict(enumerate(part)), slot)
  elif isinstance(part, Mapping):
    yield from _below(part, slot)
  else:
    yield slot, '', part


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
    # A function that was executed from text has no module.
    module = (leaf.__module__ or '').rsplit('.', 1)[-1]
    return f'{module}.{leaf.__qualname__}'
  return repr(leaf)


def functions(recipe: Recipe) -> frozenset[tuple[str, str]]:
  """The functions that a recipe is made of, each after its joint.

  What only writes notes is left out: it comes with what reads them.
  """
  found = {('critic', name) for name in recipe.statistics & _VALUES}
  for slot, stage, leaf in _leaves(recipe, ''):
    if callable(leaf):
      found.add((_joint(slot.split('.'), stage, leaf), _name(leaf)))
  return frozenset(pair for pair in found if pair[0])


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
