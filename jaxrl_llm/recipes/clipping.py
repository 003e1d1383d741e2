"""Entries that clip, bound or gate the ratio of a token."""

from __future__ import annotations

import math
from functools import partial

from jaxrl_llm.advantages import group
from jaxrl_llm.credit import chain, estimate, shape, weigh
from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import passes
from jaxrl_llm.objectives import adaptive, aggregate, regions, surrogates
from jaxrl_llm.objectives.base import policy_gradient
from jaxrl_llm.plans import refill, sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.rewards import length
from jaxrl_llm.selection import filters


@register(Paper('DAPO: An Open-Source LLM RL System at Scale', '2503.14476'))
def dapo(
  *,
  samples: int = 16,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  buffer: float = 0.0,
  rounds: int = 4,
  epsilon: float = 1e-6,
  minibatches: int = 16,
) -> Recipe:
  """Decoupled clip, dynamic sampling, token-level loss, overlong penalty.

  The paper's overlong buffer is 4096 of 20480 tokens; it depends on the
  response budget, so it is off until `buffer` is set. The filter reads the
  rewards before the penalty: the paper drops groups that are all right or
  all wrong.
  """
  return Recipe(
    plan=refill.Refill(filters.mixed_groups, samples=samples, rounds=rounds),
    credit=chain(
      weigh(filters.mixed_groups),
      shape(length.overlong, buffer=buffer),
      estimate(group.norm, epsilon=epsilon),
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'MiniMax-M1: Scaling Test-Time Compute Efficiently with Lightning '
    'Attention',
    '2506.13585',
  ),
  Limit('dapo', on_policy=True, up_to_scale=True),
)
def cispo(
  *,
  samples: int = 8,
  clip_low: float = 1.0,
  clip_high: float = 4.0,
  epsilon: float = 1e-6,
  minibatches: int = 16,
) -> Recipe:
  """A bounded importance weight that never silences a token."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip_weight, low=clip_low, high=clip_high
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Mastering Complex Control in MOBA Games with Deep Reinforcement Learning',
    '1912.09729',
  ),
  Limit('grpo', {'bound': math.inf}, {'kl_weight': 0.0}),
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

  Deviates: the paper plays games with a critic; the bound is that of
  language-model trainers, which took it over.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.dual_clip, low=clip_low, high=clip_high, bound=bound
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper('Soft Adaptive Policy Optimization', '2511.20347'),
  Limit('grpo', {}, {'kl_weight': 0.0}, on_policy=True),
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
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(surrogates.soft_clip, up=up, down=down),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'ETR: Outcome-Guided Elastic Trust Regions for Policy Optimization',
    '2601.03723',
    'ABSTRACT',
  ),
  Limit('grpo', {'micro': 0.0, 'macro': 0.0}, {'kl_weight': 0.0}),
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

  Deviates: a reconstruction: the abstract gives the two dependences, not their
  form.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      adaptive.elastic_clip,
      low=clip_low,
      high=clip_high,
      micro=micro,
      macro=macro,
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
  Limit(
    'dapo',
    {'target': 0.0, 'low': 0.8, 'high': 1.28},
    {'rounds': 1},
    up_to_scale=True,
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
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      adaptive.balanced_clip,
      low=low,
      low_most=low_most,
      high=high,
      high_most=high_most,
      step=step,
      target=target,
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'CE-GPPO: Coordinating Entropy via Gradient-Preserving Clipping Policy '
    'Optimization in Reinforcement Learning',
    '2509.20712',
  ),
  Limit('dapo', {}, {'rounds': 1}, on_policy=True, up_to_scale=True),
)
def ce_gppo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  down: float = 0.75,
  up: float = 1.0,
  bound: float = 10.0,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """Clipped tokens keep part of the slope that they had at the bound.

  `down` is that of 7B parameters; 1.5B took 0.5. Both 1 are GPPO, arXiv
  2508.07629.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.carried_clip,
      low=clip_low,
      high=clip_high,
      down=down,
      up=up,
      bound=bound,
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Rethinking the Trust Region in LLM Reinforcement Learning', '2602.04879'
  ),
  Limit('cispo', {'low': 1.0, 'high': 1.0, 'cap': 5.0}),
)
def dppo(
  *,
  samples: int = 8,
  low: float = 0.2,
  high: float = 0.2,
  cap: float = 20.0,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """A trust region of chances, not of ratios: rare tokens may grow.

  Deviates: the region is around the policy at the start of the iteration, in
  the paper around the sampler.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip_weight,
      gate=partial(regions.total_variation, low=low, high=high),
      low=1.0,
      high=cap - 1,
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper('SimKO: Simple Pass@K Policy Optimization', '2510.14807'),
  Limit(
    'dapo',
    {'mix': 0.0, 'push': 1.0},
    {'rounds': 1, 'clip_high': 0.2},
    up_to_scale=True,
  ),
)
def simko(
  *,
  samples: int = 8,
  size: int = 3,
  certain: float = 0.8,
  mix: float = 0.01,
  push: float = 1.1,
  clip: float = 0.2,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """Right responses lift the likeliest tokens, wrong ones lower the first.

  So that chances do not gather on one token, which pass@k suffers from; on a
  row's tokens of high entropy alone.

  Deviates: candidates are those of the policy at the start of the iteration,
  where the code takes those of the policy that learns.
  """
  plan = sampled.independent(samples=samples)
  return Recipe(
    plan=notes.noted(plan, passes.OwnCandidates(size)),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.spread_clip,
      certain=certain,
      mix=mix,
      push=push,
      low=clip,
      high=clip,
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )
