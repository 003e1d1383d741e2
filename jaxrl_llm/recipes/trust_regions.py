"""Entries that mainly change the ratio or the trust region."""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import group, tokens
from jaxrl_llm.credit import chain, estimate, refine, shape, weigh
from jaxrl_llm.objectives import aggregate, costs, sequence, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.recipe import Paper, Recipe, register
from jaxrl_llm.rewards import length
from jaxrl_llm.rollouts import plans
from jaxrl_llm.selection import filters


@register(
  Paper('Proximal Policy Optimization Algorithms', '1707.06347'),
  joints=('surrogate', 'advantage', 'critic'),
)
def ppo(
  *,
  samples: int = 1,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  discount: float = 1.0,
  trace: float = 0.95,
  value_weight: float = 0.5,
  value_clip: float = 0.2,
  entropy_weight: float = 0.0,
  epochs: int = 4,
  minibatches: int = 4,
) -> Recipe:
  """A clipped ratio, a critic, and generalised advantage estimation."""
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=chain(
      tokens.GAE(discount=discount, trace=trace), refine(tokens.whiten_batch)
    ),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high),
      value=Cost(
        partial(costs.squared_value_error, clip=value_clip), value_weight
      ),
      entropy=Cost(costs.negative_entropy, entropy_weight),
    ),
    aggregate=aggregate.token_mean,
    epochs=epochs,
    minibatches=minibatches,
  )


@register(
  Paper('DAPO: An Open-Source LLM RL System at Scale', '2503.14476'),
  joints=('selection', 'surrogate', 'aggregate', 'reward'),
)
def dapo(
  *,
  samples: int = 16,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  buffer: float = 0.0,
  rounds: int = 4,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """Decoupled clip, dynamic sampling, token-level loss, overlong penalty.

  The paper's overlong buffer is 4096 of 20480 tokens; it depends on the
  response budget, so it is off until `buffer` is set. The filter reads the
  rewards before the penalty: the paper drops groups that are all right or
  all wrong.
  """
  return Recipe(
    plan=plans.refill(filters.mixed_groups, samples=samples, rounds=rounds),
    credit=chain(
      weigh(filters.mixed_groups),
      shape(length.overlong, buffer=buffer),
      estimate(group.norm, epsilon=epsilon),
    ),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high)
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper('Group Sequence Policy Optimization', '2507.18071'),
  joints=('surrogate',),
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
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(sequence.sequence_clip, low=clip_low, high=clip_high)
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'MiniMax-M1: Scaling Test-Time Compute Efficiently with Lightning '
    'Attention',
    '2506.13585',
  ),
  joints=('surrogate', 'aggregate'),
)
def cispo(
  *,
  samples: int = 8,
  clip_low: float = 1.0,
  clip_high: float = 4.0,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """A bounded importance weight that never silences a token."""
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(surrogates.clip_weight, low=clip_low, high=clip_high)
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )
