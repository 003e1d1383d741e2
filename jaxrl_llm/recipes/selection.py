"""Entries that mainly change which rows and tokens train."""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import critics, group, targets, tokens
from jaxrl_llm.credit import (
  chain,
  estimate,
  estimate_tokens,
  refine,
  weigh_tokens,
)
from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import passes
from jaxrl_llm.objectives import aggregate, costs, gates, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import anchored, sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.selection import weights


@register(
  Paper(
    'Learning More with Less: A Dynamic Dual-Level Down-Sampling Framework '
    'for Efficient Policy Optimization',
    '2509.22115',
    confidence='VERIFIED-2',
  ),
  Limit(
    'dapo',
    {'rows': 1.0, 'tokens': 1.0, 'first_rows': 1.0, 'first_tokens': 1.0},
    {'rounds': 1, 'clip_high': 0.2},
    up_to_scale=True,
  ),
)
def d3s(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  rows: float = 0.5,
  tokens: float = 0.5,
  first_rows: float = 0.25,
  first_tokens: float = 0.25,
  iterations: int = 1000,
  minibatches: int = 1,
) -> Recipe:
  """The rows of most varied advantages, then their most telling tokens.

  Every token that is kept counts alike. Both shares grow linearly over the run,
  `iterations` long.

  Deviates: the shares at both ends are ours.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(
      estimate(group.norm),
      weights.Spread(rows, tokens, first_rows, first_tokens, iterations),
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'DaGRPO: Rectifying Gradient Conflict in Reasoning via Distinctiveness-'
    'Aware Group Relative Policy Optimization',
    '2512.06337',
    confidence='ABSTRACT',
  ),
  Limit('grpo', {'gap': 0.0}, {'kl_weight': 0.0}),
)
def dagrpo(
  *,
  samples: int = 9,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  gap: float = 0.1,
  minibatches: int = 1,
) -> Recipe:
  """GRPO without pairs too much alike, and with an anchor where all failed.

  A verifier named quality gives the fine scores. The anchor, the last of
  `samples` rows, is the `demonstration` of a question's record; where one of
  the policy's own responses is right, it does not count.

  Deviates: reconstructed from the abstract; the gap is ours. The anchor's ratio
  is to the policy as the iteration began, as that of other rows.
  """
  plan = anchored.Anchored(samples, optional=True)
  return Recipe(
    plan=notes.noted(plan, notes.Judged(('quality',))),
    credit=estimate_tokens(targets.distinct, gap=gap),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


_PF_PPO = Paper(
  'Policy Filtration in RLHF to Fine-Tune LLM for Code Generation', '2409.06957'
)


def _filtered(by, *, clip, value_clip, value_weight, samples):
  """PPO's loss of the rows that a filter draws, and the critic's of all."""
  return policy_gradient(
    surrogates.clip,
    low=clip,
    high=clip,
    gate=partial(gates.filtered, by=by),
    samples=samples,
    value=Cost(
      partial(costs.squared_value_error, clip=value_clip), value_weight
    ),
  )


@register(_PF_PPO)
def pf_ppo(
  *,
  samples: int = 5,
  clip: float = 0.2,
  kl_weight: float = 0.01,
  discount: float = 1.0,
  trace: float = 0.95,
  value_weight: float = 0.5,
  value_clip: float = 0.2,
  minibatches: int = 8,
) -> Recipe:
  """PPO on the best response of a prompt and, as often, one other (BR).

  Which filter suits a reward model is what `filters.determination` says of
  responses whose worth is known.

  Deviates: rows weigh as often as the paper draws them, with replacement, and
  the critic learns from all rows, where the published code draws them for both.

  No limit: with one row a group it is PPO, whose rewards have no KL here.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(
      critics.PenalisedGAE(discount, trace, kl_weight),
      refine(tokens.whiten_batch),
    ),
    objective=_filtered(
      weights.best_and_random,
      clip=clip,
      value_clip=value_clip,
      value_weight=value_weight,
      samples=samples,
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(_PF_PPO, Limit('pf_ppo', {'samples': 2}, {'samples': 2}))
def pf_ppo_best_worst(
  *,
  samples: int = 5,
  clip: float = 0.2,
  kl_weight: float = 0.01,
  discount: float = 1.0,
  trace: float = 0.95,
  value_weight: float = 0.5,
  value_clip: float = 0.2,
  minibatches: int = 8,
) -> Recipe:
  """PPO on the best and the worst response of a prompt (BW).

  Deviates: as `pf_ppo` does.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(
      critics.PenalisedGAE(discount, trace, kl_weight),
      refine(tokens.whiten_batch),
    ),
    objective=_filtered(
      weights.best_and_worst,
      clip=clip,
      value_clip=value_clip,
      value_weight=value_weight,
      samples=samples,
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(_PF_PPO)
def pf_ppo_best(
  *,
  samples: int = 5,
  clip: float = 0.2,
  kl_weight: float = 0.01,
  discount: float = 1.0,
  trace: float = 0.95,
  value_weight: float = 0.5,
  value_clip: float = 0.2,
  minibatches: int = 8,
) -> Recipe:
  """PPO on the best response of a prompt alone (BoN), the paper's poorest.

  Deviates: as `pf_ppo` does.

  No limit: as `pf_ppo` has none.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(
      critics.PenalisedGAE(discount, trace, kl_weight),
      refine(tokens.whiten_batch),
    ),
    objective=_filtered(
      weights.best_alone,
      clip=clip,
      value_clip=value_clip,
      value_weight=value_weight,
      samples=samples,
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Stabilizing Policy Gradients for Sample-Efficient Reinforcement Learning '
    'in LLM Reasoning',
    '2510.00819',
  ),
  Limit(
    'grpo', {'objective_limit': 1e9, 'policy_limit': 1e9}, {'kl_weight': 0.0}
  ),
)
def capo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  learning_rate: float = 1.5e-5,
  objective_limit: float = 0.01,
  policy_limit: float = 1e-4,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """GRPO without tokens whose own step would bend the policy too much.

  The plan provides `hidden_square`.

  Deviates: the step is modelled as plain gradient descent on the output layer;
  the published code also models Adam's.
  """
  return Recipe(
    plan=notes.noted(
      sampled.independent(samples=samples), passes.HiddenSquare()
    ),
    credit=chain(
      estimate(group.norm, epsilon=epsilon),
      weigh_tokens(
        weights.small_curvature,
        learning_rate=learning_rate,
        objective_limit=objective_limit,
        policy_limit=policy_limit,
      ),
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )
