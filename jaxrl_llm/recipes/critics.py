"""Entries that change what the critic answers, or how many there are."""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import critics as estimators
from jaxrl_llm.advantages import tokens
from jaxrl_llm.credit import chain, refine
from jaxrl_llm.objectives import aggregate, costs, critics, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Paper, register

_STOP_REGRESSING = Paper(
  'Stop Regressing: Training Value Functions via Classification for Scalable '
  'Deep RL',
  '2403.03950',
)


@register(_STOP_REGRESSING)
def categorical_critic(
  *,
  samples: int = 1,
  clip: float = 0.2,
  discount: float = 1.0,
  trace: float = 0.95,
  value_weight: float = 0.5,
  low: float = -10.0,
  high: float = 10.0,
  bins: int = 51,
  width: float = 0.75,
  minibatches: int = 4,
) -> Recipe:
  """PPO whose critic classifies returns into Gaussian bins (HL-Gauss).

  Range, bins and width are those of Hyper++, arXiv 2512.14202, whose layers and
  regularised features are `policies.hyperbolic`; a range near that of the
  rewards resolves them better.
  """
  critic = critics.Categorical(low, high, bins, width)
  error = partial(costs.classified_value_error, critic=critic)
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(tokens.GAE(discount, trace), refine(tokens.whiten_batch)),
    objective=policy_gradient(
      surrogates.clip, low=clip, high=clip, value=Cost(error, value_weight)
    ),
    aggregate=aggregate.token_mean,
    critic=critic,
    minibatches=minibatches,
  )


@register(_STOP_REGRESSING)
def two_hot_critic(
  *,
  samples: int = 1,
  clip: float = 0.2,
  discount: float = 1.0,
  trace: float = 0.95,
  value_weight: float = 0.5,
  low: float = -10.0,
  high: float = 10.0,
  bins: int = 51,
  minibatches: int = 4,
) -> Recipe:
  """PPO whose critic shares a return between the two nearest atoms."""
  critic = critics.TwoHot(low, high, bins)
  error = partial(costs.classified_value_error, critic=critic)
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(tokens.GAE(discount, trace), refine(tokens.whiten_batch)),
    objective=policy_gradient(
      surrogates.clip, low=clip, high=clip, value=Cost(error, value_weight)
    ),
    aggregate=aggregate.token_mean,
    critic=critic,
    minibatches=minibatches,
  )


@register(
  Paper(
    'A Reinforcement Learning Method for Environments with Stochastic '
    'Variables: Post-Decision Proximal Policy Optimization with Dual Critic '
    'Networks',
    '2504.05150',
  )
)
def pdppo(
  *,
  samples: int = 1,
  clip: float = 0.2,
  discount: float = 1.0,
  value_weight: float = 1.0,
  entropy_weight: float = 0.012,
  minibatches: int = 4,
) -> Recipe:
  """PPO with a second critic of the text after each token (dual critics).

  The state after the decision is the prefix with its new token, before a tool
  or a verifier answers.

  Deviates: returns are not discounted, for a response has one reward, where the
  paper's episodes have one at every step.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimators.PostDecision(discount),
    objective=policy_gradient(
      surrogates.clip,
      low=clip,
      high=clip,
      value=Cost(costs.pessimistic_value_error, value_weight),
      entropy=Cost(costs.negative_entropy, entropy_weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )
