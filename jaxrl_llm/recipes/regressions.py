"""Entries whose loss regresses or compares whole responses."""

from __future__ import annotations

from jaxrl_llm.advantages import baselines, critics, group
from jaxrl_llm.credit import estimate, estimate_tokens
from jaxrl_llm.objectives import aggregate, costs, grouped, offline, preference
from jaxrl_llm.objectives.base import Cost, row_losses
from jaxrl_llm.objectives.grouped import pair_losses
from jaxrl_llm.plans import resampled, sampled, stepwise
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Paper, register
from jaxrl_llm.selection import pairs


@register(
  Paper('Kimi k1.5: Scaling Reinforcement Learning with LLMs', '2501.12599')
)
def opmd_regression(
  *, samples: int = 8, weight: float = 0.1, minibatches: int = 4
) -> Recipe:
  """The move of a response regressed on its advantage."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.centre),
    objective=row_losses(offline.proximal_regression, weight=weight),
    minibatches=minibatches,
  )


@register(
  Paper(
    'GVPO: Group Variance Policy Optimization for Large Language Model '
    'Post-Training',
    '2504.19599',
  )
)
def gvpo(
  *, samples: int = 4, weight: float = 0.1, minibatches: int = 4
) -> Recipe:
  """Moves regressed on rewards, both less the mean of their group."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.centre),
    objective=row_losses(
      offline.centred_regression, weight=weight, samples=samples
    ),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Accelerating RL for LLM Reasoning with Optimal Advantage Regression',
    '2505.20686',
    'VERIFIED-2',
  )
)
def a_star_po(
  *, samples: int = 1, weight: float = 1e-3, minibatches: int = 1
) -> Recipe:
  """The log-ratio regressed on the reward less the optimal value of the prompt.

  Every question of the data has that value, `predicted_reward`: b log mean
  e^(r / b) over 8 responses of the reference, with b = 0.5.

  Deviates: the first stage, which samples those responses and leaves out
  questions that all of them fail, is not part of it. The loss is the paper's
  over 2 weight^2.
  """
  return Recipe(
    plan=sampled.independent(samples=samples, columns=('predicted_reward',)),
    credit=estimate_tokens(baselines.minus_predicted),
    objective=row_losses(offline.advantage_regression, weight=weight),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Contrastive Policy Gradient: Aligning LLMs on Sequence-Level Scores in '
    'a Supervised-Friendly Fashion',
    '2406.19185',
    'VERIFIED-2',
  )
)
def copg(
  *, samples: int = 4, weight: float = 0.1, minibatches: int = 4
) -> Recipe:
  """Pairs of responses, each the other's baseline, KL inside.

  Known by its gradient, that of the squared difference of two regularised
  rewards, as a later report of its authors has it. The weight is ours.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.leave_one_out),
    objective=row_losses(offline.contrastive, weight=weight, samples=samples),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Improving Multi-Step Reasoning Abilities of Large Language Models with '
    'Direct Advantage Policy Optimization',
    '2412.18279',
  )
)
def direct_advantage(
  *,
  samples: int = 8,
  first: int = 100,
  end: str = '\n',
  weight: float = 0.1,
  value_weight: float = 1.0,
  minibatches: int = 4,
) -> Recipe:
  """A critic first, then log-ratios of steps regressed on its advantages.

  No limit: no other entry has steps of groups that a critic compares.

  Deviates: the critic is a head of the policy, which is held to the reference
  while that learns, where the paper's is a model of its own; it learns from the
  outcome of single responses, there from those of several behind each step.
  States and steps are the policy's of then, in the paper recorded ones.
  """
  return Recipe(
    plan=stepwise.Stepwise(samples=samples, first=first, end=end),
    credit=critics.StepValues(),
    objective=row_losses(
      offline.advantage_regression,
      weight=weight,
      value=Cost(costs.step_value_error, value_weight),
    ),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Trust Region Preference Approximation: A Simple and Stable '
    'Reinforcement Learning Algorithm for LLM Reasoning',
    '2504.04524',
  )
)
def trpa(
  *,
  samples: int = 8,
  weight: float = 0.1,
  best_scale: float = 2.5,
  best: float = 1.0,
  kl_weight: float = 1e-3,
  minibatches: int = 4,
) -> Recipe:
  """Better responses preferred to worse ones, near the old policy.

  Levels are those of the reward; `best` is the reward of the first one.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.centre),
    objective=row_losses(
      offline.pairwise_preference,
      weight=weight,
      best_scale=best_scale,
      best=best,
      samples=samples,
      proximal=Cost(costs.old_k3, kl_weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


_DISCO = Paper(
  'DisCO: Reinforcing Large Reasoning Models with Discriminative '
  'Constrained Optimization',
  '2505.12366',
)


@register(_DISCO)
def disco(
  *,
  samples: int = 8,
  temperature: float = 10.0,
  hinge: float = 1e3,
  limit: float = 1e-4,
  minibatches: int = 4,
) -> Recipe:
  """Correct responses score above the hardest wrong ones."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.centre),
    objective=row_losses(
      offline.discriminative,
      temperature=temperature,
      hinge=hinge,
      limit=limit,
      samples=samples,
    ),
    minibatches=minibatches,
  )


@register(_DISCO)
def disco_mean(
  *,
  samples: int = 8,
  hinge: float = 1e3,
  limit: float = 1e-4,
  minibatches: int = 4,
) -> Recipe:
  """Correct responses score above the mean wrong one (DisCO-b)."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.centre),
    objective=row_losses(
      offline.mean_discriminative, hinge=hinge, limit=limit, samples=samples
    ),
    minibatches=minibatches,
  )


@register(
  Paper(
    'REBEL: Reinforcement Learning via Regressing Relative Rewards',
    '2404.16767',
  )
)
def rebel(
  *, samples: int = 2, scale: float = 1.0, minibatches: int = 4
) -> Recipe:
  """Moves of the policy regressed on differences of rewards."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      preference.regression,
      grouped.to_iterate,
      scale=scale,
      samples=samples,
      among=pairs.every,
    ),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Regressing the Relative Future: Efficient Policy Optimization for '
    'Multi-turn RLHF',
    '2410.04612',
  )
)
def refuel(
  *, samples: int = 2, turns: int = 4, scale: float = 1.0, minibatches: int = 4
) -> Recipe:
  """REBEL on one turn of a dialogue, with the rewards of two futures.

  The rows of a group share a dialogue up to one of its turns; tokens of that
  turn alone enter the margin.
  """
  return Recipe(
    plan=resampled.Resampled(samples=samples, turns=turns),
    objective=pair_losses(
      preference.regression,
      grouped.to_iterate_in_turn,
      scale=scale,
      samples=samples,
      among=pairs.every,
    ),
    minibatches=minibatches,
  )
