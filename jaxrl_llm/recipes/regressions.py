"""Entries whose loss classifies, regresses or imitates whole responses."""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import group, targets
from jaxrl_llm.credit import chain, estimate, estimate_tokens, weigh
from jaxrl_llm.objectives import (
  aggregate,
  costs,
  gates,
  offline,
  supervised,
  surrogates,
)
from jaxrl_llm.objectives.base import Cost, policy_gradient, row_losses
from jaxrl_llm.recipe import Limit, Paper, Recipe, register
from jaxrl_llm.rollouts import plans
from jaxrl_llm.selection import filters

_REC = 'Group-Relative REINFORCE Is Secretly an Off-Policy Algorithm'
_DISCO = (
  'DisCO: Reinforcing Large Reasoning Models with Discriminative '
  'Constrained Optimization'
)


@register(
  Paper(_REC, '2509.24203'),
  joints=('gate', 'surrogate'),
  limits=(Limit('grpo', {}, {'kl_weight': 0.0}, on_policy=True),),
)
def rec_one_side(
  *,
  samples: int = 8,
  low: float = 0.2,
  high: float = 0.2,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """Constant importance weights, and PPO's region as a gate.

  Its gradient is that of PPO's clip, which is thereby a weighted REINFORCE.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.importance_weight,
      gate=partial(gates.one_side, low=low, high=high),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(_REC, '2509.24203'),
  joints=('gate', 'surrogate'),
  limits=(Limit('dr_grpo', on_policy=True, up_to_scale=True),),
)
def rec_two_side(
  *,
  samples: int = 8,
  low: float = 0.2,
  high: float = 0.2,
  minibatches: int = 4,
) -> Recipe:
  """REINFORCE without importance weights on tokens near the old policy."""
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.score_function,
      gate=partial(gates.two_side, low=low, high=high),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(_REC, '2509.24203'),
  joints=('gate', 'surrogate'),
  limits=(Limit('rec_two_side', {'far_low': 1.0, 'far_high': 1e9}),),
)
def rec_ring(
  *,
  samples: int = 8,
  low: float = 0.2,
  high: float = 0.2,
  far_low: float = 0.6,
  far_high: float = 2.0,
  minibatches: int = 4,
) -> Recipe:
  """REINFORCE near the old policy, and where a token strayed far from it."""
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.score_function,
      gate=partial(
        gates.ring, low=low, high=high, far_low=far_low, far_high=far_high
      ),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(Paper(_REC, '2509.24203'), joints=('gate', 'surrogate'))
def red_weight(
  *, samples: int = 8, temperature: float = 1.0, minibatches: int = 4
) -> Recipe:
  """REINFORCE with samples weighted by their exponential advantage."""
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.score_function,
      gate=partial(gates.exponential_advantage, temperature=temperature),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper('Kimi k1.5: Scaling Reinforcement Learning with LLMs', '2501.12599'),
  joints=('loss',),
)
def opmd_regression(
  *, samples: int = 8, weight: float = 0.1, minibatches: int = 4
) -> Recipe:
  """The move of a response regressed on its advantage."""
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.centre),
    objective=row_losses(partial(offline.proximal_regression, weight=weight)),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Contrastive Policy Gradient: Aligning LLMs on Sequence-Level Scores in '
    'a Supervised-Friendly Fashion',
    '2406.19185',
    'RECALLED',
  ),
  joints=('loss',),
)
def copg(
  *, samples: int = 4, weight: float = 0.1, minibatches: int = 4
) -> Recipe:
  """Pairs of responses, each the other's baseline, KL inside. Recalled."""
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.leave_one_out),
    objective=row_losses(
      partial(offline.contrastive, weight=weight), samples=samples
    ),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Improving Multi-Step Reasoning Abilities of Large Language Models with '
    'Direct Advantage Policy Optimization',
    '2412.18279',
  ),
  joints=('loss',),
)
def direct_advantage(
  *, samples: int = 8, weight: float = 0.1, minibatches: int = 4
) -> Recipe:
  """The log-ratio to the reference regressed on the advantage.

  A step is a whole response, and the group's mean stands for the trained
  critic.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.centre),
    objective=row_losses(partial(offline.advantage_regression, weight=weight)),
    minibatches=minibatches,
  )


@register(Paper(_DISCO, '2505.12366'), joints=('loss',))
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
    plan=plans.independent(samples=samples),
    credit=estimate(group.centre),
    objective=row_losses(
      partial(
        offline.discriminative,
        temperature=temperature,
        hinge=hinge,
        limit=limit,
      ),
      samples=samples,
    ),
    minibatches=minibatches,
  )


@register(Paper(_DISCO, '2505.12366'), joints=('loss',))
def disco_mean(
  *,
  samples: int = 8,
  hinge: float = 1e3,
  limit: float = 1e-4,
  minibatches: int = 4,
) -> Recipe:
  """Correct responses score above the mean wrong one (DisCO-b)."""
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.centre),
    objective=row_losses(
      partial(offline.mean_discriminative, hinge=hinge, limit=limit),
      samples=samples,
    ),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Trust Region Preference Approximation: A Simple and Stable '
    'Reinforcement Learning Algorithm for LLM Reasoning',
    '2504.04524',
  ),
  joints=('loss', 'cost'),
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
    plan=plans.independent(samples=samples),
    credit=estimate(group.centre),
    objective=row_losses(
      partial(
        offline.pairwise_preference,
        weight=weight,
        best_scale=best_scale,
        best=best,
      ),
      samples=samples,
      proximal=Cost(costs.old_k3, kl_weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Bridging Supervised Learning and Reinforcement Learning in Math Reasoning',
    '2505.18116',
  ),
  joints=('surrogate', 'selection'),
)
def nft(
  *,
  samples: int = 8,
  spread: float = 0.0,
  budget: int = 0,
  minibatches: int = 4,
) -> Recipe:
  """Likelihood of successes, and of an implicit policy of failures.

  The published sum over tokens / 1000 is `budget`, here by default the
  response budget of the run.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=chain(weigh(filters.mixed_groups), estimate(group.centre)),
    objective=policy_gradient(
      partial(supervised.implicit_negative, spread=spread), samples=samples
    ),
    aggregate=partial(aggregate.budget_mean, budget=budget),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Exploring the Limit of Outcome Reward for Learning Mathematical Reasoning',
    '2502.06781',
  ),
  joints=('gate', 'cost', 'aggregate'),
)
def oreal(
  *,
  samples: int = 16,
  negative: float = 0.5,
  kl_weight: float = 0.01,
  minibatches: int = 1,
) -> Recipe:
  """Successes and failures averaged apart, failures at half weight.

  Without the paper's token reward model and its choice of one success and
  one failure per prompt.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.leave_one_out),
    objective=policy_gradient(
      surrogates.score_function,
      gate=partial(supervised.balanced_signs, negative=negative),
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Leftover Lunch: Advantage-based Offline Reinforcement Learning for '
    'Language Models',
    '2305.14718',
  ),
  joints=('gate',),
)
def a_lol(
  *, samples: int = 8, clip: float = 0.9, minibatches: int = 4
) -> Recipe:
  """Weighted likelihood of better-than-average responses.

  The paper learns offline, values prompts by a head and draws rows in
  proportion to A; here rows are fresh, the group's mean is the value, and
  all rows are used once.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.score_function,
      gate=partial(supervised.leftover_importance, clip=clip),
    ),
    minibatches=minibatches,
  )


@register(
  Paper(
    'RL with KL Penalties Is Better Viewed as Bayesian Inference',
    '2205.11275',
  ),
  joints=('advantage',),
)
def tilted_reference(*, samples: int = 8, weight: float = 0.5) -> Recipe:
  """Distributional control: the KL from the reward-tilted reference.

  The normaliser is the group's mean in place of a moving average, and
  proposals are fresh samples.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate_tokens(targets.tilted_target, weight=weight),
    objective=policy_gradient(surrogates.score_function),
  )


@register(
  Paper(
    'Towards a Unified View of Large Language Model Post-Training',
    '2509.04419',
  ),
  joints=('advantage',),
)
def hpt(*, samples: int = 8, gate: float = 0.0, weight: float = 1.0) -> Recipe:
  """Imitation where the policy fails, reinforcement where it succeeds.

  The plan provides rows written by another policy, marked `offline`.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate_tokens(targets.switched, gate=gate, weight=weight),
    objective=policy_gradient(surrogates.score_function),
    aggregate=aggregate.token_mean,
  )


@register(
  Paper('Understanding Tool-Integrated Reasoning', '2508.19201'),
  joints=('advantage',),
  limits=(Limit('grpo', {'delta': 0.0}, {'kl_weight': 0.0}),),
)
def aspo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  delta: float = -2.0,
  bound: float = 0.7,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """Good responses earn more the earlier they use their tool.

  The plan provides `tool_start`, the place of the first token of a call.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate_tokens(
      targets.timed_tools, delta=delta, bound=bound, epsilon=epsilon
    ),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high)
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'APO: Enhancing Reasoning Ability of MLLMs via Asymmetric Policy '
    'Optimization',
    '2506.21655',
  ),
  joints=('advantage', 'cost'),
  limits=(Limit('apo_difficulty', {'base': 1.0}),),
)
def apo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 1e-3,
  base: float = 1.00001,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """KL released on rare successes, and long failures that weigh more."""
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate_tokens(targets.longer_failures, base=base, epsilon=epsilon),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high),
      samples=samples,
      kl=Cost(costs.difficulty_k3, kl_weight),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )
