"""Entries that sample in proportion to a reward: generative flow networks.

The target is the optimum of KL-regularised reward, reference e^(r / weight),
unless the entry says otherwise. Flows are the value head's, in logs.
"""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import group
from jaxrl_llm.credit import chain, estimate
from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import parts
from jaxrl_llm.objectives import aggregate, gflownet, grouped, step_flows
from jaxrl_llm.objectives.base import policy_gradient, row_losses
from jaxrl_llm.objectives.grouped import group_losses, pair_losses
from jaxrl_llm.plans import episodes, sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.selection import pairs

_GFLOWVLM = Paper(
  'GFlowVLM: Enhancing Multi-Step Reasoning in Vision-Language Models with '
  'Generative Flow Networks',
  '2503.06514',
  'RECALLED',
)
_OP = Paper('Order-Preserving GFlowNets', '2310.00386')


@register(
  Paper(
    'Trajectory Balance: Improved Credit Assignment in GFlowNets', '2201.13259'
  )
)
def trajectory_balance(
  *, samples: int = 8, weight: float = 0.1, minibatches: int = 1
) -> Recipe:
  """The log-prob of a whole response balanced with its log-reward."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=row_losses(gflownet.trajectory_balance, weight=weight),
    minibatches=minibatches,
  )


@register(
  Paper('FlowRL: Matching Reward Distributions for LLM Reasoning', '2509.15207')
)
def flowrl(
  *,
  samples: int = 8,
  weight: float = 15.0,
  cap: float = 10.0,
  epsilon: float = 1e-6,
  minibatches: int = 16,
) -> Recipe:
  """Mean log-probs balanced with normalised rewards, whatever the length.

  Deviates: log Z is what the critic's head says of the last token of the
  prompt, where the paper has three layers on the mean of the prompt's states.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=row_losses(gflownet.mean_balance, weight=weight, cap=cap),
    minibatches=minibatches,
  )


@register(Paper('GFlowNet Foundations', '2111.09266'))
def detailed_balance(
  *, samples: int = 8, weight: float = 0.1, minibatches: int = 1
) -> Recipe:
  """Every token balanced between the flows of two prefixes."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=policy_gradient(gflownet.detailed_balance, weight=weight),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Learning GFlowNets from Partial Episodes for Improved Convergence and '
    'Stability',
    '2209.12782',
  ),
  Limit('trajectory_balance', {'decay': 1e9}),
)
def sub_trajectory_balance(
  *,
  samples: int = 8,
  weight: float = 0.1,
  decay: float = 1.0,
  minibatches: int = 1,
) -> Recipe:
  """Every run of tokens balanced between the flows at its ends."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=row_losses(
      gflownet.sub_trajectory_balance, weight=weight, decay=decay
    ),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Better Training of GFlowNets with Local Credit and Incomplete '
    'Trajectories',
    '2302.01687',
  )
)
def forward_looking(
  *, samples: int = 8, weight: float = 0.1, minibatches: int = 1
) -> Recipe:
  """Detailed balance that credits each token with its own energy at once."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=policy_gradient(gflownet.forward_looking, weight=weight),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Learning Energy Decompositions for Partial Inference of GFlowNets',
    '2310.03301',
  )
)
def led_gfn(
  *, samples: int = 8, weight: float = 0.1, minibatches: int = 1
) -> Recipe:
  """Forward-looking balance with a reward that a head spreads over tokens."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=row_losses(gflownet.learned_energies, weight=weight),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Amortizing Intractable Inference in Large Language Models', '2310.04363'
  )
)
def stoppable_balance(
  *,
  samples: int = 8,
  weight: float = 0.1,
  stop: int = 0,
  decay: float = 1.0,
  minibatches: int = 1,
) -> Recipe:
  """Sub-trajectory balance where every prefix could have ended.

  `stop` is the token that ends, and every prefix is judged as if it had.

  Deviates: the target is e^(r / weight), without a reference.
  """
  plan = sampled.independent(samples=samples)
  return Recipe(
    plan=notes.noted(plan, parts.PrefixRewards(weight)),
    objective=row_losses(gflownet.StoppableBalance(stop, decay)),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Trajectory Balance with Asynchrony: Decoupling Exploration and Learning '
    'for Fast, Scalable LLM Post-Training',
    '2503.18929',
  )
)
def vargrad(
  *, samples: int = 8, weight: float = 0.012, minibatches: int = 1
) -> Recipe:
  """The group's variance of log-reward less log-prob.

  The published weight falls from 0.012 to 0.004 during the run.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=group_losses(
      gflownet.variance, grouped.to_reference, weight=weight, samples=samples
    ),
    minibatches=minibatches,
  )


@register(_OP)
def op_gfn(*, samples: int = 8) -> Recipe:
  """Log-probs in the order of the rewards, ties level: no scale of rewards."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      gflownet.ordered, grouped.likelihood, samples=samples, among=pairs.every
    ),
  )


@register(_OP)
def op_gfn_pareto(*, samples: int = 8) -> Recipe:
  """A group's mass spread evenly over its undominated responses."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(),
    objective=group_losses(
      gflownet.pareto, grouped.likelihood, samples=samples
    ),
  )


def _of_turns(samples, turns):
  """Episodes of one row each, whose turns begin with thoughts."""
  plan = episodes.MultiTurn(samples=samples, turns=turns)
  return notes.noted(plan, parts.Thoughts())


@register(_GFLOWVLM)
def gflowvlm(
  *,
  samples: int = 4,
  turns: int = 4,
  weight: float = 1.0,
  thought_weight: float = 0.4,
  minibatches: int = 1,
) -> Recipe:
  """Variance balance of whole episodes, with thoughts at a lower weight.

  A thought is what precedes </think> in a turn.

  Deviates: recalled; the target is e^(r / weight), in the paper the reward.
  """
  score = partial(gflownet.thoughtful_likelihood, thought_weight=thought_weight)
  return Recipe(
    plan=_of_turns(samples, turns),
    objective=group_losses(
      gflownet.variance, score, weight=weight, samples=samples
    ),
    minibatches=minibatches,
  )


@register(_GFLOWVLM, Limit('gflowvlm_subtb', {}, {'decay': 1e-9}))
def gflowvlm_db(
  *,
  samples: int = 4,
  turns: int = 4,
  weight: float = 1.0,
  thought_weight: float = 0.4,
  minibatches: int = 1,
) -> Recipe:
  """Every step of an episode balanced between the flows before and after it.

  A thought is what precedes </think> in a turn, and weighs less.

  Deviates: as `gflowvlm` does.
  """
  return Recipe(
    plan=_of_turns(samples, turns),
    objective=row_losses(
      step_flows.step_balance, weight=weight, thought_weight=thought_weight
    ),
    minibatches=minibatches,
  )


@register(_GFLOWVLM)
def gflowvlm_subtb(
  *,
  samples: int = 4,
  turns: int = 4,
  weight: float = 1.0,
  thought_weight: float = 0.4,
  decay: float = 1.0,
  minibatches: int = 1,
) -> Recipe:
  """Every run of steps of an episode balanced between the flows at its ends.

  Deviates: as `gflowvlm` does.
  """
  return Recipe(
    plan=_of_turns(samples, turns),
    objective=row_losses(
      step_flows.sub_step_balance,
      weight=weight,
      thought_weight=thought_weight,
      decay=decay,
    ),
    minibatches=minibatches,
  )
