"""Entries that keep the entropy of the policy from collapsing."""

from __future__ import annotations

from functools import partial

from jaxrl_llm import control
from jaxrl_llm.advantages import group
from jaxrl_llm.credit import estimate
from jaxrl_llm.objectives import adaptive, aggregate, costs, gates, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Paper, register

_ENTROPY_MECHANISM = Paper(
  'The Entropy Mechanism of Reinforcement Learning for Reasoning Language '
  'Models',
  '2505.22617',
)


@register(_ENTROPY_MECHANISM)
def clip_cov(
  *,
  samples: int = 8,
  clip_low: float = 1.0,
  clip_high: float = 1.0,
  fraction: float = 2e-4,
  least: float = 1.0,
  most: float = 5.0,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """A few random tokens of large covariance leave the gradient.

  The clip is wide, as in the published scripts: the covariance does its work.

  Deviates: the draw is a hash of a token's prompt and prefix in place of a
  generator's stream, so that a run repeats whatever the order of its rows.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      gate=partial(
        gates.unclipped_covariance,
        fraction=fraction,
        least=least,
        most=most,
        low=clip_low,
        high=clip_high,
      ),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(_ENTROPY_MECHANISM)
def kl_cov(
  *,
  samples: int = 8,
  fraction: float = 2e-3,
  weight: float = 1.0,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """A penalty on the move of the tokens of largest covariance.

  `fraction` is the paper's for 7B models; it uses 2e-4 for 32B.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      adaptive.covariance_penalty, fraction=fraction, weight=weight
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(Paper('Soft Actor-Critic Algorithms and Applications', '1812.05905'))
def target_entropy(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  initial: float = 1e-3,
  target: float = 0.3,
  rate: float = 0.1,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """An entropy bonus that holds the policy's entropy at a target.

  The temperature update of SAC on GRPO's advantages; `target` is in nats per
  token.
  """
  weight = control.TargetEntropy(initial, target, rate)
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      entropy=Cost(costs.negative_entropy, weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )
