"""Entries that learn from pairs of responses.

Offline pairs are groups of two whose rewards are 1 (chosen) and 0. Larger
groups, and groups sampled by the policy itself, are compared pair by pair.
"""

from __future__ import annotations

from functools import partial

from jaxrl_llm.credit import chain, weigh
from jaxrl_llm.objectives import aggregate, costs, grouped, preference, unary
from jaxrl_llm.objectives.base import Cost, row_losses
from jaxrl_llm.objectives.grouped import pair_losses
from jaxrl_llm.plans import rejected, resampled, sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.selection import filters, pairs

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
_RSO = Paper(
  'Statistical Rejection Sampling Improves Preference Optimization',
  '2309.06657',
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


@register(_RSO)
def rso(
  *,
  samples: int = 8,
  candidates: int = 64,
  temperature: float = 0.5,
  weight: float = 0.05,
) -> Recipe:
  """A hinge on log-ratios, of pairs that rejection sampling drew.

  The reference answers each question with `candidates` responses, of which
  `samples` are kept in favour of high rewards. All their pairs count, which is
  the mean over pairs at random, the paper's first-round-rank.

  Deviates: the paper draws all pairs before it learns, with a ranker's chance
  of winning as the reward; here pairs are drawn anew in every iteration, and
  the reward is the verifiers'. Pairs that were drawn before are learned by
  `dpo` with slots.link='hinge(weight=0.05)'.
  """
  return Recipe(
    plan=rejected.Rejected(
      samples=samples, candidates=candidates, temperature=temperature
    ),
    objective=pair_losses(
      preference.hinge, grouped.to_reference, weight=weight, samples=samples
    ),
  )


@register(_RSO, Limit('rso', {'samples': 2}))
def rso_tournament(
  *,
  samples: int = 8,
  candidates: int = 64,
  temperature: float = 0.5,
  weight: float = 0.05,
) -> Recipe:
  """RSO on the games of a knock-out among what was kept: tournament-rank.

  Deviates: as `rso`; the loss is the mean over all ways to draw the games.
  """
  return Recipe(
    plan=rejected.Rejected(
      samples=samples, candidates=candidates, temperature=temperature
    ),
    objective=pair_losses(
      preference.hinge,
      grouped.to_reference,
      weight=weight,
      among=pairs.by_tournament,
      samples=samples,
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
  Paper(
    'REBEL: Reinforcement Learning via Regressing Relative Rewards',
    '2404.16767',
  )
)
def rebel(
  *, samples: int = 2, scale: float = 1.0, minibatches: int = 4
) -> Recipe:
  """Moves of the policy regressed on differences of rewards."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      preference.regression,
      grouped.to_iterate,
      scale=scale,
      samples=samples,
      among=pairs.every,
    ),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Regressing the Relative Future: Efficient Policy Optimization for '
    'Multi-turn RLHF',
    '2410.04612',
  )
)
def refuel(
  *, samples: int = 2, turns: int = 4, scale: float = 1.0, minibatches: int = 4
) -> Recipe:
  """REBEL on one turn of a dialogue, with the rewards of two futures.

  The rows of a group share a dialogue up to one of its turns; tokens of that
  turn alone enter the margin.
  """
  return Recipe(
    plan=resampled.Resampled(samples=samples, turns=turns),
    objective=pair_losses(
      preference.regression,
      grouped.to_iterate_in_turn,
      scale=scale,
      samples=samples,
      among=pairs.every,
    ),
    minibatches=minibatches,
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
