"""Entries that raise the likelihood of good responses."""

from __future__ import annotations

from functools import partial

from jaxrl_llm import control
from jaxrl_llm.advantages import critics, group, targets
from jaxrl_llm.credit import Sparing, chain, estimate, estimate_tokens, weigh
from jaxrl_llm.objectives import (
  aggregate,
  costs,
  gates,
  supervised,
  surrogates,
)
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import imitated, recorded, recorded_beside, sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.selection import filters


@register(
  Paper(
    'Training language models to follow instructions with human feedback',
    '2203.02155',
    'VERIFIED-2',
  ),
  Limit('reinforce', up_to_scale=True),
)
def sft(*, samples: int = 1) -> Recipe:
  """Supervised fine-tuning: the likelihood of what the data say.

      -sum_it r_i log pi(y_it) / tokens

  REINFORCE on recorded responses, of which a demonstration has reward 1: its
  loss is the mean over all tokens of an optimizer step, as in TRL.
  """
  return Recipe(plan=recorded.Recorded(samples), aggregate=aggregate.token_mean)


@register(
  Paper(
    'Bridging Supervised Learning and Reinforcement Learning in Math Reasoning',
    '2505.18116',
  )
)
def nft(
  *,
  samples: int = 8,
  spread: float = 0.0,
  budget: int = 0,
  minibatches: int = 4,
) -> Recipe:
  """Likelihood of successes, and of an implicit policy of failures.

  Deviates: the published sum over tokens / 1000 is `budget`, here by default
  the response budget of the run.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(weigh(filters.mixed_groups), estimate(group.centre)),
    objective=policy_gradient(
      supervised.implicit_negative, spread=spread, samples=samples
    ),
    aggregate=partial(aggregate.budget_mean, budget=budget),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Exploring the Limit of Outcome Reward for Learning Mathematical Reasoning',
    '2502.06781',
  )
)
def oreal(
  *,
  samples: int = 16,
  negative: float = 0.5,
  kl_weight: float = 0.01,
  minibatches: int = 1,
) -> Recipe:
  """Successes and failures averaged apart, failures at half weight.

  Deviates: without the paper's token reward model and its choice of one success
  and one failure per prompt.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.leave_one_out),
    objective=policy_gradient(
      surrogates.score_function,
      gate=partial(supervised.balanced_signs, negative=negative),
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Leftover Lunch: Advantage-based Offline Reinforcement Learning for '
    'Language Models',
    '2305.14718',
    other_titles=(
      'Improving Language Models with Advantage-based Offline Policy Gradients',
    ),
  )
)
def a_lol(
  *,
  samples: int = 2,
  first: int = 100,
  clip: float = 0.9,
  value_weight: float = 1.0,
  minibatches: int = 4,
) -> Recipe:
  """Likelihood of recorded responses that beat what the reference would earn.

  A critic learns what the reference's own responses to a prompt earn, for
  `first` iterations before any recorded one counts. These weigh by their
  advantages, drawn and once more, and those below 0 do not.

  Its other forms are parts: `gate=leftover_tokens` has a ratio for each token,
  `gate=gains` none, and `gate=gains costs=negative_logp:-0.05` the KL.

  Deviates: the critic is a head of the policy that learns and goes on learning
  from new responses of the reference, where the paper's reads the frozen
  reference and stops. Rows weigh by the chances with which the paper draws
  them; both losses are averaged over all rows.

  No limit: no other entry knows rows of two policies by what they earn.
  """
  return Recipe(
    plan=recorded_beside.BesideReference(samples, first),
    credit=critics.Leftover(),
    objective=policy_gradient(
      surrogates.score_function,
      gate=partial(supervised.leftover_importance, clip=clip),
      value=Cost(costs.prompt_value_error, value_weight),
    ),
    minibatches=minibatches,
  )


@register(
  Paper(
    'RL with KL Penalties Is Better Viewed as Bayesian Inference', '2205.11275'
  )
)
def tilted_reference(*, samples: int = 8, weight: float = 0.5) -> Recipe:
  """Distributional control: the KL from the reward-tilted reference.

  Deviates: the normaliser is the group's mean in place of a moving average, and
  proposals are fresh samples.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate_tokens(targets.tilted_target, weight=weight),
  )


@register(
  Paper(
    'Towards a Unified View of Large Language Model Post-Training', '2509.04419'
  )
)
def hpt(*, samples: int = 8, gate: float = 0.0, weight: float = 1.0) -> Recipe:
  """Imitation where the policy fails, reinforcement where it succeeds.

  The last row of a group is the demonstration of its question; a question
  without one is reinforced alone.
  """
  return Recipe(
    plan=imitated.WithDemonstration(samples=samples, optional=True),
    credit=estimate_tokens(targets.switched, gate=gate, weight=weight),
    aggregate=aggregate.token_mean,
  )


@register(
  Paper(
    'On-Policy RL Meets Off-Policy Experts: Harmonizing Supervised Fine-Tuning '
    'and Reinforcement Learning via Dynamic Weighting',
    '2508.11408',
  )
)
def chord(
  *,
  samples: int = 9,
  clip: float = 0.2,
  most: float = 0.1,
  least: float = 0.1,
  rise: int = 0,
  fall: int = 0,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """GRPO beside the likelihood of expert tokens that the policy doubts.

      (1 - mu) own mean of GRPO + mu expert mean of -p (1 - p) log p

  The last row of a group is the `demonstration`, which rewards do not see. mu
  rises to `most` in `rise` iterations and falls to `least` in `fall`. By
  default it stays, as CHORD-phi's in the authors' script; CHORD-mu has none of
  p (1 - p), and most=0.9 least=0.05 fall=200.

  Deviates: the whole is over 1 - mu, which Adam does not see; demonstrations
  are those of the questions asked, there a data set of their own.

  No limit: a group of `grpo` has no row that rewards do not see.
  """
  expert = Cost(costs.doubted_expert, control.Shared(most, least, rise, fall))
  return Recipe(
    plan=imitated.WithDemonstration(samples=samples),
    credit=Sparing('offline', estimate(group.norm, epsilon=epsilon)),
    objective=policy_gradient(
      surrogates.clip,
      low=clip,
      high=clip,
      gate=supervised.own_mean,
      expert=expert,
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'On the Generalization of SFT: A Reinforcement Learning Perspective with '
    'Reward Rectification',
    '2508.05629',
  )
)
def dft(*, samples: int = 1) -> Recipe:
  """Supervised fine-tuning on the chance of each token, not its logarithm."""
  return Recipe(
    plan=recorded.Recorded(samples),
    objective=policy_gradient(surrogates.score_function, gate=gates.chance),
    aggregate=aggregate.token_mean,
  )
