"""Entries whose ratio is of the whole sequence."""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import group
from jaxrl_llm.credit import estimate
from jaxrl_llm.objectives import aggregate, regions, sequence, surrogates
from jaxrl_llm.objectives.base import policy_gradient
from jaxrl_llm.plans import sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register

_DHPO = (
  'Orchestrating Tokens and Sequences: Dynamic Hybrid Policy Optimization for '
  'RLVR'
)


@register(
  Paper('Group Sequence Policy Optimization', '2507.18071'),
  Limit('grpo', {}, {'kl_weight': 0.0}, on_policy=True),
)
def gspo(
  *,
  samples: int = 8,
  clip_low: float = 3e-4,
  clip_high: float = 4e-4,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """The ratio of the whole sequence, clipped as one."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      sequence.sequence_clip, low=clip_low, high=clip_high
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper('Geometric-Mean Policy Optimization', '2507.20673'),
  Limit('grpo', {}, {'kl_weight': 0.0}, on_policy=True),
)
def gmpo(
  *,
  samples: int = 8,
  clip_low: float = 0.4,
  clip_high: float = 0.4,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """The geometric mean of token ratios, each clipped before the mean."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      sequence.geometric_clip, low=clip_low, high=clip_high
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(_DHPO, '2601.05607', 'VERIFIED-2'),
  Limit('grpo', {'weight': 1.0}, {'kl_weight': 0.0}),
  Limit('gspo', {'weight': 0.0}),
)
def dhpo(
  *,
  samples: int = 8,
  weight: float = 0.5,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  sequence_low: float = 3e-4,
  sequence_high: float = 4e-4,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """Token and sequence objectives, each clipped, then averaged."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      sequence.hybrid_clip,
      weight=weight,
      low=clip_low,
      high=clip_high,
      sequence_low=sequence_low,
      sequence_high=sequence_high,
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(Paper(_DHPO, '2601.05607', 'ABSTRACT'), Limit('dhpo', on_policy=True))
def dhpo_entropy(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  sequence_low: float = 3e-4,
  sequence_high: float = 4e-4,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """DHPO with the token branch weighing more at uncertain tokens.

  Deviates: reconstructed from the abstract: which branch the entropy favours
  could not be read.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      sequence.entropy_hybrid_clip,
      low=clip_low,
      high=clip_high,
      sequence_low=sequence_low,
      sequence_high=sequence_high,
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Length-Unbiased Sequence Policy Optimization: Revealing and Controlling '
    'Response Length Variation in RLVR',
    '2602.05261',
  )
)
def luspo(
  *,
  samples: int = 8,
  clip_low: float = 2e-3,
  clip_high: float = 2.5e-3,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """GSPO with each response weighed by its length."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      sequence.sequence_clip, low=clip_low, high=clip_high
    ),
    minibatches=minibatches,
  )


@register(
  Paper(
    'VESPO: Variational Sequence-level Soft Policy Optimization for Off-Policy '
    'LLM Training',
    '2602.10693',
  ),
  Limit('dapo', {}, {'rounds': 1}, on_policy=True, up_to_scale=True),
)
def vespo(
  *,
  samples: int = 8,
  up_power: float = 2.0,
  up_decay: float = 3.0,
  down_power: float = 3.0,
  down_decay: float = 2.0,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """A smooth weight of the response's ratio in place of a clip.

  Deviates: the ratio of learner and sampler is left out of the weight.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.score_function,
      gate=partial(
        regions.gamma_weight,
        up=(up_power, up_decay),
        down=(down_power, down_decay),
      ),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )
