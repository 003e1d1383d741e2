"""Entries that correct for a sampler that is not quite the learner."""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import group
from jaxrl_llm.credit import estimate
from jaxrl_llm.objectives import aggregate, gates, surrogates
from jaxrl_llm.objectives.base import policy_gradient
from jaxrl_llm.plans import sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Paper, register


@register(
  Paper(
    'Your Efficient RL Framework Secretly Brings You Off-Policy RL Training'
  )
)
def sampler_truncated(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  cap: float = 2.0,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """Truncated importance weights of the learner over the sampler (TIS).

  `cap` is the authors' for a model of 0.5B parameters; they take 8 for 32B.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      gate=partial(gates.truncated_importance, cap=cap),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'When Speed Kills Stability: Demystifying RL Collapse from the '
    'Training-Inference Mismatch'
  )
)
def sampler_truncated_sequence(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  cap: float = 2.0,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """One truncated weight of the learner over the sampler per response."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      gate=partial(gates.sequence_truncated_importance, cap=cap),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Small Leak Can Sink a Great Ship: Boost RL Training on MoE with IcePop',
    '',
    'VERIFIED-2',
  )
)
def sampler_masked(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  floor: float = 0.5,
  cap: float = 5.0,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """Tokens on which learner and sampler disagree leave the gradient."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      gate=partial(gates.masked_importance, floor=floor, cap=cap),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper('OpenRLHF: An Easy-to-use, Scalable RLHF Framework', '2405.11143')
)
def sampler_masked_sequence(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  floor: float = 0.5,
  cap: float = 5.0,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """Responses on which learner and sampler disagree leave the gradient.

  The bounds are OpenRLHF's defaults, which it shares with corrections of
  single tokens; for the mean of a response verl takes 0.999 and 1.001.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      gate=partial(gates.sequence_masked_importance, floor=floor, cap=cap),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )
