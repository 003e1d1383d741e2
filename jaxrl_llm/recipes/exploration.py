"""Entries that explore by temperature, or treat sure tokens differently."""

from __future__ import annotations

from jaxrl_llm.advantages import exploration, group, tokens
from jaxrl_llm.credit import chain, estimate, estimate_tokens
from jaxrl_llm.objectives import adaptive, aggregate, surrogates
from jaxrl_llm.objectives.base import policy_gradient
from jaxrl_llm.plans import sampled, varied
from jaxrl_llm.plans import tempered as tempered_lib
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register


@register(
  Paper(
    'Distribution-Centric Policy Optimization Dominates '
    'Exploration-Exploitation Trade-off',
    '2601.12730',
  ),
  Limit('grpo', {'most': 0.0}, {'kl_weight': 0.0}),
)
def dcpo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  target: float = 0.5,
  hot: float = 1.2,
  cold: float = 0.8,
  most: float = 0.1,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """GRPO mixed with the policy gradient of a hotter or a colder policy.

  On the samples of the policy itself, by importance weights. `target` is an
  entropy in nats per token.

  Deviates: tokens are averaged within each response, as in GRPO, where the
  published code averages over all of a microbatch's and clips twice. H is
  measured where rows are sampled, in that code where they are learned from.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(
      estimate(group.norm, epsilon=epsilon),
      exploration.TemperedMix(target, hot, cold, most),
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Arbitrary Entropy Policy Optimization: Entropy Is Controllable in '
    'Reinforcement Fine-tuning',
    '2510.08141',
  )
)
def aepo(
  *,
  samples: int = 8,
  tempered: float = 0.2,
  most: int = 60,
  clip_low: float = 0.2,
  clip_high: float = 0.3,
  bound: float = 3.0,
  target: float = 0.5,
  hot: float = 1.2,
  cold: float = 0.8,
  least: float = 0.05,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """GRPO beside successes sampled hotter or colder, as the entropy asks.

  `tempered` is the share of groups that are, a quarter as many as the others.

  Deviates: tempered groups answer prompts of their own, in the paper again
  those of others. Rows are weighed by the chances to be exchanged.
  """
  return Recipe(
    plan=tempered_lib.Tempered(
      samples=samples, share=tempered, target=target, hot=hot, cold=cold
    ),
    credit=exploration.TemperedSuccesses(epsilon, least, most),
    objective=policy_gradient(
      surrogates.dual_clip, low=clip_low, high=clip_high, bound=bound
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'From Uniform to Heterogeneous: Tailoring Policy Optimization to Every '
    "Token's Nature",
    '2509.16591',
  )
)
def hapo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  elasticity: float = 1.0,
  redistribution: float = 1.0,
  bound: float = 10.0,
  quantile: float = 0.8,
  swing: float = 0.05,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """Temperature, bounds, advantages and averages follow each token's entropy.

  Deviates: entropies are ranked within an optimizer step, where the published
  code ranks them within a microbatch, and keep their sign below the pivot, as
  in the paper.
  """
  return Recipe(
    plan=varied.Varied(samples=samples, swing=swing, quantile=quantile),
    credit=estimate_tokens(tokens.norm_by_tokens, epsilon=epsilon),
    objective=policy_gradient(
      adaptive.heterogeneous_clip,
      low=clip_low,
      high=clip_high,
      elasticity=elasticity,
      redistribution=redistribution,
      bound=bound,
      quantile=quantile,
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )
