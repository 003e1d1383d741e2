"""Entries that mainly change how rewards become advantages."""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import group, subsets, tokens
from jaxrl_llm.credit import chain, estimate, estimate_tokens, refine, weigh
from jaxrl_llm.objectives import aggregate, costs, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.rewards import combine
from jaxrl_llm.selection import filters, weights


@register(
  Paper(
    'Simple Statistical Gradient-Following Algorithms for Connectionist '
    'Reinforcement Learning'
  )
)
def reinforce(*, samples: int = 8, entropy_weight: float = 0.0) -> Recipe:
  """Reward times score function, without a baseline."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=policy_gradient(
      surrogates.score_function,
      entropy=Cost(costs.negative_entropy, entropy_weight),
    ),
  )


@register(
  Paper(
    'Back to Basics: Revisiting REINFORCE Style Optimization for Learning '
    'from Human Feedback in LLMs',
    '2402.14740',
  )
)
def rloo(*, samples: int = 4, kl_weight: float = 0.0) -> Recipe:
  """The mean of a prompt's other samples as the baseline.

  Deviates: the paper's KL penalty sits inside the reward; here `kl_weight` is
  that of the k2 cost, which has the same gradient per token given the prefix.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.leave_one_out),
    objective=policy_gradient(
      surrogates.score_function, kl=Cost(costs.k2, kl_weight)
    ),
  )


@register(
  Paper(
    'DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open '
    'Language Models',
    '2402.03300',
  )
)
def grpo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.04,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """Rewards normalised within the group of a prompt's samples."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Understanding R1-Zero-Like Training: A Critical Perspective', '2503.20783'
  )
)
def dr_grpo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  minibatches: int = 8,
) -> Recipe:
  """GRPO without the division by the spread and by the length."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.budget_mean,
    minibatches=minibatches,
  )


_REINFORCE_PLUS_PLUS = Paper(
  'REINFORCE++: Stabilizing Critic-Free Policy Optimization with Global '
  'Advantage Normalization',
  '2501.03262',
)


@register(_REINFORCE_PLUS_PLUS)
def reinforce_plus_plus(
  *,
  samples: int = 1,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.01,
  decay: float = 1.0,
  minibatches: int = 8,
) -> Recipe:
  """KL-penalised reward to go, normalised over the whole batch."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(
      estimate_tokens(tokens.kl_reward_to_go, kl_weight=kl_weight, decay=decay),
      refine(tokens.whiten_batch),
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(_REINFORCE_PLUS_PLUS)
def reinforce_plus_plus_baseline(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.01,
  minibatches: int = 1,
) -> Recipe:
  """Centred within the group, normalised over the tokens of the batch.

  The KL is the k2 cost, as in OpenRLHF, the authors' trainer.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(estimate(group.centre), refine(tokens.whiten_batch)),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      kl=Cost(costs.k2, kl_weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(Paper('BNPO: Beta Normalization Policy Optimization', '2506.02864'))
def bnpo(
  *,
  samples: int = 16,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  low: float = 0.0,
  high: float = 1.0,
  minibatches: int = 1,
) -> Recipe:
  """Rewards normalised by a Beta density fitted to the groups' means.

  Each component is normalised alone.

  Deviates: the components are added by their weights, where the paper averages
  them, and the published code's dual clip is left out.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    combine=partial(
      combine.decoupled, fn=partial(group.norm_by_beta, low=low, high=high)
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Optimizing Safe and Aligned Language Generation: A Multi-Objective GRPO '
    'Approach',
    '2503.21819',
    confidence='ABSTRACT',
  ),
  Limit('grpo'),
)
def multi_objective_grpo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.04,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """GRPO on the weighted sum of several rewards, normalised as one.

  The components and their weights are the run's; `gdpo` normalises each reward
  on its own. The paper's come from one model of several labels: see
  `regression_reward_model`.

  Deviates: reconstructed from the abstract.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'GDPO: Group reward-Decoupled Normalization Policy Optimization for '
    'Multi-reward RL Optimization',
    '2601.05242',
  )
)
def gdpo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  epsilon: float = 1e-4,
  minibatches: int = 1,
) -> Recipe:
  """Every reward normalised on its own, their sum over the batch.

  Rewards that are conditioned on a harder one are an edit of the verifier.

  Deviates: a single reward is treated like several, where the published code
  leaves it to GRPO.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    combine=partial(combine.decoupled, fn=partial(group.norm, epsilon=epsilon)),
    credit=chain(
      estimate(group.reward), refine(tokens.whiten_rows, epsilon=epsilon)
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Harder Is Better: Boosting Mathematical Reasoning via Difficulty-Aware '
    'GRPO and Multi-Aspect Question Reformulation',
    '2601.20614',
  )
)
def dgpo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  temperature: float = 2.0,
  epsilon: float = 1e-4,
  minibatches: int = 1,
) -> Recipe:
  """Equal mass for every group with a signal, then more for harder ones."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(
      weigh(filters.mixed_groups),
      estimate(group.harder_first, temperature=temperature, epsilon=epsilon),
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Part I: Tricks or Traps? A Deep Dive into RL for LLM Reasoning',
    '2508.08221',
  )
)
def lite_ppo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """The group's mean, the batch's spread, and a mean over tokens."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm_by_batch, epsilon=epsilon),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Pass@K Policy Optimization: Solving Harder Reinforcement Learning '
    'Problems',
    '2505.15201',
  )
)
def pkpo(*, samples: int = 16, k: int = 4, minibatches: int = 1) -> Recipe:
  """What a response adds to the best of k: the gradient of E[max of k].

  In the paper k may also be lowered on the way, from 8 to 1 say.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(subsets.max_at_k, k=k),
    minibatches=minibatches,
  )


@register(Paper('Maximum Likelihood Reinforcement Learning', '2602.02710'))
def maxrl(
  *,
  samples: int = 16,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  minibatches: int = 1,
) -> Recipe:
  """Rewards over the success rate: many samples are maximum likelihood.

  Deviates: the loss around the estimator is that of the trainers that have it.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.over_mean),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Real-Time Long Horizon Air Quality Forecasting via Group-Relative Policy '
    'Optimization',
    '2511.22169',
    confidence='VERIFIED-2',
  )
)
def faker_air(
  *,
  samples: int = 4,
  temperature: float = 1.0,
  first: float = 1.0,
  growth: float = 0.1,
) -> Recipe:
  """Every forecast is imitated, by its share in the softmax of its group.

  Forecasts are judged by the class that they fall in, `environments.air`, one
  step ahead at first, and further as training goes on. The first stage,
  `problems.forecasts`, and pairs of opposite noise are settings of a run,
  which `experiments/configs/control.py:faker_air` makes.

  Deviates: the temperature and the growth are ours, and the loss is the mean
  over rows, a factor of 1 / samples. The published code has ranks and a running
  mean where the paper has this softmax, and a KL to the first stage.

  No limit: a row weighs what its group's softmax gives it, at any temperature.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(
      weights.GrowingHorizon(first=first, growth=growth),
      estimate(group.softmax, temperature=temperature),
    ),
    objective=policy_gradient(surrogates.score_function),
    aggregate=aggregate.sequence_sum,
  )
