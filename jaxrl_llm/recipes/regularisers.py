"""Entries that mainly add a cost beside the surrogate, or steer its weight."""

from __future__ import annotations

from functools import partial

from jaxrl_llm import control, reference
from jaxrl_llm.advantages import critics, group, targets, tokens
from jaxrl_llm.credit import chain, estimate, estimate_tokens, refine
from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import passes
from jaxrl_llm.objectives import aggregate, costs, distillation, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register


@register(
  Paper('Approximating KL Divergence', ''), Limit('dr_grpo', {'kl_weight': 0.0})
)
def straight_kl(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.04,
  minibatches: int = 1,
) -> Recipe:
  """Dr. GRPO with k3's value and k2's gradient as its KL cost.

  The straight-through form of verl: the logged value is unbiased and never
  negative, the gradient that of KL(policy || reference) given the prefix.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      kl=Cost(costs.straight_k3, kl_weight),
    ),
    aggregate=aggregate.budget_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'DeepSeek-V3.2: Pushing the Frontier of Open Large Language Models',
    '2512.02556',
    'VERIFIED-2',
  ),
  Limit('grpo', {'kl_weight': 0.0}, {'kl_weight': 0.0}),
)
def weighted_kl(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.04,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """GRPO with k3 under the importance ratio: an unbiased KL, also off-policy.

  The form is read in TRL.

  Deviates: of the paper's changes to GRPO this is the KL estimate alone.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      kl=Cost(costs.weighted_k3, kl_weight),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'On GRPO Collapse in Search-R1: The Lazy Likelihood-Displacement Death '
    'Spiral',
    '2512.04220',
  ),
  Limit('grpo', {'fall_weight': 0.0}, {'kl_weight': 0.0}),
)
def llds(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  fall_weight: float = 0.2,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """A cost on good responses whose likelihood falls.

  Deviates: it is weighted like the policy loss, where the published code
  divides by all response tokens; the gate is of a response, the paper's of
  an agent's action.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      fall=Cost(costs.likelihood_fall, fall_weight),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'KDRL: Post-Training Reasoning LLMs via Unified Knowledge Distillation '
    'and Reinforcement Learning',
    '2506.02208',
    'VERIFIED-2',
  )
)
def kdrl(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  first_weight: float = 5e-3,
  last_weight: float = 1e-3,
  iterations: int = 1000,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """GRPO while distilling a teacher on the student's own samples.

  The teacher is the policy of `teacher.paths`. Its weight falls linearly, the
  best of the paper's schedules; `iterations` is the length of the run.

  Its masks by reward, of responses and of groups, and its other estimate of the
  KL are other costs: --config.slots.costs=failed_teacher_k2:0.002,
  lost_teacher_k2 or teacher_k3.
  """
  weight = control.Linear(first_weight, last_weight, iterations)
  return Recipe(
    plan=notes.noted(sampled.independent(samples=samples), passes.Teacher()),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      teacher=Cost(distillation.teacher_k2, weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'OThink-MR1: Stimulating Multimodal Generalized Reasoning Capabilities '
    'via Dynamic Reinforcement Learning',
    '2503.16081',
  )
)
def grpo_d(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_least: float = 0.04,
  kl_most: float = 0.1,
  turn: float = 0.3,
  iterations: int = 1000,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """A KL coefficient that first falls, then rises.

  `iterations` is the length of the run; `turn` the share of it that falls.
  """
  weight = control.Vee(kl_least, kl_most, iterations, turn)
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip, low=clip_low, high=clip_high, kl=Cost(costs.k3, weight)
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


_APO = Paper(
  'APO: Enhancing Reasoning Ability of MLLMs via Asymmetric Policy '
  'Optimization',
  '2506.21655',
)


@register(_APO, Limit('grpo', {'kl_weight': 0.0}, {'kl_weight': 0.0}))
def apo_difficulty(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 1e-3,
  epsilon: float = 1e-6,
  minibatches: int = 16,
) -> Recipe:
  """A KL cost that is released on rare successes (DADS).

  Deviates: of the paper's two parts this is the one that changes the KL; it
  averages as `apo` does.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      samples=samples,
      kl=Cost(costs.difficulty_k3, kl_weight),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(_APO, Limit('apo_difficulty', {'base': 1.0}))
def apo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 1e-3,
  base: float = 1.00001,
  epsilon: float = 1e-6,
  minibatches: int = 16,
) -> Recipe:
  """KL released on rare successes, and long failures that weigh more.

  Deviates: the clip is averaged within each response, where the published code
  averages over all tokens of a microbatch; the KL is so in both.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate_tokens(targets.longer_failures, base=base, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      samples=samples,
      kl=Cost(costs.difficulty_k3, kl_weight),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'SALSA: Soup-based Alignment Learning for Stronger Adaptation in RLHF',
    '2411.01798',
    'RECALLED',
  ),
  Limit('ppo', {'kl_weight': 0.0}),
)
def salsa(
  *,
  samples: int = 1,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.05,
  discount: float = 1.0,
  trace: float = 0.95,
  value_weight: float = 0.5,
  value_clip: float = 0.2,
  epochs: int = 4,
  minibatches: int = 4,
) -> Recipe:
  """PPO whose KL, in the reward, is to a soup of fine-tuned models.

  The soup is the mean of the policy's first weights and of those that
  `reference.paths` names; `ppo advantage=penalised_gae` is the baseline with a
  KL to the first policy alone.

  Deviates: recalled, the KL's weight too.
  """
  penalised = critics.PenalisedGAE(discount, trace, kl_weight)
  error = partial(costs.squared_value_error, clip=value_clip)
  value = Cost(error, value_weight)
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(penalised, refine(tokens.whiten_batch)),
    objective=policy_gradient(
      surrogates.clip, low=clip_low, high=clip_high, value=value
    ),
    aggregate=aggregate.token_mean,
    reference=reference.Soup(),
    epochs=epochs,
    minibatches=minibatches,
  )


@register(Paper('Demonstration-Regularized RL', '2310.17303', 'RECALLED'))
def demonstration_regularised(
  *, samples: int = 4, kl_weight: float = 0.05
) -> Recipe:
  """KL, inside the reward, to a policy cloned from demonstrations.

  The cloned policy is the model the run starts from, after supervised learning
  on the demonstrations. The reward less the KL to go is compared with what the
  group's others return.

  In a finite environment that is learned `tabular.optimism` plans with the
  same objective, optimistically, as the paper does.

  Deviates: recalled.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(
      estimate_tokens(tokens.kl_reward_to_go, kl_weight=kl_weight),
      refine(tokens.less_others),
    ),
  )
