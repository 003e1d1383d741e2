"""Entries that are REINFORCE on rows that an older policy sampled."""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import group
from jaxrl_llm.credit import estimate
from jaxrl_llm.objectives import aggregate, costs, gates, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register

REC = Paper(
  'Group-Relative REINFORCE Is Secretly an Off-Policy Algorithm: Demystifying '
  'Some Myths About GRPO and Its Friends',
  '2509.24203',
)


@register(REC, Limit('dr_grpo', on_policy=True, up_to_scale=True))
def rec_one_side(
  *, samples: int = 8, low: float = 0.2, high: float = 0.2, minibatches: int = 4
) -> Recipe:
  """Constant importance weights, and PPO's region as a gate.

  Its gradient is that of PPO's clip, which is thereby a weighted REINFORCE.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.importance_weight,
      gate=partial(gates.one_side, low=low, high=high),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(REC, Limit('dr_grpo', on_policy=True, up_to_scale=True))
def rec_two_side(
  *, samples: int = 8, low: float = 0.2, high: float = 0.2, minibatches: int = 4
) -> Recipe:
  """REINFORCE without importance weights on tokens near the old policy."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.score_function,
      gate=partial(gates.two_side, low=low, high=high),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(REC, Limit('rec_two_side', {'far_low': 1.0, 'far_high': 1e9}))
def rec_ring(
  *,
  samples: int = 8,
  low: float = 0.2,
  high: float = 0.2,
  far_low: float = 0.6,
  far_high: float = 2.0,
  minibatches: int = 4,
) -> Recipe:
  """REINFORCE near the old policy, and where a token strayed far from it."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.score_function,
      gate=partial(
        gates.ring, low=low, high=high, far_low=far_low, far_high=far_high
      ),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(REC)
def red_weight(
  *, samples: int = 8, temperature: float = 1.0, minibatches: int = 4
) -> Recipe:
  """REINFORCE with samples weighted by their exponential advantage."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.score_function,
      gate=partial(gates.exponential_advantage, temperature=temperature),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(REC)
def red_drop(*, samples: int = 8, minibatches: int = 4) -> Recipe:
  """REINFORCE on as many failures as successes, the surplus dropped.

  A row drawn to be dropped teaches nothing and still counts in the mean. What
  is learned is the mean over the draw, in which the loss is linear.

  Deviates: a row alone in its group keeps its reward there, and gets 0 here.

  No limit: of groups of more failures than successes no other entry drops any.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.balanced),
    objective=policy_gradient(surrogates.score_function),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  REC, Limit('dr_grpo', {'move_weight': 0.0}, on_policy=True, up_to_scale=True)
)
def opmd(
  *, samples: int = 8, move_weight: float = 0.1, minibatches: int = 4
) -> Recipe:
  """The score function, off-policy, with a square penalty on the move.

  The square carries no 1/2: its coefficient is half that of a k2. It is of
  each token's move, as in the published code.

  Deviates: the sum over a response is divided by the token budget; the
  published code averages over the step's tokens.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.score_function, move=Cost(costs.square_move, move_weight)
    ),
    aggregate=aggregate.budget_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Asymmetric REINFORCE for off-Policy Reinforcement Learning',
    '2506.20520',
    'VERIFIED-2',
  ),
  Limit('opmd', {'shift': 0.0}, {'move_weight': 0.0}),
)
def asymmetric_reinforce(
  *, samples: int = 8, shift: float = 0.1, minibatches: int = 4
) -> Recipe:
  """A baseline below the mean: successes weigh more than failures.

      -(r_i - mean_g + shift) logp

  A shift of 0.1 is Trinity-RFT's.

  Deviates: the sum over a response is divided by the token budget.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.score_function, shift=Cost(costs.negative_logp, shift)
    ),
    aggregate=aggregate.budget_mean,
    minibatches=minibatches,
  )
