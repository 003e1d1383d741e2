"""Recipes that differ from one in a single part: it is gone, or a neighbour.

`variants` walks through what a recipe is made of. Every slot has a joint, and
the functions of one joint can stand in one another's places: so a test finds
out whether it would notice a wrong one.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator

from jaxrl_llm import credit, reference
from jaxrl_llm.advantages import critics, group, tokens
from jaxrl_llm.objectives import (
  aggregate,
  base,
  costs,
  gates,
  grouped,
  listwise,
  offline,
  preference,
  sequence,
  surrogates,
  unary,
)
from jaxrl_llm.objectives import critics as critics_lib
from jaxrl_llm.reads import reads_of
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.rewards import combine, constraints, duels
from jaxrl_llm.selection import filters, pairs, weights

_SURROGATES = (
  surrogates.score_function,
  surrogates.importance,
  surrogates.importance_weight,
  surrogates.clip,
  surrogates.dual_clip,
  surrogates.soft_clip,
  surrogates.clip_weight,
  sequence.sequence_clip,
  sequence.geometric_clip,
)
_LINKS = (
  preference.logistic,
  preference.debiased,
  preference.square,
  preference.hinge,
  preference.regression,
  preference.soft_logistic,
  preference.pairwise_gradient,
)
_LISTS = (
  listwise.plackett_luce,
  listwise.softmax,
  listwise.point_square,
  listwise.point_logistic,
  listwise.group_equivalent,
  listwise.likelihood_contrast,
)
_ESTIMATES = (
  group.reward,
  group.centre,
  group.norm,
  group.leave_one_out,
  group.norm_by_batch,
  group.norm_by_deviation,
  group.harder_first,
)
# What may stand in the field of a dataclass, or the keyword of a function.
NEIGHBOURS = {
  'Recipe.combine': (
    combine.weighted_sum,
    combine.least_served,
    combine.worst_model,
    combine.certain_models,
    functools.partial(combine.decoupled, fn=group.norm),
  ),
  'Recipe.aggregate': (
    aggregate.token_mean,
    aggregate.sequence_mean,
    aggregate.sequence_sum,
    aggregate.budget_mean,
  ),
  'Recipe.critic': (critics_lib.Scalar(),),
  'Recipe.reference': (
    reference.Frozen(),
    reference.EMA(0.5),
    reference.Periodic(2),
    reference.Previous(),
    reference.Extrapolate(0.5),
  ),
  'Estimate.fn': _ESTIMATES,
  'EstimateBy.fn': _ESTIMATES,
  'decoupled.fn': _ESTIMATES,
  'EstimateTokens.fn': (tokens.kl_reward_to_go, tokens.norm_by_tokens),
  'Refine.fn': (tokens.whiten_batch, tokens.whiten_rows),
  'Weigh.fn': (
    filters.mixed_groups,
    filters.rate_between,
    filters.best_rows,
    weights.best_and_worst,
  ),
  'WeighTokens.fn': (weights.signal, weights.unsure_tokens),
  'Shape.fn': (duels.less_a_half, duels.less_divergence),
  'Duels.fn': (
    duels.against_all,
    duels.against_others,
    duels.against_opponents,
    duels.against_mixture,
  ),
  'Constrained.fn': (
    constraints.with_room,
    constraints.within,
  ),
  'PolicyGradient.surrogate': _SURROGATES,
  'TokenMean.surrogate': _SURROGATES,
  'PolicyGradient.gate': (
    base.every_token,
    gates.two_side,
    gates.one_side,
    gates.ring,
    gates.sequence_one_side,
    gates.truncated_importance,
    gates.sequence_truncated_importance,
    gates.masked_importance,
    gates.sequence_masked_importance,
  ),
  'Cost.fn': (
    costs.k2,
    costs.k3,
    costs.straight_k3,
    costs.weighted_k3,
    costs.proximal_kl,
    costs.trust_kl,
    costs.old_k3,
    costs.ratio_variance,
    costs.square_move,
    costs.negative_logp,
    costs.negative_entropy,
    costs.squared_value_error,
    costs.finished_value_error,
    costs.pessimistic_value_error,
  ),
  'RowLosses.losses': (
    unary.kto,
    unary.divergence,
    offline.advantage_regression,
    offline.proximal_regression,
    offline.contrastive,
  ),
  'GroupLoss.loss': (*_LISTS, *map(grouped.Pairs, _LINKS[:1])),
  'GroupLoss.score': (
    grouped.likelihood,
    grouped.mean_likelihood,
    grouped.to_reference,
    grouped.mean_to_reference,
    grouped.to_iterate,
    grouped.to_mixture,
    grouped.to_extrapolated,
  ),
  'Pairs.link': _LINKS,
  'Pairs.among': (
    pairs.better,
    pairs.each_better,
    pairs.best_and_worst,
    pairs.by_tournament,
    pairs.every,
    pairs.by_rank,
  ),
  'Pairs.gap': (grouped.of_rewards, grouped.of_preferences),
  'likelihood_contrast.sides': (
    listwise.only_best,
    listwise.best_against_worst,
    listwise.best_against_sum,
    listwise.best_against_mean,
  ),
}
# What may stand for a whole stage of credit that asks a critic.
CRITICS = (
  credit.estimate(group.reward),
  tokens.GAE(),
  critics.ExtendedGAE(),
  critics.PenalisedGAE(),
  critics.PostDecision(),
)


@dataclasses.dataclass(frozen=True)
class Variant:
  """A recipe that differs in one slot.

  Attributes:
    slot: the path to it. other: what stands there instead, '' for nothing.
    recipe: what came out.
  """

  slot: str
  other: str
  recipe: Recipe


def variants(recipe: Recipe) -> Iterator[Variant]:
  """Every recipe with one part less, or a neighbour in its place."""
  objective = recipe.objective
  # Losses of whole responses have no token weights.
  whole = isinstance(objective, base.RowLosses) and not objective.costs
  for slot, other, part in _without(recipe, ''):
    if not (whole and slot == 'aggregate'):
      yield Variant(slot, other, part)


def _without(part, path) -> Iterator[tuple[str, str, object]]:
  """(slot, other, part with it) of all that lies below a part."""
  if isinstance(part, functools.partial):
    for key, value in part.keywords.items():
      if callable(value):
        joint = f'{part.func.__name__}.{key}'
        for slot, other, new in _places(value, joint, f'{path}.{key}'):
          yield slot, other, functools.partial(part, **{key: new})
    return
  if not dataclasses.is_dataclass(part):
    return
  for field in dataclasses.fields(part):
    value = getattr(part, field.name)
    joint = f'{type(part).__name__}.{field.name}'
    below = f'{path}.{field.name}'.lstrip('.')
    for slot, other, new in _places(value, joint, below):
      yield slot, other, dataclasses.replace(part, **{field.name: new})


def _places(value, joint, path):
  """What may stand in a slot, and what may stand in the slots below it."""
  if joint == 'Recipe.credit':
    yield from _of_credit(value, path)
  elif joint == 'Chain.stages':
    yield from _of_stages(value, path)
  elif joint.endswith('.costs'):
    yield from _of_costs(value, path)
  elif joint == 'Total.parts':
    yield from _of_items(value, path)
  elif joint == 'Total.weights':
    for number in range(len(value)):
      rest = *value[:number], 0.0, *value[number + 1 :]
      yield f'{path}.{number}', '', rest
  elif joint == 'Cost.coefficient':
    if not isinstance(value, float):
      yield path, 'constant', float(value.value(value.init(), 0))
  elif joint in _UNSEEN:
    return
  else:
    for other in NEIGHBOURS.get(joint, ()):
      if _name(other) != _name(value):
        yield path, _name(other), _with_keywords(other, value)
    yield from _without(value, path)


# Slots that no array of a step shows, and what proves them instead.
_UNSEEN = {
  'Recipe.curriculum': 'tests/selection',
  'Recipe.plan': 'tests/plans',
  'Recipe.update': 'tests/update_test.py',
}


def _of_credit(stage, path):
  if isinstance(stage, credit.Chain):
    for slot, other, stages in _of_stages(stage.stages, path):
      yield slot, other, credit.chain(*stages)
    return
  yield path, '', credit.chain()
  yield from _of_stage(stage, path)


def _of_stages(stages, path):
  for number, stage in enumerate(stages):
    before, after = stages[:number], stages[number + 1 :]
    below = f'{path}.{number}'
    yield below, '', (*before, *after)
    for slot, other, new in _of_stage(stage, below):
      yield slot, other, (*before, new, *after)


def _of_stage(stage, path):
  if 'old_values' in reads_of(stage):
    for other in CRITICS:
      if type(other) is not type(stage):
        yield path, _name(other), other
  yield from _without(stage, path)


def _of_costs(costs_, path):
  for name, cost in costs_.items():
    rest = {n: c for n, c in costs_.items() if n != name}
    yield f'{path}.{name}', '', rest
    for slot, other, new in _without(cost, f'{path}.{name}'):
      yield slot, other, costs_ | {name: new}


def _of_items(items, path):
  for number, item in enumerate(items):
    for slot, other, new in _without(item, f'{path}.{number}'):
      yield slot, other, (*items[:number], new, *items[number + 1 :])


def _name(part) -> str:
  """A function's name, or a dataclass with what it holds."""
  while isinstance(part, functools.partial):
    part = part.func
  if isinstance(part, credit.Stage):
    return f'{type(part).__name__} {_name(part.fn)}'
  return getattr(part, '__name__', type(part).__name__)


def _with_keywords(other: Callable, value) -> Callable:
  """The other function with those keywords of the first that it knows."""
  keywords = getattr(value, 'keywords', {})
  known = inspect.signature(other).parameters if keywords else {}
  shared = {k: v for k, v in keywords.items() if k in known}
  return functools.partial(other, **shared) if shared else other
