"""Entries that mainly change which rows and tokens train."""

from __future__ import annotations

from jaxrl_llm.advantages import group, targets
from jaxrl_llm.credit import (
  chain,
  estimate,
  estimate_tokens,
  weigh,
  weigh_tokens,
)
from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import passes
from jaxrl_llm.objectives import aggregate, surrogates
from jaxrl_llm.objectives.base import policy_gradient
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


@register(_PF_PPO)
def pf_ppo(
  *,
  samples: int = 5,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  minibatches: int = 8,
) -> Recipe:
  """The best response of a prompt and, as much, the others (best-random).

  Deviates: rows are weighed by the chances with which the paper draws them,
  with replacement, and GRPO's advantages take the place of a critic's.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(weigh(weights.best_and_random), estimate(group.norm)),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(_PF_PPO, Limit('pf_ppo', {'samples': 2}))
def pf_ppo_best_worst(
  *,
  samples: int = 5,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  minibatches: int = 8,
) -> Recipe:
  """The best and the worst response of a prompt (best-worst).

  Deviates: as `pf_ppo` does.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(weigh(weights.best_and_worst), estimate(group.norm)),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
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
