"""Entries whose gate or cost judges tokens by what is around them."""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import group
from jaxrl_llm.credit import estimate
from jaxrl_llm.objectives import aggregate, costs, gates, supervised, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import episodes, sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.recipes.off_policy import REC
from jaxrl_llm.registry import Limit, Paper, register


@register(
  Paper(
    'Exploring the Limit of Outcome Reward for Learning Mathematical Reasoning',
    '2502.06781',
  )
)
def oreal_tokens(
  *,
  samples: int = 16,
  negative: float = 0.5,
  kl_weight: float = 0.01,
  grade_weight: float = 1.0,
  minibatches: int = 1,
) -> Recipe:
  """OREAL with its token reward model, which weighs what settled the outcome.

  Deviates: the paper's reward model is a second network; here it is the value
  head of the policy, trained in the same step with weight `grade_weight`, and
  its rows weigh by their length. Successes are the rows of positive advantage,
  without the paper's choice of one success and one failure per prompt.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.leave_one_out),
    objective=policy_gradient(
      surrogates.score_function,
      gate=partial(supervised.graded_signs, negative=negative),
      grades=Cost(costs.outcome_cross_entropy, grade_weight),
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'On GRPO Collapse in Search-R1: The Lazy Likelihood-Displacement Death '
    'Spiral',
    '2512.04220',
  ),
  Limit('grpo', {'fall_weight': 0.0}, {'kl_weight': 0.0}),
  Limit('llds', on_policy=True),
)
def llds_actions(
  *,
  samples: int = 8,
  turns: int = 4,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  fall_weight: float = 0.2,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """A cost on an agent's good actions whose likelihood falls.

  An action is a turn of an episode.

  Deviates: the cost is weighted like the policy loss, where the published code
  divides by all response tokens.
  """
  return Recipe(
    plan=episodes.MultiTurn(samples=samples, turns=turns),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      fall=Cost(costs.action_fall, fall_weight),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(REC, Limit('rec_two_side', on_policy=True))
def rec_sequence(
  *,
  samples: int = 8,
  low: float = 3e-4,
  high: float = 4e-4,
  minibatches: int = 4,
) -> Recipe:
  """REINFORCE on responses that have not moved past a bound as a whole.

  The form without importance weights.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.score_function,
      gate=partial(gates.sequence_one_side, low=low, high=high),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )
