"""Entries that mainly change how rewards become advantages."""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import group, tokens
from jaxrl_llm.credit import chain, estimate, estimate_tokens, refine
from jaxrl_llm.objectives import aggregate, costs, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.recipe import Paper, Recipe, register
from jaxrl_llm.rollouts import plans


@register(
  Paper(
    'Simple Statistical Gradient-Following Algorithms for Connectionist '
    'Reinforcement Learning'
  ),
  joints=('advantage',),
)
def reinforce(*, samples: int = 8, entropy_weight: float = 0.0) -> Recipe:
  """Reward times score function, without a baseline."""
  return Recipe(
    plan=plans.independent(samples=samples),
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
  ),
  joints=('advantage',),
)
def rloo(*, samples: int = 4, kl_weight: float = 0.0) -> Recipe:
  """The mean of a prompt's other samples as the baseline.

  The paper's KL penalty sits inside the reward; here `kl_weight` is that of
  the k2 cost, which has the same gradient per token given the prefix.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
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
  ),
  joints=('advantage',),
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
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high),
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Understanding R1-Zero-Like Training: A Critical Perspective',
    '2503.20783',
  ),
  joints=('advantage', 'aggregate'),
)
def dr_grpo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  minibatches: int = 1,
) -> Recipe:
  """GRPO without the division by the spread and by the length."""
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high)
    ),
    aggregate=aggregate.budget_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'REINFORCE++: Stabilizing Critic-Free Policy Optimization with Global '
    'Advantage Normalization',
    '2501.03262',
  ),
  joints=('advantage',),
)
def reinforce_plus_plus(
  *,
  samples: int = 1,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.01,
  decay: float = 1.0,
  minibatches: int = 1,
) -> Recipe:
  """KL-penalised reward to go, normalised over the whole batch."""
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=chain(
      estimate_tokens(tokens.kl_reward_to_go, kl_weight=kl_weight, decay=decay),
      refine(tokens.whiten_batch),
    ),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high)
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )
