"""Entries that learn whether a response is good, without one beside it.

Recorded responses have a reward of 1 where somebody liked them, else 0.
"""

from __future__ import annotations

from jaxrl_llm.advantages import baselines
from jaxrl_llm.objectives import unary
from jaxrl_llm.objectives.base import row_losses
from jaxrl_llm.plans import matched, sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register

_BCO = Paper(
  'Binary Classifier Optimization for Large Language Model Alignment',
  '2404.04656',
  'VERIFIED-2',
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
  Paper('KTO: Model Alignment as Prospect Theoretic Optimization', '2402.01306')
)
def kto(
  *,
  samples: int = 2,
  weight: float = 0.1,
  gain: float = 1.0,
  loss: float = 1.0,
  correct: float = 0.5,
) -> Recipe:
  """Single responses, desirable or not, around a reference point.

  Deviates: the reference point is the step's mean log-ratio, where the paper,
  which learns from a fixed data set, pairs prompts with the responses to
  others.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=row_losses(
      unary.kto, weight=weight, gain=gain, loss=loss, correct=correct
    ),
  )
