"""Entries with several rewards: groups of people, ensembles, objectives."""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import group
from jaxrl_llm.credit import estimate
from jaxrl_llm.objectives import aggregate, barrier, costs, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Paper, register
from jaxrl_llm.rewards import combine

_ENSEMBLES = Paper(
  'Reward Model Ensembles Help Mitigate Overoptimization', '2310.02743'
)


@register(
  Paper(
    'MaxMin-RLHF: Alignment with Diverse Human Preferences',
    '2402.08925',
    'VERIFIED-2',
    other_titles=(
      'MaxMin-RLHF: Towards Equitable Alignment of Large Language Models '
      'with Diverse Human Preferences',
    ),
  )
)
def maxmin_rlhf(
  *, samples: int = 8, kl_weight: float = 0.04, minibatches: int = 1
) -> Recipe:
  """Each step raises the reward of the group of people it serves worst.

  One verifier, or reward model, for each group of people.

  Deviates: GRPO takes the step, in place of PPO.

  No limit: how many groups of people there are is the run's; with one it is
  `grpo`.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    combine=combine.least_served,
    credit=estimate(group.norm),
    objective=policy_gradient(
      surrogates.clip, low=0.2, high=0.2, kl=Cost(costs.k3, kl_weight)
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(_ENSEMBLES)
def worst_case_ensemble(
  *, samples: int = 8, kl_weight: float = 0.04, minibatches: int = 1
) -> Recipe:
  """The least reward of an ensemble (WCO), one verifier for each model.

  Deviates: GRPO maximises it, in place of PPO.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    combine=combine.worst_model,
    credit=estimate(group.norm),
    objective=policy_gradient(
      surrogates.clip, low=0.2, high=0.2, kl=Cost(costs.k3, kl_weight)
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(_ENSEMBLES)
def certain_ensemble(
  *,
  samples: int = 8,
  penalty: float = 0.1,
  kl_weight: float = 0.04,
  minibatches: int = 1,
) -> Recipe:
  """The mean reward of an ensemble less its variance (UWO).

  One verifier for each model; without penalty, mean optimisation.

  Deviates: GRPO maximises it, in place of PPO.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    combine=partial(combine.certain_models, penalty=penalty),
    credit=estimate(group.norm),
    objective=policy_gradient(
      surrogates.clip, low=0.2, high=0.2, kl=Cost(costs.k3, kl_weight)
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'C-MORL: Multi-Objective Reinforcement Learning through Efficient '
    'Discovery of Pareto Front',
    '2410.02236',
  )
)
def c_morl(
  *,
  samples: int = 8,
  clip: float = 0.2,
  objective: int = 0,
  kept: float = 0.9,
  sharpness: float = 20.0,
  minibatches: int = 4,
) -> Recipe:
  """One objective raised behind a log barrier for the others.

  `objective` is the verifier to raise. The choice of starting policies along
  the front is `tabular.pareto`'s.

  Deviates: advantages are normalised within groups, in place of a critic's,
  and tokens averaged within each response.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    combine=partial(combine.one_of, objective=objective),
    credit=estimate(group.norm),
    objective=policy_gradient(
      barrier.interior,
      low=clip,
      high=clip,
      objective=objective,
      kept=kept,
      sharpness=sharpness,
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )
