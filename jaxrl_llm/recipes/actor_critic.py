"""Entries that learn a critic: PPO and its kin."""

from __future__ import annotations

import math
from functools import partial

from jaxrl_llm.advantages import critics, tokens
from jaxrl_llm.credit import Sparing, chain, refine
from jaxrl_llm.objectives import aggregate, costs, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import imitated, resumed, sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Paper, register


@register(Paper('Proximal Policy Optimization Algorithms', '1707.06347'))
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
  error = partial(costs.squared_value_error, clip=value_clip)
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(tokens.GAE(discount, trace), refine(tokens.whiten_batch)),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      value=Cost(error, value_weight),
      entropy=Cost(costs.negative_entropy, entropy_weight),
    ),
    aggregate=aggregate.token_mean,
    epochs=epochs,
    minibatches=minibatches,
  )


@register(
  Paper('Truncated Proximal Policy Optimization', '2506.15050', 'VERIFIED-2')
)
def truncated_ppo(
  *,
  samples: int = 1,
  windows: int = 3,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  discount: float = 1.0,
  trace: float = 0.95,
  value_weight: float = 0.5,
  value_clip: float = 0.2,
  minibatches: int = 4,
) -> Recipe:
  """PPO on responses that are sampled a window at a time.

  What is not done within its window goes on in the next iteration. The policy
  learns from each token once, in the iteration that sampled it; the critic from
  all tokens of a response, once that is done.

  No limit: with a single window all rows are done at once, and the critic
  learns from the rewards, where that of `ppo` learns from its own estimates.

  Deviates: both losses are averaged over all tokens of the step, those of the
  other one included. Details of the loss are recalled, and that advantages are
  whitened among the tokens that the policy learns from is ours.
  """
  error = partial(costs.finished_value_error, clip=value_clip)
  return Recipe(
    plan=resumed.Resumed(samples=samples, windows=windows),
    credit=chain(
      critics.ExtendedGAE(discount, trace), refine(tokens.whiten_new)
    ),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      value=Cost(error, value_weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


_SECRETS = Paper(
  'Secrets of RLHF in Large Language Models Part I: PPO', '2307.04964'
)


def _scaled(bound, advantage_bound, kl_weight, discount, trace):
  """The stages of `ppo_max`, in their order."""
  return (
    critics.ScaledReward(bound),
    critics.PenalisedGAE(discount, trace, kl_weight),
    refine(tokens.whiten_batch),
    refine(tokens.clip_advantages, bound=advantage_bound),
  )


@register(_SECRETS)
def ppo_max(
  *,
  samples: int = 1,
  clip: float = 0.2,
  bound: float = 10.0,
  advantage_bound: float = math.inf,
  kl_weight: float = 0.02,
  discount: float = 1.0,
  trace: float = 0.95,
  value_weight: float = 1.0,
  value_clip: float = 0.2,
  minibatches: int = 4,
) -> Recipe:
  """PPO with scaled and clipped scores and a KL penalty on every token.

  The critic's start from a reward model is a matter of the checkpoint, as is
  the policy's, whose first weights the KL holds it to. The code's clip of
  advantages, `advantage_bound` 0.5, is not among what the paper keeps; its
  pretraining loss is `ppo_ptx`.

  No limit: scores are scaled by what was seen, which no other entry does.
  """
  error = partial(costs.squared_value_error, clip=value_clip)
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(*_scaled(bound, advantage_bound, kl_weight, discount, trace)),
    objective=policy_gradient(
      surrogates.clip, low=clip, high=clip, value=Cost(error, value_weight)
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(_SECRETS)
def ppo_ptx(
  *,
  samples: int = 2,
  clip: float = 0.2,
  bound: float = 10.0,
  advantage_bound: float = math.inf,
  kl_weight: float = 0.02,
  discount: float = 1.0,
  trace: float = 0.95,
  value_weight: float = 1.0,
  value_clip: float = 0.2,
  pretraining_weight: float = 1.0,
  minibatches: int = 4,
) -> Recipe:
  """`ppo_max`, and the likelihood of what its questions' records demonstrate.

  The last row of a group is the `demonstration`, which neither rewards nor the
  critic see, so that as many are learned as there are responses.

  Deviates: text comes with the questions, where the paper has a set of its own;
  all losses are averaged over all tokens of the step, there over their own.
  The weight is ours: the published code leaves this loss off.

  No limit: a group of `ppo_max` has no row that rewards do not see.
  """
  error = partial(costs.own_value_error, clip=value_clip)
  stages = _scaled(bound, advantage_bound, kl_weight, discount, trace)
  return Recipe(
    plan=imitated.WithDemonstration(samples=samples),
    credit=chain(*(Sparing('offline', stage) for stage in stages)),
    objective=policy_gradient(
      surrogates.clip,
      low=clip,
      high=clip,
      value=Cost(error, value_weight),
      pretraining=Cost(costs.pretraining, pretraining_weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )
