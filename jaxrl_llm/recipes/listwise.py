"""Entries that learn from lists: several responses and their scores."""

from __future__ import annotations

from functools import partial

from jaxrl_llm.objectives import grouped, listwise, preference
from jaxrl_llm.objectives.base import row_losses
from jaxrl_llm.objectives.grouped import group_losses, pair_losses
from jaxrl_llm.plans import sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.selection import pairs

_LIPO = Paper(
  'LiPO: Listwise Preference Optimization through Learning-to-Rank',
  '2402.01878',
)
_SUBOPTIMAL = Paper(
  'Preference Fine-Tuning of LLMs Should Leverage Suboptimal, On-Policy Data',
  '2404.14367',
)


@register(_LIPO)
def lipo(*, samples: int = 8, weight: float = 0.05) -> Recipe:
  """LiPO-lambda: pairs count by what swapping them does to the ranking."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      preference.logistic,
      grouped.to_reference,
      weight=weight,
      among=pairs.by_rank,
      samples=samples,
    ),
  )


@register(_LIPO, Limit('dpo', {'samples': 2}, {'weight': 0.05}))
def lipo_logistic(*, samples: int = 8, weight: float = 0.05) -> Recipe:
  """The logistic loss of every ordered pair of a list, summed."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      preference.logistic,
      grouped.to_reference,
      weight=weight,
      among=pairs.each_better,
      samples=samples,
    ),
  )


@register(_LIPO, Limit('rso', {'samples': 2}))
def lipo_hinge(*, samples: int = 8, weight: float = 0.05) -> Recipe:
  """The hinge loss of every ordered pair of a list, summed."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      preference.hinge,
      grouped.to_reference,
      weight=weight,
      among=pairs.each_better,
      samples=samples,
    ),
  )


@register(_LIPO, Limit('dpo', {'samples': 2}, {'weight': 0.05}))
def lipo_mle(*, samples: int = 8, weight: float = 0.05) -> Recipe:
  """The likelihood of the whole ranking under Plackett and Luce."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=group_losses(
      listwise.plackett_luce,
      grouped.to_reference,
      weight=weight,
      samples=samples,
    ),
  )


@register(_LIPO)
def lipo_softmax(*, samples: int = 8, weight: float = 0.05) -> Recipe:
  """The labels' shares fitted by the softmax of the log-ratios (ListNet)."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=group_losses(
      listwise.softmax, grouped.to_reference, weight=weight, samples=samples
    ),
  )


@register(_LIPO)
def lipo_square(*, samples: int = 8, weight: float = 0.05) -> Recipe:
  """Each label fitted by its log-ratio, squared."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=group_losses(
      listwise.point_square,
      grouped.to_reference,
      weight=weight,
      samples=samples,
    ),
  )


@register(_LIPO)
def lipo_point(*, samples: int = 8, weight: float = 0.05) -> Recipe:
  """Each label fitted by the sigmoid of its log-ratio."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=group_losses(
      listwise.point_logistic,
      grouped.to_reference,
      weight=weight,
      samples=samples,
    ),
  )


@register(
  Paper(
    'RRHF: Rank Responses to Align Language Models with Human Feedback '
    'without tears',
    '2304.05302',
  )
)
def rrhf(*, samples: int = 4, imitation: float = 1.0) -> Recipe:
  """Mean log-probs in the order of the rewards, and imitation of the best.

  Imitation sums over tokens as in the paper; its code divides by the padded
  length. Also the method of arXiv 2312.05657, with unit tests and run times
  as rewards.

  Deviates: of rows that tie for the best the mean is imitated, where the paper
  takes one.
  """
  ranked = grouped.GroupLoss(
    grouped.Pairs(partial(preference.hinge, width=0.0), pairs.each_better),
    grouped.mean_likelihood,
    samples,
  )
  best = grouped.GroupLoss(
    partial(listwise.likelihood_contrast, sides=listwise.only_best, weight=0.0),
    grouped.likelihood,
    samples,
  )
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=row_losses(
      grouped.Total((ranked, best), (1.0, imitation)), samples=samples
    ),
  )


@register(_SUBOPTIMAL)
def best_of_n_imitation(*, samples: int = 8) -> Recipe:
  """Maximum likelihood of the best of N responses."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=group_losses(
      listwise.likelihood_contrast,
      grouped.likelihood,
      sides=listwise.only_best,
      weight=0.0,
      samples=samples,
    ),
  )


@register(_SUBOPTIMAL, Limit('best_of_n_imitation', {'weight': 0.0}))
def negative_worst(*, samples: int = 8, weight: float = 0.1) -> Recipe:
  """The best of N up, the worst down.

  Deviates: the weight is ours.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=group_losses(
      listwise.likelihood_contrast,
      grouped.likelihood,
      sides=listwise.best_against_worst,
      weight=weight,
      samples=samples,
    ),
  )


@register(
  _SUBOPTIMAL,
  Limit('best_of_n_imitation', {'weight': 0.0}),
  Limit('negative_sum', {'samples': 2}),
)
def negative_mean(*, samples: int = 8, weight: float = 0.1) -> Recipe:
  """The best of N up, the mean of the others down.

  Deviates: the weight is ours.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=group_losses(
      listwise.likelihood_contrast,
      grouped.likelihood,
      sides=listwise.best_against_mean,
      weight=weight,
      samples=samples,
    ),
  )


@register(_SUBOPTIMAL, Limit('best_of_n_imitation', {'weight': 0.0}))
def negative_sum(*, samples: int = 8, weight: float = 0.1) -> Recipe:
  """The best of N up, each of the others down.

  Deviates: the weight is ours.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=group_losses(
      listwise.likelihood_contrast,
      grouped.likelihood,
      sides=listwise.best_against_sum,
      weight=weight,
      samples=samples,
    ),
  )
