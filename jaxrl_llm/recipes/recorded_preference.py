"""Entries that learn from preferences by more than one loss of a pair.

Of single responses about a reference point, of whole steps, of pairs that weigh
as the policy finds them likely, and of several losses at once. As in
`preference`, offline pairs are groups of two whose rewards are 1 and 0.
"""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import baselines
from jaxrl_llm.objectives import (
  feedback,
  grouped,
  preference,
  transport,
  unary,
)
from jaxrl_llm.objectives.base import row_losses
from jaxrl_llm.objectives.grouped import pair_losses
from jaxrl_llm.plans import matched, sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register

_AOT = Paper(
  'Distributional Preference Alignment of LLMs via Optimal Transport',
  '2406.05882',
  'VERIFIED-2',
)

_BCO = Paper(
  'Binary Classifier Optimization for Large Language Model Alignment',
  '2404.04656',
  'VERIFIED-2',
)


@register(_AOT)
def aot(*, samples: int = 2, weight: float = 0.01) -> Recipe:
  """Margins of the policy above those of the reference at every rank."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=row_losses(
      transport.paired_transport, weight=weight, samples=samples
    ),
  )


@register(_AOT)
def aot_unpaired(*, samples: int = 2, weight: float = 0.01) -> Recipe:
  """Chosen responses above rejected ones at every rank, whoever they are of."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=row_losses(
      transport.unpaired_transport, weight=weight, samples=samples
    ),
  )


@register(_BCO)
def bco(
  *, samples: int = 2, weight: float = 0.1, correct: float = 0.5
) -> Recipe:
  """Single responses, good or bad, about the mean score of all so far.

  Where good and bad ones are of different prompts, `bco_matched` weighs them.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=baselines.RunningScore(),
    objective=row_losses(unary.classified, weight=weight, correct=correct),
  )


@register(_BCO, Limit('bco', {'low': 1.0, 'high': 1.0}))
def bco_matched(
  *,
  samples: int = 2,
  weight: float = 0.1,
  correct: float = 0.5,
  low: float = 0.5,
  high: float = 10.0,
  size: int = 256,
  most: int = 1024,
) -> Recipe:
  """BCO, a bad response weighing as much as its prompt is like good ones'.

  Of recorded responses to different prompts, with recipe.samples=1 and records
  of `prompt`, `completion` and `label`. A classifier tells the prompts of
  good responses from those of bad ones, and bad ones weigh its odds, held to
  [low, high], so that they stand for the same prompts.

  Deviates: the classifier reads how often each token stands in a prompt, where
  TRL's is given an embedding.
  """
  return Recipe(
    plan=matched.Matched(samples, correct, size, most),
    credit=baselines.RunningScore(),
    objective=row_losses(
      unary.classified_alike,
      weight=weight,
      correct=correct,
      low=low,
      high=high,
    ),
  )


@register(
  Paper(
    'As Simple as Fine-tuning: LLM Alignment via Bidirectional Negative '
    'Feedback Loss',
    '2410.04834',
    'VERIFIED-2',
  )
)
def bnf(*, samples: int = 2) -> Recipe:
  """Likelihood of the better one less that of the worse, both bounded.

  A token's slope is that of likelihood where it gains, and dies out where it
  falls below the reference, so nothing is left to tune.

  Deviates: as oat has it, in pairs over the length of the shorter one; the
  paper also learns from responses without a rival.

  No limit: no other loss keeps part of its own slope constant.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      preference.difference,
      feedback.bounded_by_reference,
      samples=samples,
    ),
  )


@register(
  Paper(
    'WPO: Enhancing RLHF with Weighted Preference Optimization',
    '2406.11827',
    'VERIFIED-2',
  )
)
def wpo(*, samples: int = 2, weight: float = 0.01) -> Recipe:
  """DPO, pairs weighing more that the policy itself could have written."""
  pair = grouped.GroupLoss(
    grouped.Pairs(partial(preference.logistic, weight=weight)),
    grouped.to_reference,
    samples,
  )
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=row_losses(grouped.WeighedByChance(pair), samples=samples),
  )


@register(
  Paper(
    'Enhancing the Reasoning Ability of Multimodal Large Language Models via '
    'Mixed Preference Optimization',
    '2411.10442',
    'VERIFIED-2',
  ),
  Limit(
    'dpo',
    {'preference_weight': 1.0, 'quality_weight': 0.0, 'imitation': 0.0},
    {'weight': 0.1},
  ),
)
def mpo(
  *,
  samples: int = 2,
  weight: float = 0.1,
  preference_weight: float = 0.8,
  quality_weight: float = 0.2,
  imitation: float = 1.0,
) -> Recipe:
  """Which is better, how good each is, and how the better one is written.

  Deviates: quality has no running reference point, as `bco` has; the mean is
  over the tokens of each chosen response.
  """
  losses = grouped.mixed_preference(
    samples=samples,
    weight=weight,
    preference_weight=preference_weight,
    quality_weight=quality_weight,
    imitation=imitation,
  )
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=row_losses(losses, samples=samples),
  )
