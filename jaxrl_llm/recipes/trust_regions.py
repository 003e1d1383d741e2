"""Entries that mainly change the ratio or the trust region."""

from __future__ import annotations

import math
from functools import partial

from jaxrl_llm import update
from jaxrl_llm.advantages import critics, group, tokens
from jaxrl_llm.credit import chain, estimate, refine, shape, weigh
from jaxrl_llm.objectives import (
  adaptive,
  aggregate,
  costs,
  gates,
  sequence,
  surrogates,
)
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.recipe import Limit, Paper, Recipe, register
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
  limits=(Limit('grpo', {}, {'kl_weight': 0.0}, on_policy=True),),
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
  limits=(Limit('dapo', on_policy=True, up_to_scale=True),),
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


@register(
  Paper(
    'Mastering Complex Control in MOBA Games with Deep Reinforcement Learning',
    '1912.09729',
  ),
  joints=('surrogate',),
  limits=(Limit('grpo', {'bound': math.inf}, {'kl_weight': 0.0}),),
)
def dual_clip(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  bound: float = 3.0,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """A bound on the loss of negative advantages, over GRPO's.

  The paper plays games with a critic; the bound is that of language-model
  trainers, which took it over.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(surrogates.dual_clip, low=clip_low, high=clip_high, bound=bound)
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper('Geometric-Mean Policy Optimization', '2507.20673', 'VERIFIED-2'),
  joints=('surrogate',),
  limits=(Limit('grpo', {}, {'kl_weight': 0.0}, on_policy=True),),
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
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(sequence.geometric_clip, low=clip_low, high=clip_high)
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper('Soft Adaptive Policy Optimization', '2511.20347'),
  joints=('surrogate',),
  limits=(Limit('grpo', {}, {'kl_weight': 0.0}, on_policy=True),),
)
def sapo(
  *,
  samples: int = 8,
  up: float = 1.0,
  down: float = 1.05,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """A sigmoid gate on the ratio, tighter for negative advantages."""
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(partial(surrogates.soft_clip, up=up, down=down)),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper('DHPO: Dynamic Hybrid Policy Optimization', '2601.05607', 'VERIFIED-2'),
  joints=('surrogate',),
  limits=(
    Limit('grpo', {'weight': 1.0}, {'kl_weight': 0.0}),
    Limit('gspo', {'weight': 0.0}),
  ),
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
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(
        sequence.hybrid_clip,
        weight=weight,
        low=clip_low,
        high=clip_high,
        sequence_low=sequence_low,
        sequence_high=sequence_high,
      )
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper('DHPO: Dynamic Hybrid Policy Optimization', '2601.05607', 'ABSTRACT'),
  joints=('surrogate',),
  limits=(Limit('dhpo', on_policy=True),),
)
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

  Reconstructed from the abstract: which branch the entropy favours could not
  be read.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(
        sequence.entropy_hybrid_clip,
        low=clip_low,
        high=clip_high,
        sequence_low=sequence_low,
        sequence_high=sequence_high,
      )
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper('Outcome-Guided Elastic Trust Regions', '2601.03723', 'ABSTRACT'),
  joints=('surrogate',),
  limits=(Limit('grpo', {'micro': 0.0, 'macro': 0.0}, {'kl_weight': 0.0}),),
)
def etr(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  micro: float = 0.5,
  macro: float = 0.5,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """Clip bounds that widen with |A| and with the group's uncertainty.

  A reconstruction: the abstract gives the two dependences, not their form.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(
        adaptive.elastic_clip,
        low=clip_low,
        high=clip_high,
        micro=micro,
        macro=macro,
      ),
      samples=samples,
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'BAPO: Stabilizing Off-Policy Reinforcement Learning for LLMs via '
    'Balanced Policy Optimization with Adaptive Clipping',
    '2510.18927',
  ),
  joints=('surrogate', 'aggregate'),
  limits=(
    Limit(
      'dapo',
      {'target': 0.0, 'low': 0.8, 'high': 1.28},
      {'rounds': 1},
      up_to_scale=True,
    ),
  ),
)
def bapo(
  *,
  samples: int = 8,
  low: float = 0.6,
  low_most: float = 0.8,
  high: float = 1.2,
  high_most: float = 2.0,
  step: float = 0.05,
  target: float = 0.5,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """Clip bounds searched so that positive tokens have their part."""
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(
        adaptive.balanced_clip,
        low=low,
        low_most=low_most,
        high=high,
        high_most=high_most,
        step=step,
        target=target,
      )
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


def _corrected(gate, samples, clip_low, clip_high, epsilon, minibatches):
  """Group-relative clip whose tokens a gate corrects for the sampler."""
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high), gate=gate
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


_OFF_POLICY_SAMPLER = (
  'Your Efficient RL Framework Secretly Brings You Off-Policy RL Training'
)


@register(Paper(_OFF_POLICY_SAMPLER), joints=('gate',))
def sampler_truncated(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  cap: float = 2.0,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """Truncated importance weights of the learner over the sampler (TIS)."""
  gate = partial(gates.truncated_importance, cap=cap)
  return _corrected(gate, samples, clip_low, clip_high, epsilon, minibatches)


@register(Paper(_OFF_POLICY_SAMPLER), joints=('gate',))
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
  gate = partial(gates.sequence_truncated_importance, cap=cap)
  return _corrected(gate, samples, clip_low, clip_high, epsilon, minibatches)


@register(
  Paper(
    'Small Leak Can Sink a Great Ship: Boost RL Training on MoE with IcePop',
    '',
    'VERIFIED-2',
  ),
  joints=('gate',),
)
def sampler_masked(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  floor: float = 0.5,
  cap: float = 2.0,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """Tokens on which learner and sampler disagree leave the gradient."""
  gate = partial(gates.masked_importance, floor=floor, cap=cap)
  return _corrected(gate, samples, clip_low, clip_high, epsilon, minibatches)


@register(
  Paper('OpenRLHF: An Easy-to-use, Scalable RLHF Framework', '2405.11143'),
  joints=('gate',),
)
def sampler_masked_sequence(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  floor: float = 0.99,
  cap: float = 1.01,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """Responses on which learner and sampler disagree leave the gradient."""
  gate = partial(gates.sequence_masked_importance, floor=floor, cap=cap)
  return _corrected(gate, samples, clip_low, clip_high, epsilon, minibatches)


@register(
  Paper('Trust Region Policy Optimization', '1502.05477', 'RECALLED'),
  joints=('update', 'cost'),
)
def trpo(
  *,
  samples: int = 8,
  limit: float = 0.01,
  solves: int = 10,
  damping: float = 0.1,
) -> Recipe:
  """A natural-gradient step to the edge of a KL ball, by line search.

  On group-relative advantages in place of a critic's. The optimiser scales
  the step: SGD of rate 1 takes it as it is. Constants are recalled.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.importance, trust=Cost(costs.trust_kl)
    ),
    aggregate=aggregate.token_mean,
    update=partial(
      update.trust_region, limit=limit, solves=solves, damping=damping
    ),
  )


@register(
  Paper('Truncated Proximal Policy Optimization', '2506.15050', 'VERIFIED-2'),
  joints=('advantage', 'critic', 'surrogate'),
)
def truncated_ppo(
  *,
  samples: int = 1,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  discount: float = 1.0,
  trace: float = 0.95,
  value_weight: float = 0.5,
  value_clip: float = 0.2,
  minibatches: int = 4,
) -> Recipe:
  """PPO that also learns from rows the token budget cut off.

  The advantages and the critic's loss; a plan that resumes cut-off rows, and
  trains each token once, is the user's. Details of the loss are recalled.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=chain(
      critics.ExtendedGAE(discount, trace), refine(tokens.whiten_batch)
    ),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high),
      value=Cost(
        partial(costs.finished_value_error, clip=value_clip), value_weight
      ),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper('Secrets of RLHF in Large Language Models Part I: PPO', '2307.04964'),
  joints=('reward', 'advantage', 'critic', 'surrogate'),
)
def ppo_max(
  *,
  samples: int = 1,
  clip: float = 0.2,
  bound: float = 10.0,
  kl_weight: float = 0.02,
  discount: float = 1.0,
  trace: float = 0.95,
  value_weight: float = 0.5,
  value_clip: float = 0.2,
  minibatches: int = 4,
) -> Recipe:
  """PPO with scaled and clipped scores and a KL penalty on every token.

  Without the pretraining loss, which is off in the published code; the
  critic's start from a reward model is a matter of the checkpoint.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=chain(
      critics.ScaledReward(bound),
      critics.PenalisedGAE(discount, trace, kl_weight),
      refine(tokens.whiten_batch),
    ),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip, high=clip),
      value=Cost(
        partial(costs.squared_value_error, clip=value_clip), value_weight
      ),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )
