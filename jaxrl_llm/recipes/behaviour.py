"""Entries whose responses are not simply the policy's own samples."""

from __future__ import annotations

from functools import partial

from jaxrl_llm import reference, update
from jaxrl_llm.advantages import critics, group, tokens
from jaxrl_llm.credit import chain, estimate, refine
from jaxrl_llm.objectives import aggregate, costs, gates, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import (
  guides,
  masked,
  offline_states,
  sampled,
  undersampled,
)
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register

_RLGF = Paper('Learning to Generate Better Than Your LLM', '2306.11816')


def _guided(clip: float, value_weight: float, value_clip: float):
  """PPO on the policy's part of a response, a critic on the second part."""
  error = partial(costs.guided_value_error, clip=value_clip)
  return policy_gradient(
    surrogates.clip,
    low=clip,
    high=clip,
    gate=gates.own_tokens,
    value=Cost(error, value_weight),
  )


@register(_RLGF)
def ppo_plus_plus(
  *,
  samples: int = 1,
  restart: float = 0.8,
  clip: float = 0.2,
  discount: float = 1.0,
  trace: float = 0.95,
  value_weight: float = 0.5,
  value_clip: float = 0.2,
  minibatches: int = 4,
) -> Recipe:
  """PPO from states that a guide reaches (PPO++).

  The guide is the first policy of `teacher.paths`.

  Deviates: without the KL to it that the paper puts into the reward, as the
  other entries of its family.
  """
  return Recipe(
    plan=guides.Guided(samples=samples, restart=restart),
    credit=tokens.GAE(discount=discount, trace=trace),
    objective=_guided(clip, value_weight, value_clip),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(_RLGF)
def aggrevated(
  *,
  samples: int = 1,
  restart: float = 0.8,
  clip: float = 0.2,
  discount: float = 1.0,
  trace: float = 0.95,
  value_weight: float = 0.5,
  value_clip: float = 0.2,
  minibatches: int = 4,
) -> Recipe:
  """A policy that learns what to begin for its guide to complete.

  AggreVaTeD on tokens: returns are the guide's, from states of the policy's.

  Deviates: both losses are averaged over all tokens of the step, where the
  published code divides each by the number of its own, the policy's and the
  guide's.
  """
  return Recipe(
    plan=guides.Guided(samples=samples, restart=restart, before=0.0, after=0.0),
    credit=tokens.GAE(discount=discount, trace=trace),
    objective=_guided(clip, value_weight, value_clip),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(_RLGF, Limit('ppo_plus_plus', {'mixture': 1.0}))
def lols(
  *,
  samples: int = 1,
  restart: float = 0.8,
  mixture: float = 0.8,
  clip: float = 0.2,
  discount: float = 1.0,
  trace: float = 0.95,
  value_weight: float = 0.5,
  value_clip: float = 0.2,
  minibatches: int = 4,
) -> Recipe:
  """Iterations of PPO++ and of AggreVaTeD, drawn at random (LOLS).

  `mixture` is the probability of PPO++.

  Deviates: as `ppo_plus_plus` and `aggrevated` do, in the reward's KL and in
  what the losses are averaged over.
  """
  return Recipe(
    plan=guides.Guided(
      samples=samples, restart=restart, before=mixture, after=mixture
    ),
    credit=tokens.GAE(discount=discount, trace=trace),
    objective=_guided(clip, value_weight, value_clip),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(_RLGF, Limit('ppo_plus_plus', {'turn': 0}))
def d2lols(
  *,
  samples: int = 1,
  restart: float = 0.8,
  turn: int = 100,
  clip: float = 0.2,
  discount: float = 1.0,
  trace: float = 0.95,
  value_weight: float = 0.5,
  value_clip: float = 0.2,
  minibatches: int = 4,
) -> Recipe:
  """AggreVaTeD for `turn` iterations, PPO++ from then on (D2LOLS).

  The paper turns after 20, 100 or 200 of them, by the task.

  Deviates: as `ppo_plus_plus` and `aggrevated` do, in the reward's KL and in
  what the losses are averaged over.
  """
  return Recipe(
    plan=guides.Guided(
      samples=samples, restart=restart, before=0.0, after=1.0, turn=turn
    ),
    credit=tokens.GAE(discount=discount, trace=trace),
    objective=_guided(clip, value_weight, value_clip),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Is Reinforcement Learning (Not) for Natural Language Processing: '
    'Benchmarks, Baselines, and Building Blocks for Natural Language Policy '
    'Optimization',
    '2210.01241',
  )
)
def nlpo(
  *,
  samples: int = 1,
  share: float = 0.9,
  least: int = 100,
  every: int = 5,
  clip: float = 0.2,
  discount: float = 1.0,
  trace: float = 0.95,
  kl_weight: float = 0.1,
  kl_target: float = 1.0,
  value_weight: float = 0.5,
  value_clip: float = 0.2,
  epochs: int = 5,
  minibatches: int = 4,
) -> Recipe:
  """PPO within the top-p set of an older copy of the policy.

  The copy is made anew `every` iterations. Run it with `sample.support` = 200,
  say: so many of the tokens that the copy keeps, those likeliest under the
  policy, are recorded and drawn from, and the learner's ratios are among
  them. Numbers are the published ones of its sentiment task.

  Deviates: the copy is made after the steps of its iteration, there before
  them. The KL is of the distributions that are masked, there of whole ones. Of
  special tokens those that end a response are always kept, there all.
  """
  error = partial(costs.squared_value_error, clip=value_clip)
  return Recipe(
    plan=masked.Masked(samples=samples, share=share, least=least),
    credit=chain(
      critics.SteeredGAE(discount, trace, kl_weight, kl_target),
      refine(tokens.whiten_batch),
    ),
    objective=policy_gradient(
      surrogates.clip, low=clip, high=clip, value=Cost(error, value_weight)
    ),
    aggregate=aggregate.token_mean,
    reference=reference.Beside(reference.Frozen(), reference.Periodic(every)),
    epochs=epochs,
    minibatches=minibatches,
  )


@register(
  Paper(
    'On-Policy Policy Gradient Reinforcement Learning Without On-Policy '
    'Sampling',
    '2311.08290',
  ),
  Limit('grpo', {}, {'kl_weight': 0.0}),
)
def props(
  *,
  samples: int = 8,
  rounds: int = 2,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  width: float = 0.3,
  kl_weight: float = 0.1,
  limit: float = 0.01,
  epochs: int = 16,
  sampler_minibatches: int = 4,
  minibatches: int = 1,
) -> Recipe:
  """GRPO on responses of samplers that avoid what is there already.

  In every round after the first the sampler is the policy anew, moved for
  `epochs` on the rows so far: by `width` a token, against its KL, until that
  is `limit`. The policy learns from all rows as if they were its own. The
  optimiser of both is the run's, the sampler's without a memory.

  Deviates: GRPO's advantages take the place of a critic, and data are those of
  one iteration. The KL weight is ours; the published code leaves the term out.
  A step that finds the limit passed is not taken, there it is the last one.
  """
  sampler = Recipe(
    plan=sampled.independent(samples=samples),
    objective=policy_gradient(
      surrogates.undersampled, width=width, kl=Cost(costs.trust_kl, kl_weight)
    ),
    aggregate=aggregate.token_mean,
    update=partial(update.within, limit=limit),
    epochs=epochs,
    minibatches=sampler_minibatches,
  )
  plan = undersampled.Undersampled(sampler, samples, rounds)
  return Recipe(
    plan=plan,
    credit=estimate(group.norm),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Offline Data Enhanced On-Policy Policy Gradient with Provable Guarantees',
    '2311.08384',
  ),
  Limit('trpo', {'share': 0.0}),
)
def hnpg(
  *,
  samples: int = 8,
  share: float = 0.5,
  limit: float = 0.01,
  solves: int = 10,
  damping: float = 0.1,
) -> Recipe:
  """A natural-gradient step on states of one's own and of demonstrations.

  In demonstrated states actions are the policy's, as in the paper.

  Deviates: they are valued by going on from there, compared within a group,
  where the paper fits Q to returns and to the demonstrations' temporal
  differences.
  """
  return Recipe(
    plan=offline_states.OfflineStates(samples=samples, share=share),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.importance, trust=Cost(costs.trust_kl)
    ),
    aggregate=aggregate.token_mean,
    update=partial(
      update.trust_region, limit=limit, solves=solves, damping=damping
    ),
  )
