"""Entries that play preference games held to a reference.

The preferences of a group come from an oracle, or from the rewards: then the
higher one wins. The exact steps of these games are in `tabular.games`.
"""

from __future__ import annotations

from functools import partial

from jaxrl_llm import reference
from jaxrl_llm.advantages import tokens
from jaxrl_llm.credit import chain, estimate_tokens, shape, weigh_tokens
from jaxrl_llm.objectives import grouped, nash, preference
from jaxrl_llm.objectives.base import row_losses
from jaxrl_llm.objectives.grouped import pair_losses
from jaxrl_llm.plans import half_steps, opponents, sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.rewards import duels
from jaxrl_llm.selection import pairs

_NASH = Paper('Nash Learning from Human Feedback', '2312.00886', 'VERIFIED-2')
_INPO = Paper(
  'Iterative Nash Policy Optimization: Aligning LLMs with General '
  'Preferences via No-Regret Learning',
  '2407.00617',
)
_EGPO = Paper(
  'Extragradient Preference Optimization (EGPO): Beyond Last-Iterate '
  'Convergence for Nash Learning from Human Feedback',
  '2503.08942',
)


@register(
  _INPO,
  Limit('online_ipo', {'share': 1.0}, {'weight': 0.002}),
)
def inpo(
  *,
  samples: int = 8,
  weight: float = 0.002,
  share: float = 1 / 3,
  minibatches: int = 1,
) -> Recipe:
  """IPO between the last iterate and the reference: online mirror descent.

  `weight` is eta and `share` tau / eta, with the values of the COMAL code.
  Which of two is the better is a draw of P; the loss here is its mean over
  that draw, (D - (P - 1/2) / eta)^2 but for a constant; `inpo_drawn` draws.

  Deviates: every two rows of a group are a pair, where the published runs
  pair the best with the worst, as `inpo_knockout` does.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=duels.Duels(duels.against_others, samples),
    objective=_mirrored(samples, weight, share, pairs.every),
    minibatches=minibatches,
  )


@register(_INPO, Limit('inpo', {'samples': 2}, {'samples': 2}))
def inpo_drawn(
  *,
  samples: int = 2,
  weight: float = 0.002,
  share: float = 1 / 3,
  minibatches: int = 1,
) -> Recipe:
  """INPO as its algorithm has it: one query a pair, whose answer is drawn.

  Two responses to each prompt, of which one wins by its chance against the
  other, and the loss (D - 1 / (2 eta))^2 of who won.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=duels.DrawnDuels(duels.against_others, samples),
    objective=_mirrored(samples, weight, share, pairs.every),
    minibatches=minibatches,
  )


def _mirrored(samples, weight, share, among, gap=grouped.of_preferences):
  """Margins to the iterate and the reference regressed on preferences."""
  return pair_losses(
    preference.regression,
    partial(grouped.to_mixture, share=share),
    scale=1 / weight,
    among=among,
    gap=gap,
    samples=samples,
  )


@register(_INPO)
def inpo_knockout(
  *,
  samples: int = 8,
  weight: float = 0.002,
  share: float = 1 / 3,
  minibatches: int = 1,
) -> Recipe:
  """INPO on the two whom a knock-out of a group finds, as its runs pair them.

  The better one has won, and a pair that it would lose is left out.

  Deviates: the loss is the mean over all ways to draw up the matches.

  No limit: no other entry lets who wins more often win for certain.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=duels.Duels(duels.against_others, samples),
    objective=_mirrored(
      samples, weight, share, pairs.knocked_out, grouped.of_winners
    ),
    minibatches=minibatches,
  )


@register(_INPO)
def inpo_best_worst(
  *,
  samples: int = 8,
  weight: float = 0.002,
  share: float = 1 / 3,
  minibatches: int = 1,
) -> Recipe:
  """INPO on the two rows of a group that win most and least often.

  Deviates: all rows of a group meet, where a tournament finds the two, as in
  `inpo_knockout`; the code's better one has won, here its chance counts.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=duels.Duels(duels.against_others, samples),
    objective=_mirrored(samples, weight, share, pairs.best_and_worst),
    minibatches=minibatches,
  )


def _gradient(against, samples: int, kl_weight: float, *only):
  """The exact policy gradient of the regularised game."""
  return chain(
    duels.Duels(against, samples),
    shape(duels.less_a_half),
    estimate_tokens(tokens.kl_reward_to_go, kl_weight=kl_weight),
    *only,
  )


def _against_others(samples: int, kl_weight: float):
  """Likewise, against the rows of a group that somebody else wrote."""
  only = weigh_tokens(duels.own_rows)
  return _gradient(duels.against_opponents, samples, kl_weight, only)


@register(_NASH)
def nash_self_play(*, samples: int = 8, kl_weight: float = 0.01) -> Recipe:
  """The regularised policy gradient against the policy itself.

  The KL is that of whole sequences, each token answering for later ones.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=_gradient(duels.against_others, samples, kl_weight),
  )


@register(_NASH)
def nash_md(
  *, samples: int = 8, kl_weight: float = 0.01, share: float = 0.125
) -> Recipe:
  """Nash-MD-PG: against a geometric mixture with the reference.

  The second half of every group is sampled from it, token by token. A share of
  1 is the best response to the reference.
  """
  return Recipe(
    plan=opponents.Versus(samples=samples, share=share),
    credit=_against_others(samples, kl_weight),
  )


@register(_NASH, Limit('nash_md'))
def nash_ema(
  *, samples: int = 8, kl_weight: float = 0.01, decay: float = 0.999
) -> Recipe:
  """Nash-EMA-PG: against a moving average of the policy's parameters.

  The KL is still to the start. The decay is recalled.
  """
  return Recipe(
    plan=opponents.Versus(samples=samples),
    credit=_against_others(samples, kl_weight),
    reference=reference.Beside(reference.Frozen(), reference.EMA(decay)),
  )


@register(_NASH, Limit('nash_self_play', {'share': 0.0}))
def nash_md_reweighted(
  *, samples: int = 8, kl_weight: float = 0.01, share: float = 0.125
) -> Recipe:
  """Nash-MD-PG without a second sampler: the group stands for the mixture.

  Deviates: rows of the group, reweighted, stand for samples of the mixture of
  whole responses, where the paper samples from a mixture of next-token
  distributions.
  """
  against = partial(duels.against_mixture, share=share)
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=_gradient(against, samples, kl_weight),
  )


@register(_NASH, Limit('nash_md'))
def nash_opponents(*, samples: int = 8, kl_weight: float = 0.01) -> Recipe:
  """The policy gradient against rows that another policy wrote.

  The second half of every group is written by the policy of `teacher.paths`.
  """
  return Recipe(
    plan=opponents.VersusTeacher(samples=samples),
    credit=_against_others(samples, kl_weight),
  )


@register(
  Paper(
    'Accelerating Nash Learning from Human Feedback via Mirror Prox',
    '2505.19731',
    'RECALLED',
  )
)
def nash_mp(
  *, samples: int = 8, weight: float = 0.1, pull: float = 0.2, epochs: int = 4
) -> Recipe:
  """Proximal steps from the last iterate, against the policy ahead of it.

  Each iteration solves one step by a few gradients.

  Deviates: recalled. The opponents are the group's rows reweighted to the
  policy as it moves, where the paper solves two halves apart or plays a moving
  average.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=duels.Duels(duels.against_others, samples),
    objective=row_losses(
      nash.proximal_game, weight=weight, pull=pull, samples=samples
    ),
    epochs=epochs,
  )


@register(_EGPO)
def online_ipo(*, samples: int = 4, weight: float = 0.1) -> Recipe:
  """Log-ratios regressed on who beats whom, both sides sampled.

  The stationary policy is the equilibrium of the game regularised by `weight`
  times the KL of whole responses.

  Deviates: log-ratios are sums over the tokens of a response, as in the
  paper's equations; its code takes means, whose regulariser is weight /
  length. Responses are sampled from the policy, not from one made to explore.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=duels.Duels(duels.against_others, samples),
    objective=pair_losses(
      preference.regression,
      grouped.to_reference,
      scale=1 / weight,
      among=pairs.every,
      gap=grouped.of_preferences,
      samples=samples,
    ),
  )


@register(_EGPO)
def egpo(*, samples: int = 4, weight: float = 0.1) -> Recipe:
  """Online IPO against opponents half a step ahead.

  The opponents are sampled from the policy that an ordinary step on self-play
  makes; parameters and optimiser are then as they were.

  Deviates: as `online_ipo` does.
  """
  return Recipe(
    plan=half_steps.HalfStep(samples=samples),
    credit=duels.Duels(duels.against_opponents, samples),
    objective=pair_losses(
      preference.regression,
      grouped.to_reference,
      scale=1 / weight,
      among=nash.own_pairs,
      samples=samples,
    ),
  )
