"""Entries that move from the last iterate by playing against themselves.

The preferences of a group come from an oracle, or from the rewards: then the
higher one wins. The exact steps of these games are in `tabular.games`.
"""

from __future__ import annotations

from functools import partial

from jaxrl_llm import reference
from jaxrl_llm.advantages import group
from jaxrl_llm.credit import chain, estimate
from jaxrl_llm.objectives import (
  aggregate,
  grouped,
  nash,
  preference,
  surrogates,
)
from jaxrl_llm.objectives.base import policy_gradient
from jaxrl_llm.objectives.grouped import group_losses, pair_losses
from jaxrl_llm.plans import earlier, imitated, latent, sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.rewards import duels
from jaxrl_llm.selection import pairs

_DNO = Paper(
  'Direct Nash Optimization: Teaching Language Models to Self-Improve with '
  'General Preferences',
  '2404.03715',
)


@register(
  Paper(
    'A Minimaximalist Approach to Reinforcement Learning from Human Feedback',
    '2401.04056',
    'RECALLED',
  )
)
def spo(*, samples: int = 8, clip: float = 0.2, minibatches: int = 4) -> Recipe:
  """Self-play: the reward is the chance to beat the group's other rows.

  Any policy optimiser may follow; here PPO's clip without a critic. Recalled.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(
      duels.Duels(duels.against_others, samples), estimate(group.centre)
    ),
    objective=policy_gradient(surrogates.clip, low=clip, high=clip),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Self-Play Preference Optimization for Language Model Alignment',
    '2405.00675',
  )
)
def sppo(
  *, samples: int = 5, scale: float = 1e3, minibatches: int = 4
) -> Recipe:
  """Log-ratios to the last iterate regressed on estimated win rates."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=duels.Duels(duels.against_all, samples),
    objective=group_losses(
      nash.win_rate_regression, grouped.to_iterate, scale=scale, samples=samples
    ),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Self-Play Preference Optimization for Language Model Alignment',
    '2405.00675',
    'VERIFIED-2',
  )
)
def sppo_hard(
  *, samples: int = 2, scale: float = 1e3, minibatches: int = 4
) -> Recipe:
  """SPPO for pairs whose winner surely wins, as TRL has it."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      nash.hard_regression, grouped.to_iterate, scale=scale, samples=samples
    ),
    minibatches=minibatches,
  )


@register(_DNO)
def dno(
  *, samples: int = 5, weight: float = 0.1, minibatches: int = 4
) -> Recipe:
  """Differences of win rates as soft labels of moves from the last iterate.

  The weight, eta, is that of the practical form.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=duels.Duels(duels.against_others, samples),
    objective=pair_losses(
      preference.soft_logistic,
      grouped.to_iterate,
      weight=weight,
      samples=samples,
      among=pairs.every,
    ),
    minibatches=minibatches,
  )


@register(_DNO)
def dno_practical(
  *,
  samples: int = 6,
  weight: float = 0.1,
  best: float = 5 / 6,
  gap: float = 1 / 6,
  taught_gap: float = 2 / 6,
  replayed: float = 0.3,
  remembered: int = 2,
  minibatches: int = 4,
) -> Recipe:
  """DPO from the last iterate on pairs that a judge finds far apart.

  Rewards are points over six, those of the better row at least five. The last
  row of a group is a teacher's, the `demonstration` of its question. Groups of
  the iterations before are shown again, relative to the present policy.

  Deviates: an iteration of the paper is a pass over all prompts; groups that
  are shown again take the places of new ones.
  """
  return Recipe(
    plan=earlier.Earlier(
      imitated.WithDemonstration(samples), replayed, remembered
    ),
    objective=pair_losses(
      preference.logistic,
      grouped.to_iterate,
      weight=weight,
      samples=samples,
      among=partial(nash.decisive, best=best, gap=gap, taught_gap=taught_gap),
    ),
    minibatches=minibatches,
  )


_ACCELERATED = Paper(
  'Accelerated Preference Optimization for Large Language Model Alignment',
  '2410.06293',
  'RECALLED',
)


@register(_ACCELERATED, Limit('iterative_dpo', {'momentum': 0.0}))
def accelerated_dpo(
  *,
  samples: int = 2,
  weight: float = 0.1,
  momentum: float = 0.3,
  minibatches: int = 4,
) -> Recipe:
  """Iterative DPO whose anchor runs ahead in the direction of the last move.

  Deviates: recalled. The paper extrapolates the policy after each iteration;
  here the anchor is extrapolated, which leaves the minima of the losses the
  same and needs the iterate before the last. Responses are sampled by the
  policy as it is.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      preference.logistic,
      partial(grouped.to_extrapolated, momentum=momentum),
      weight=weight,
      samples=samples,
    ),
    reference=reference.Previous(),
    minibatches=minibatches,
  )


@register(_ACCELERATED)
def iterative_dpo(
  *, samples: int = 2, weight: float = 0.1, minibatches: int = 4
) -> Recipe:
  """DPO with the last iterate as reference: what APO accelerates. Recalled."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      preference.logistic, grouped.to_iterate, weight=weight, samples=samples
    ),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Learning Strategic Language Agents in the Werewolf Game with Iterative '
    'Latent Space Policy Optimization',
    '2502.04686',
    confidence='VERIFIED-2',
  ),
  Limit('iterative_dpo', {}),
)
def lspo(
  *,
  samples: int = 8,
  clusters: int = 2,
  more: int = 1,
  most: int = 10,
  solving: int = 300,
  game: str = 'jaxrl_llm.tabular.speeches:Speeches',
  weight: float = 0.1,
  epochs: int = 2,
  minibatches: int = 4,
) -> Recipe:
  """Texts of strategies that solve the game are preferred, round by round.

  In each iteration responses are clustered into latent strategies, the game of
  these is solved by regret minimisation, and DPO prefers a response whose
  strategy the solution plays more often. Ratios are to the policy at the start
  of the round; the loss is that of `iterative_dpo`.

  Deviates: what the policy says is learned from and is not played behind the
  solver's choice of a latent strategy. A game is the run's, here poker, whose
  regret minimisation visits all of it where the paper's is a network's; which
  of two texts is better is read off the average strategy.
  """
  return Recipe(
    plan=latent.Latent(
      samples=samples,
      clusters=clusters,
      more=more,
      most=most,
      solving=solving,
      game=game,
    ),
    objective=pair_losses(
      preference.logistic, grouped.to_iterate, weight=weight, samples=samples
    ),
    epochs=epochs,
    minibatches=minibatches,
  )
