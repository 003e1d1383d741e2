"""Runs that make their next responses while they learn from the last ones.

With `pipeline` = 1 the rows of iteration k are sampled from the parameters
that iteration k - 1 begins with, those of iteration 0 from the run's own
first ones. They are verified on the host while iteration k - 1 learns on the
device, and wait in the `TrainState` for their turn, so that a checkpoint
holds them. The curriculum draws their prompts, and the plan remembers them,
before either has heard of the rewards of iteration k - 1.

Rows are then one step old. Each token's loss is weighed by how much more or
less probable the present policy makes it, up to a cap:

    w_t = min(pi(y_t | y_<t) / pi_sampler(y_t | y_<t), cap)

with pi the policy at the start of the iteration, the proximal one, whose
ratio to the policy in training is the surrogate's own affair. This is
`gates.truncated_importance`; token costs are not weighed, as in its source.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

from flax import struct
from ml_collections import ConfigDict

from jaxrl_llm import update
from jaxrl_llm.objectives import base, gates
from jaxrl_llm.plans import recorded
from jaxrl_llm.reads import united
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.types import Array, Rollouts, Scores


class Waiting(struct.PyTreeNode):
  """Verified responses that are not learned from yet.

  Attributes:
    rollouts: N rows. scores: of their verifiers.
    metrics: scalars, what the plan and the verifiers counted.
  """

  rollouts: Rollouts
  scores: Scores
  metrics: Mapping[str, Array]


def corrected(recipe: Recipe, config: ConfigDict) -> Recipe:
  """The recipe with the weights of rows that are one step old.

  A gate of the recipe's own multiplies them. A recipe that weighs by its
  sampler's log-probs already stays as it is: a second correction would count
  the same lag twice.

  Raises:
    ValueError: a recipe that cannot learn from such rows, and why.
  """
  why = _refusal(recipe, config)
  if why:
    raise ValueError(
      f'pipeline=1 does not go with this run: {why}. Set pipeline=0, or '
      'choose another recipe'
    )
  if corrects_itself(recipe):
    return recipe
  objective = recipe.objective
  assert isinstance(objective, base.PolicyGradient)  # others were refused
  gate: Callable = partial(gates.truncated_importance, cap=config.pipeline_cap)
  if objective.gate is not base.every_token:
    gate = gates.Product(objective.gate, gate)
  objective = dataclasses.replace(objective, gate=gate)
  return dataclasses.replace(recipe, objective=objective)


def corrects_itself(recipe: Recipe) -> bool:
  """Whether the recipe weighs by the log-probs of its sampler."""
  return 'sampler_logp' in united(recipe.objective.parts)


def _refusal(recipe: Recipe, config: ConfigDict) -> str:
  """Why rows of an older policy are of no use to the recipe; '' if they are."""
  if isinstance(recipe.plan, recorded.Recorded):
    return 'recorded responses are not sampled, so nothing is there to overlap'
  if not recipe.plan.contract.may_lag:
    return (
      f'the plan {type(recipe.plan).__name__} reads more of the present run '
      "than its policy, or has rows that are not the policy's own samples"
    )
  if not isinstance(recipe.objective, base.PolicyGradient):
    return (
      'its losses are of whole responses, which no weights of tokens correct'
    )
  if recipe.update is not update.single:
    return (
      'its update rule evaluates losses away from the policy that the '
      'iteration starts with'
    )
  if config.optimizer.name == 'hessian_aided':
    return (
      'optimizer.name=hessian_aided evaluates losses away from the policy '
      'that the iteration starts with'
    )
  if not config.verify.names:
    return (
      'a checkpoint keeps the scores of the rows that wait, and there are '
      'none without verifiers; put one into verify.names, with weight 0'
    )
  return ''
