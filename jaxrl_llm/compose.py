"""Recipes from parts: the slots of a recipe, replaced by name.

    compose(recipe, surrogate='clip(high=0.28)', costs='k2:0.01') -> Recipe

A recipe is a starting point. What a slot holds is told in text, as it stands
on a command line:

    advantage   norm(epsilon=1e-4)     an estimator; other stages stay
    surrogate   clip(0.2, 0.28)        the loss of a token
    gate        two_side               constant factors of it; every_token: none
                two_side * own_tokens  the product of both
    keep        ratio_band             a gate that leaves every count, too
    aggregate   budget_mean            how tokens are averaged
    costs       k2:0.01, negative_entropy:0.001     names and weights, or none
    link        square(0.5)            what a pair of responses costs
    score       mean_to_reference      how pairs and lists rate a response
    reference   ema(0.99)              what costs and scores refer to

A name is one of `parts.fitting`, or that of a recipe, whose part it then is, at
the hyper-parameters in the parentheses: gspo(clip_low=0.1). A weight is a
number or a controller, adaptive_kl(initial=0.02, target=0.1). A critic's own
costs are no slot: they stay with the critic. Where a part cannot work the error
says why, and what to do.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax.numpy as jnp

from jaxrl_llm import credit as credit_lib
from jaxrl_llm import parts, recipes, reference, spelling
from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm.advantages import keys
from jaxrl_llm.credit import stages_of
from jaxrl_llm.objectives import base, gates, grouped
from jaxrl_llm.reads import find, provided, reads_of, statistics
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Scores, Spec, initial_credit

SLOTS: Mapping[str, str] = {
  'advantage': 'the estimator of advantages; the other stages of credit stay',
  'surrogate': 'the loss of a token, from its ratio and its advantage',
  'gate': 'constant factors of the surrogate',
  'keep': 'a gate by sampler and old policy that every count heeds, or none',
  'aggregate': 'how the losses of tokens become one number',
  'costs': 'what is added to the loss: NAME:WEIGHT, NAME:WEIGHT, or none',
  'link': 'what a pair costs by the scores of its responses',
  'score': 'how losses of pairs and lists rate a response',
  'reference': 'the policy that costs and scores refer to',
}
_OF_ROWS = (credit_lib.Estimate, keys.EstimateBy)
_NONE = 'none'


def compose(recipe: Recipe, **slots: str) -> Recipe:
  """The recipe with other parts in some of its slots.

  Args:
    slots: texts by the names of `SLOTS`; '' leaves a slot as it is.

  Raises:
    ValueError, KeyError: what cannot be read, is not known or cannot work
      there, with the remedy.

  Example:
    >>> changed = compose(recipes.build('grpo'), surrogate='clip(high=0.3)')
    >>> changed.objective.surrogate.keywords
    {'high': 0.3}
  """
  for slot in slots:
    if slot not in SLOTS:
      hint = spelling.suggestion(slot, SLOTS)
      raise ValueError(f'unknown slot {slot!r}. {hint}')
  slots = {slot: slots[slot] for slot in SLOTS if slots.get(slot)}
  composed = recipe
  for slot, text in slots.items():
    if slot == 'costs':
      part = _costs(text)
    elif slot == 'keep' and text.strip() == _NONE:
      part = None
    else:
      part = _named(slot, parts.parsed(text))
    composed = _PUT[slot](composed, part)
  composed = _of_groups(composed)
  _check(recipe, composed, slots)
  return composed


def from_config(config) -> Recipe:
  """The recipe of a run: `config.recipe`, with the slots of `config.slots`."""
  built = recipes.build(**config.recipe.to_dict())
  return compose(built, **config.get('slots', {}))


# What the texts name.


def _named(slot, node):
  if slot in ('gate', 'keep') and isinstance(node, ast.BinOp):
    if isinstance(node.op, ast.Mult):
      return gates.Product(_named(slot, node.left), _named(slot, node.right))
  name, given, values = parts.call(node)
  if name in parts.fitting(slot):
    return parts.bound(parts.fitting(slot)[name], given, values)
  if slot == 'keep':
    raise parts.unknown(slot, name)
  if given or name not in recipes.names():
    raise parts.unknown(slot, name, recipes.names())
  built = recipes.build(name, **values)
  if slot == 'advantage':
    stage = stages_of(built.credit)[_place(built, name)]
    return stage.fn if isinstance(stage, credit_lib.Stage) else stage
  if slot in ('surrogate', 'gate'):
    _check_policy_gradient(built, slot, name)
    return getattr(built.objective, slot)
  if slot in ('link', 'score'):
    losses = _group_loss(built, slot, name)
    return losses.loss.link if slot == 'link' else losses.score
  return getattr(built, slot)


def _costs(text):
  if text.strip() == _NONE:
    return {}
  found: dict[str, base.Cost] = {}
  for key, weight in _weighed(text):
    name, given, values = parts.call(key)
    if name not in parts.fitting('costs'):
      raise parts.unknown('costs', name)
    if name in found:
      raise ValueError(f'costs name {name} twice; add up its weights')
    fn = parts.bound(parts.fitting('costs')[name], given, values)
    found[name] = base.Cost(fn, _weight(weight))
  return found


def _weighed(text) -> list[tuple[ast.expr, ast.expr]]:
  """NAME:WEIGHT, NAME:WEIGHT, which is what a dict holds."""
  try:
    node = parts.parsed(f'{{{text}}}')
  except ValueError:
    node = None
  if isinstance(node, ast.Dict):
    keys = [key for key in node.keys if key is not None]
    if len(keys) == len(node.values):
      return list(zip(keys, node.values))
  raise ValueError(
    f'costs={text} cannot be read; write NAME:WEIGHT, NAME:WEIGHT, or none'
  )


def _weight(node):
  known = parts.fitting('controller')
  if isinstance(node, ast.Call):
    name, given, values = parts.call(node)
    if name not in known:
      raise parts.unknown('controller', name)
    return parts.bound(known[name], given, values)
  try:
    number = parts.value(node)
    parts.check_kind('a weight', number, float)
    usable = number and math.isfinite(number)
  except ValueError:
    usable = False
  if not usable:
    raise ValueError(
      f'a cost has the weight {ast.unparse(node)}; use a number other than 0, '
      f'or a controller of {sorted(known)}'
    )
  return float(number)


# How they are put in.


def _places(recipe) -> list[int]:
  """Where among the stages the estimators are."""
  kinds = (*_OF_ROWS, credit_lib.EstimateTokens, *parts.ESTIMATORS)
  stages = enumerate(stages_of(recipe.credit))
  return [place for place, stage in stages if isinstance(stage, kinds)]


def _place(recipe, name='this recipe') -> int:
  """Where among the stages the one estimator is."""
  places = _places(recipe)
  if len(places) != 1:
    listed = ', '.join(
      type(stage).__name__ for stage in stages_of(recipe.credit)
    )
    raise ValueError(
      f'{name} has {len(places)} estimators of advantages that can be '
      f'exchanged among its stages ({listed or "none"}); begin with a recipe '
      'that has one, such as grpo'
    )
  return places[0]


def _check_policy_gradient(recipe, slot, name='this recipe'):
  if not isinstance(recipe.objective, base.PolicyGradient):
    kind = parts.kind_of(recipe.objective.losses).__name__
    raise ValueError(
      f'{name} has a loss of whole responses, {kind}, and no slot {slot!r}: '
      'that is of policy gradients. Begin with one, such as grpo'
    )


def _put_advantage(recipe, part):
  _check_policy_gradient(recipe, 'advantage')
  place = _place(recipe)
  stages: list[Any] = list(stages_of(recipe.credit))
  old = stages[place]
  if dataclasses.is_dataclass(part):
    stages[place] = part
  elif not parts.of_rows(part):
    stages[place] = credit_lib.estimate_tokens(part)
  elif isinstance(old, _OF_ROWS):
    # What rows are compared by is the stage's.
    stages[place] = dataclasses.replace(old, fn=part)
  else:
    stages[place] = credit_lib.estimate(part)
  chained = isinstance(recipe.credit, credit_lib.Chain)
  credit = credit_lib.chain(*stages) if chained else stages[0]
  return dataclasses.replace(recipe, credit=credit)


def _put_keep(recipe, part):
  stages = [
    stage
    for stage in stages_of(recipe.credit)
    if not isinstance(stage, credit_lib.KeepTokens)
  ]
  if part is not None:
    stages.append(credit_lib.KeepTokens(part))
  return dataclasses.replace(recipe, credit=credit_lib.chain(*stages))


def _put_in_objective(recipe, part, *, slot):
  _check_policy_gradient(recipe, slot)
  objective = dataclasses.replace(recipe.objective, **{slot: part})
  return dataclasses.replace(recipe, objective=objective)


def _group_loss(recipe, slot, name='this recipe'):
  """The loss of groups of a recipe, of pairs where a link is asked for."""
  losses = getattr(recipe.objective, 'losses', None)
  if isinstance(losses, grouped.GroupLoss):
    if slot == 'score' or isinstance(losses.loss, grouped.Pairs):
      return losses
  kind = 'pairs' if slot == 'link' else 'groups'
  raise ValueError(
    f'{name} has no loss of {kind} of responses alone, hence no slot '
    f'{slot!r}; begin with one that has, such as dpo'
  )


def _put_in_losses(recipe, part, *, slot):
  losses = _group_loss(recipe, slot)
  if slot == 'link':
    pairs = dataclasses.replace(losses.loss, link=part)
    losses = dataclasses.replace(losses, loss=pairs)
  else:
    losses = dataclasses.replace(losses, score=part)
  objective = dataclasses.replace(recipe.objective, losses=losses)
  return dataclasses.replace(recipe, objective=objective)


def _put_aggregate(recipe, part):
  return dataclasses.replace(recipe, aggregate=part)


def _put_costs(recipe, found):
  old = recipe.objective.costs
  new = {label: cost for label, cost in old.items() if _of_critic(cost)}
  # A cost that was there is logged under its old name.
  labels = {parts.name_of(cost.fn): label for label, cost in old.items()}
  new |= {labels.get(name, name): cost for name, cost in found.items()}
  costs = types.MappingProxyType(new)
  objective = dataclasses.replace(recipe.objective, costs=costs)
  return dataclasses.replace(recipe, objective=objective)


def _of_critic(cost):
  return bool(statistics(reads_of(cost.fn)) & parts.CRITIC)


def _put_reference(recipe, part):
  held = recipe.reference
  if isinstance(held, reference.Beside):
    # The opponent of a game stays.
    part = dataclasses.replace(held, held=part)
  return dataclasses.replace(recipe, reference=part)


_PUT: Mapping[str, Callable] = {
  'advantage': _put_advantage,
  'surrogate': functools.partial(_put_in_objective, slot='surrogate'),
  'gate': functools.partial(_put_in_objective, slot='gate'),
  'keep': _put_keep,
  'aggregate': _put_aggregate,
  'costs': _put_costs,
  'link': functools.partial(_put_in_losses, slot='link'),
  'score': functools.partial(_put_in_losses, slot='score'),
  'reference': _put_reference,
}


def _of_groups(recipe):
  """Says the size of groups where a part has come to compare their rows."""
  if recipe.objective.block:
    return recipe
  samples = recipe.plan.contract.samples
  objective = dataclasses.replace(recipe.objective, samples=samples)
  return dataclasses.replace(recipe, objective=objective)


# What cannot work.


def _check(before: Recipe, after: Recipe, slots: Iterable[str]) -> None:
  more = sorted((after.statistics - before.statistics) & parts.CRITIC)
  if more:
    raise ValueError(
      f'these parts read {more} of a critic, and this recipe trains none; '
      'begin with one that does, such as ppo'
    )
  missing = recipe_lib.missing(after)
  if missing:
    other = provider(*missing)
    raise ValueError(
      f'these parts need {missing} with every response, which the plan '
      f'{type(after.plan).__name__} does not provide; begin with a recipe '
      f'whose plan does{f", such as {other}" if other else ""}'
    )
  if 'advantage' in slots:
    _check_advantage(before, after)
  if 'reference' in slots and not after.refers:
    raise ValueError(
      'nothing reads the reference; add a cost that does, such as costs=k2:0.01'
    )
  of_rows = not isinstance(after.objective, base.PolicyGradient)
  if 'aggregate' in slots and of_rows and not after.objective.costs:
    raise ValueError(
      'nothing is weighed token by token: the loss is of whole responses, and '
      'there are no costs. Leave the aggregate out, or add costs'
    )
  if 'costs' in slots:
    _check_metrics(after)


@functools.cache
def provider(*arrays: str) -> str:
  """The first recipe whose plan provides these arrays; '' if none does."""
  for name in recipes.names():
    if set(arrays) <= recipes.build(name).plan.contract.provides:
      return name
  return ''


def _check_advantage(before, after):
  old, new = (stages_of(x.credit)[_place(x)] for x in (before, after))
  read = (statistics(reads_of(x)) & parts.CRITIC for x in (old, new))
  if next(read) - next(read):
    raise ValueError(
      'this recipe trains a critic, which that estimator would not read; '
      'begin with a recipe without one, such as grpo'
    )
  surrogate = after.objective.surrogate
  if not parts.fits('surrogate', surrogate):
    raise ValueError(
      f'the surrogate {parts.name_of(surrogate)} may not read advantages; '
      'choose another with it, such as surrogate=clip'
    )
  if after.plan.contract.samples == 1 and not _teaches_alone(new):
    raise ValueError(
      'that estimator compares the rows of a group, and groups have one row; '
      'give the recipe more samples, or choose advantage=reward'
    )


def _teaches_alone(stage):
  """Whether a row without others to compare it with gets an advantage."""
  read = reads_of(stage)
  if read - provided(read, 'pass'):
    return True  # It reads more than can be made up here.
  rollouts = policy.as_rollouts(jnp.zeros((2, 1)), jnp.ones((2, 1)))
  shapes = {n: (2,) + (1,) * (len(find(n).axes) - 1) for n in read}
  extras = {n: jnp.zeros(shape) for n, shape in shapes.items()}
  rollouts = rollouts.replace(extras=extras)
  credit = initial_credit(rollouts, Scores(jnp.zeros((2, 1)), jnp.ones(1)))
  credit = dataclasses.replace(credit, rewards=jnp.arange(2.0))
  state = stage.init(Spec(2, 1, 1, 1, tasks=1))
  credit, _ = stage.update(credit, rollouts, state)
  return bool(jnp.any(credit.advantages))


def _check_metrics(recipe):
  """Refuses a controller that steers by what is never logged."""
  costs = recipe.objective.costs
  logged = {'policy/kl', 'policy/entropy', 'loss/policy'}
  logged |= {f'loss/{label}' for label in costs}
  logged |= {'reference/kl'} if recipe.refers else set()
  for label, cost in costs.items():
    metric = getattr(cost.coefficient, 'metric', 'loss/policy')
    if metric not in logged:
      raise ValueError(
        f'the weight of {label} steers by {metric!r}, which is not measured '
        f'here; use one of {sorted(logged)}'
      )


# What a recipe is in text, and which one it is.


def told(recipe: Recipe) -> dict[str, str]:
  """The slots of a recipe as texts; those that no text can name are left out.

  `compose(recipe, **told(recipe))` is the recipe.
  """
  objective, found = recipe.objective, {}
  if recipe.refers:
    held = recipe.reference
    found['reference'] = getattr(held, 'held', held)
  if isinstance(objective, base.PolicyGradient):
    found |= {'surrogate': objective.surrogate, 'gate': objective.gate}
    places = _places(recipe)
    if parts.fits('surrogate', objective.surrogate) and len(places) == 1:
      stage = stages_of(recipe.credit)[places[0]]
      found['advantage'] = getattr(stage, 'fn', stage)
  for stage in stages_of(recipe.credit):
    if isinstance(stage, credit_lib.KeepTokens):
      found['keep'] = stage.gate
  losses = getattr(objective, 'losses', None)
  if isinstance(losses, grouped.GroupLoss):
    found['score'] = losses.score
    if isinstance(losses.loss, grouped.Pairs):
      found['link'] = losses.loss.link
  if isinstance(objective, base.PolicyGradient) or objective.costs:
    found['aggregate'] = recipe.aggregate
  texts = {slot: parts.told(slot, part) for slot, part in found.items()}
  texts['costs'] = _told_costs(objective.costs.values())
  return {slot: texts[slot] for slot in SLOTS if texts.get(slot)}


def _told_costs(costs) -> str:
  told = []
  for cost in costs:
    if not _of_critic(cost):
      weight = cost.coefficient
      number = isinstance(weight, int | float)
      weight = repr(weight) if number else parts.told('controller', weight)
      told.append((parts.told('costs', cost.fn), weight))
  if not all(map(all, told)):
    return ''
  return ', '.join(map(':'.join, told)) or _NONE


def same_as(recipe: Recipe) -> list[str]:
  """The registered recipes that it is, at their defaults.

  A hyper-parameter left at its function's default counts as given, and the
  names under which costs are logged do not count.
  """
  ours = _spelled_out(recipe)
  return [
    name
    for name in recipes.names()
    if not recipe_lib.diff(ours, _spelled_out(recipes.build(name)))
  ]


def _spelled_out(part):
  if dataclasses.is_dataclass(part) and not isinstance(part, type):
    fields = [field.name for field in dataclasses.fields(part)]
    values = {name: _spelled_out(getattr(part, name)) for name in fields}
    if isinstance(part, base.PolicyGradient | base.RowLosses):
      costs = values['costs'].values()
      values['costs'] = {parts.name_of(cost.fn): cost for cost in costs}
    return dataclasses.replace(part, **values)
  if isinstance(part, tuple):
    return tuple(map(_spelled_out, part))
  if isinstance(part, Mapping):
    return {key: _spelled_out(value) for key, value in part.items()}
  function = parts.kind_of(part)
  if not inspect.isfunction(function):
    return part
  values = parts.settable(function) | getattr(part, 'keywords', {})
  return functools.partial(function, **values)
