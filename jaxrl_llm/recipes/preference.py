"""Entries that learn which of two responses is better.

Recorded pairs are groups of two whose rewards are 1 (chosen) and 0. Larger
groups, and groups sampled by the policy itself, are compared pair by pair.
"""

from __future__ import annotations

from functools import partial

from jaxrl_llm.credit import chain, weigh
from jaxrl_llm.objectives import (
  aggregate,
  costs,
  feedback,
  grouped,
  preference,
  transport,
)
from jaxrl_llm.objectives.base import Cost, row_losses
from jaxrl_llm.objectives.grouped import pair_losses
from jaxrl_llm.plans import sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.selection import filters, pairs

_AOT = Paper(
  'Distributional Preference Alignment of LLMs via Optimal Transport',
  '2406.05882',
  'VERIFIED-2',
)
_DPO = Paper(
  'Direct Preference Optimization: Your Language Model is Secretly a Reward '
  'Model',
  '2305.18290',
)
_IPO = Paper(
  'A General Theoretical Paradigm to Understand Learning from Human '
  'Preferences',
  '2310.12036',
)
_RPO = (
  'Provably Mitigating Overoptimization in RLHF: Your SFT Loss is Implicitly '
  'an Adversarial Regularizer'
)


@register(_DPO)
def dpo(*, samples: int = 2, weight: float = 0.1) -> Recipe:
  """The likelihood of preferences, with the policy as its own reward model."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      preference.logistic, grouped.to_reference, weight=weight, samples=samples
    ),
  )


@register(_DPO, Limit('dpo', {'smoothing': 0.0}))
def cdpo(
  *, samples: int = 2, weight: float = 0.1, smoothing: float = 0.1
) -> Recipe:
  """DPO for labels that may be wrong: conservative, bounded below."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      preference.logistic,
      grouped.to_reference,
      weight=weight,
      smoothing=smoothing,
      samples=samples,
    ),
  )


@register(
  Paper(
    'Provably Robust DPO: Aligning Language Models with Noisy Feedback',
    '2403.00409',
  ),
  Limit('dpo', {'flip': 0.0}),
)
def rdpo(*, samples: int = 2, weight: float = 0.1, flip: float = 0.1) -> Recipe:
  """DPO's loss of the true labels, estimated from flipped ones."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      preference.debiased,
      grouped.to_reference,
      weight=weight,
      flip=flip,
      samples=samples,
    ),
  )


@register(_IPO)
def ipo(*, samples: int = 2, weight: float = 0.1) -> Recipe:
  """A margin of log-ratios of 1 / (2 weight), no more."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      preference.square, grouped.to_reference, weight=weight, samples=samples
    ),
  )


@register(_IPO)
def ipo_mean(*, samples: int = 2, weight: float = 0.1) -> Recipe:
  """IPO with log-ratios averaged over tokens, as trainers (TRL) run it."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      preference.square,
      grouped.mean_to_reference,
      weight=weight,
      samples=samples,
    ),
  )


@register(
  Paper(
    'SLiC-HF: Sequence Likelihood Calibration with Human Feedback', '2305.10425'
  )
)
def slic_hf(
  *, samples: int = 2, width: float = 1.0, imitation: float = 0.1
) -> Recipe:
  """A hinge on plain likelihoods, and imitation of the chosen response."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=_with(
      partial(preference.hinge, width=width),
      grouped.likelihood,
      samples,
      _imitated(grouped.likelihood, samples),
      imitation,
    ),
  )


def _imitated(score, samples, among=pairs.better):
  """The chosen response of a pair up, as its score has it."""
  return grouped.GroupLoss(
    grouped.Pairs(preference.imitation, among), score, samples
  )


def _with(link, score, samples, second, weight):
  """A loss of pairs, and `weight` times another loss of rows."""
  pair = grouped.GroupLoss(grouped.Pairs(link), score, samples)
  return row_losses(
    grouped.Total((pair, second), (1.0, weight)), samples=samples
  )


@register(
  Paper(
    'SimPO: Simple Preference Optimization with a Reference-Free Reward',
    '2405.14734',
  )
)
def simpo(
  *, samples: int = 2, weight: float = 2.0, margin_ratio: float = 0.5
) -> Recipe:
  """Mean log-probs as rewards, a margin to keep and no reference.

  The margin is `margin_ratio` times `weight`, as in the published code.
  """
  link = partial(
    preference.logistic, weight=weight, offset=margin_ratio * weight
  )
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(link, grouped.mean_likelihood, samples=samples),
  )


@register(
  Paper(_RPO, '2405.16436'), Limit('dpo', {'imitation': 0.0}, {'weight': 0.01})
)
def rpo(
  *, samples: int = 2, weight: float = 0.01, imitation: float = 0.005
) -> Recipe:
  """DPO with imitation: -imitation weight times the chosen log-prob.

  The scaling of the paper's handbook trainer, which sums over tokens.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=_with(
      partial(preference.logistic, weight=weight),
      grouped.to_reference,
      samples,
      _imitated(grouped.likelihood, samples),
      weight * imitation,
    ),
  )


@register(
  Paper(_RPO, '2405.16436'), Limit('dpo', {'imitation': 0.0}, {'weight': 0.5})
)
def rpo_sequence_mean(
  *, samples: int = 2, weight: float = 0.5, imitation: float = 0.2
) -> Recipe:
  """DPO with imitation of the mean token of each chosen response.

  The scaling of the paper's OpenRLHF trainer.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=_with(
      partial(preference.logistic, weight=weight),
      grouped.to_reference,
      samples,
      _imitated(grouped.mean_likelihood, samples),
      imitation,
    ),
  )


@register(
  Paper(_RPO, '2405.16436', 'VERIFIED-2'),
  Limit('dpo', {'imitation': 0.0}, {'weight': 0.1}, up_to_scale=True),
)
def rpo_token_mean(
  *, samples: int = 2, weight: float = 0.1, imitation: float = 0.005
) -> Recipe:
  """DPO with imitation of the mean token of all chosen responses.

  The scaling of TRL.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    # The best rows, but not of responses that all tie.
    credit=chain(weigh(filters.mixed_groups), weigh(filters.best_rows)),
    objective=pair_losses(
      preference.logistic,
      grouped.to_reference,
      weight=weight,
      samples=samples,
      imitation=Cost(costs.negative_logp, imitation),
    ),
    aggregate=aggregate.token_mean,
  )


@register(
  Paper(
    'Triple Preference Optimization: Achieving Better Alignment in a Single '
    'Step Optimization',
    '2405.16681',
    'VERIFIED-2',
  )
)
def tpo(
  *, samples: int = 3, weight: float = 0.01, imitation: float = 1.0
) -> Recipe:
  """Pairs of likelihoods, and imitation of a third response, the best.

  A record holds it beside the two: scores of 2, 1 and 0. Read in TRL, whose
  numbers these are; `score=mean_likelihood
  link=logistic(0.01,offset=0.5)` is its TPO-L.

  No limit: no other recipe leaves the best response out of the pairs.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    # The best rows, but not of responses that all tie.
    credit=chain(weigh(filters.mixed_groups), weigh(filters.best_rows)),
    objective=pair_losses(
      preference.logistic,
      grouped.likelihood,
      weight=weight,
      samples=samples,
      among=pairs.below_best,
      imitation=Cost(costs.negative_logp, imitation),
    ),
    aggregate=aggregate.token_mean,
  )


@register(
  Paper(
    'ORPO: Monolithic Preference Optimization without Reference Model',
    '2403.07691',
  )
)
def orpo(*, samples: int = 2, weight: float = 0.1) -> Recipe:
  """Imitation of the chosen response, and odds against the rejected one."""
  odds = grouped.GroupLoss(
    grouped.Pairs(partial(preference.logistic, weight=1.0)),
    grouped.log_odds,
    samples,
  )
  chosen = _imitated(grouped.mean_likelihood, samples)
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=row_losses(
      grouped.Total((chosen, odds), (1.0, weight)), samples=samples
    ),
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
