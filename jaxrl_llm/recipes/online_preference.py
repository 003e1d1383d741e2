"""Entries that compare the policy's own responses while it learns."""

from __future__ import annotations

import math
from functools import partial

from jaxrl_llm import reference
from jaxrl_llm.advantages import group, tokens
from jaxrl_llm.credit import chain, estimate, refine, shape
from jaxrl_llm.objectives import (
  aggregate,
  costs,
  grouped,
  listwise,
  preference,
  surrogates,
  unary,
)
from jaxrl_llm.objectives.base import Cost, policy_gradient, row_losses
from jaxrl_llm.objectives.grouped import group_losses, pair_losses
from jaxrl_llm.plans import (
  greedy,
  hardest,
  imitated,
  opponents,
  recorded_beside,
  rejected,
  resets,
  sampled,
  searched,
)
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.rewards import constraints, duels
from jaxrl_llm.selection import pairs

_RSO = Paper(
  'Statistical Rejection Sampling Improves Preference Optimization',
  '2309.06657',
)
_P3O = (
  'Pairwise Proximal Policy Optimization: Harnessing Relative Feedback for '
  'LLM Alignment'
)
_OORL = Paper(
  'On-Policy Optimization with Group Equivalent Preference for '
  'Multi-Programming Language Understanding',
  '2505.12723',
  'VERIFIED-2',
)
_CGPO = Paper(
  'The Perfect Blend: Redefining RLHF with Mixture of Judges',
  '2409.20370',
  'VERIFIED-2',
)


@register(Paper(_P3O, '2310.00212', 'VERIFIED-2'))
def p3o(
  *,
  samples: int = 2,
  kl_weight: float = 0.05,
  epochs: int = 4,
  minibatches: int = 4,
) -> Recipe:
  """The policy gradient of pairs, exact off-policy too (PPG)."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=shape(duels.less_divergence, weight=kl_weight),
    objective=pair_losses(
      preference.pairwise_gradient,
      grouped.to_iterate,
      among=pairs.every,
      samples=samples,
    ),
    epochs=epochs,
    minibatches=minibatches,
  )


@register(Paper(_P3O, '2310.00212', 'RECALLED'), Limit('p3o', on_policy=True))
def p3o_separate(
  *,
  samples: int = 2,
  kl_weight: float = 0.05,
  clip: float = 0.2,
  epochs: int = 4,
  minibatches: int = 4,
) -> Recipe:
  """Pairs whose two ratios are clipped apart (P3O-V1).

  Deviates: recalled. The authors' code holds V2, and a later form that clips
  the log-prob of every token.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=shape(duels.less_divergence, weight=kl_weight),
    objective=pair_losses(
      preference.separately_clipped,
      grouped.to_iterate,
      clip=clip,
      among=pairs.every,
      samples=samples,
    ),
    epochs=epochs,
    minibatches=minibatches,
  )


@register(
  Paper(_P3O, '2310.00212'), Limit('p3o', {'clip': 1e9, 'most': math.inf})
)
def p3o_joint(
  *,
  samples: int = 2,
  kl_weight: float = 0.05,
  clip: float = 0.2,
  most: float = 10.0,
  epochs: int = 4,
  minibatches: int = 4,
) -> Recipe:
  """Pairs that are clipped where they have moved apart (P3O-V2).

  Deviates: the KL in the reward is that of the sampler, where the published
  code takes it anew at every step, and rewards are not divided by their running
  spread.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=shape(duels.less_divergence, weight=kl_weight),
    objective=pair_losses(
      preference.jointly_clipped,
      grouped.to_iterate,
      clip=clip,
      most=most,
      among=pairs.every,
      samples=samples,
    ),
    epochs=epochs,
    minibatches=minibatches,
  )


@register(_OORL)
def gepo(
  *,
  samples: int = 8,
  weight: float = 0.1,
  variance: float = 1.0,
  correct: float = 0.5,
) -> Recipe:
  """Good responses above bad ones as groups, and equally likely."""
  loss = partial(
    listwise.group_equivalent, weight=weight, variance=variance, correct=correct
  )
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=group_losses(loss, grouped.to_reference, samples=samples),
  )


@register(_OORL)
def oorl(
  *,
  samples: int = 8,
  clip: float = 0.2,
  weight: float = 0.1,
  variance: float = 1.0,
  preference_weight: float = 0.01,
  minibatches: int = 4,
) -> Recipe:
  """PPO's clip with group equivalence beside it.

  Deviates: the paper's groups are of a fixed data set; here both losses read
  the same rows. Its on-policy part is REINFORCE++, here with each group's
  mean for the batch's and without a KL.
  """
  equivalence = grouped.GroupLoss(
    partial(listwise.group_equivalent, weight=weight, variance=variance),
    grouped.to_reference,
    samples,
  )
  clipped = grouped.TokenMean(partial(surrogates.clip, low=clip, high=clip))
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm_by_batch),
    objective=row_losses(
      grouped.Total((clipped, equivalence), (1.0, preference_weight)),
      samples=samples,
    ),
    minibatches=minibatches,
  )


@register(
  Paper(
    'SePPO: Semi-Policy Preference Optimization for Diffusion Alignment',
    '2410.05255',
    'VERIFIED-2',
  )
)
def seppo(
  *,
  samples: int = 2,
  weight: float = 0.1,
  checkpoints: int = 7,
  every: int = 30,
) -> Recipe:
  """Demonstrations against responses of a drawn checkpoint, relative to it.

  Both are raised where the policy is behind the checkpoint.

  Deviates: log-probs of whole responses stand for the denoising errors of a
  diffusion model.
  """
  return Recipe(
    plan=imitated.BesideReference(samples=samples),
    objective=pair_losses(
      preference.self_play,
      grouped.to_reference,
      weight=weight,
      samples=samples,
      among=pairs.demonstrated,
    ),
    reference=reference.Pool(checkpoints, every),
  )


@register(
  Paper(
    'The Importance of Online Data: Understanding Preference Fine-tuning via '
    'Coverage',
    '2406.01462',
    'RECALLED',
  ),
)
def hypo(
  *, samples: int = 2, weight: float = 0.1, kl_weight: float = 0.01
) -> Recipe:
  """DPO on recorded pairs, and the divergence from the reference on samples.

  `samples` responses to each prompt are the data's, and as many the policy's,
  which nobody has to judge: experiments/configs/preference.py:hypo.

  Deviates: recalled, and the KL weight is ours.

  No limit: the pairs are those of recorded rows, which no other entry tells
  from the policy's own.
  """
  rows = 2 * samples
  link = partial(preference.logistic, weight=weight)
  pair = grouped.GroupLoss(
    grouped.Pairs(link, pairs.better_recorded), grouped.to_reference, rows
  )
  return Recipe(
    plan=recorded_beside.BesideOwn(samples),
    objective=row_losses(
      grouped.Total((pair, unary.divergence), (1.0, kl_weight)), samples=rows
    ),
  )


@register(
  Paper(
    'Exploratory Preference Optimization: Harnessing Implicit Q*-Approximation '
    'for Sample-Efficient RLHF',
    '2405.21046',
    'VERIFIED-2',
  ),
  Limit('dpo', {'optimism': 0.0}),
)
def xpo(
  *, samples: int = 2, weight: float = 0.1, optimism: float = 1e-5
) -> Recipe:
  """Online DPO against the reference, whose responses become less likely.

      -log sigmoid(weight (h_w - h_l)) + optimism log pi(the reference's)

  What the reference already says is left, so that the policy tries what it has
  not seen. Half of a group is the policy's, half the reference's.

  Deviates: pairs are all of a group, of one such pair in the paper; its
  optimism falls with the number of pairs so far, TRL's is constant or listed
  by epochs.
  """
  pair = grouped.Pairs(partial(preference.logistic, weight=weight))
  parts = (
    grouped.GroupLoss(pair, grouped.to_reference, samples),
    grouped.GroupLoss(grouped.of_opponents, grouped.likelihood, samples),
  )
  return Recipe(
    plan=opponents.BesideReference(samples=samples),
    objective=row_losses(
      grouped.Total(parts, (1.0, optimism)), samples=samples
    ),
  )


@register(
  Paper('Dataset Reset Policy Optimization for RLHF', '2404.08495'),
  Limit('ppo', {'value_weight': 0.5, 'epochs': 4}),
)
def dr_po(
  *,
  samples: int = 1,
  share: float = 1.0,
  clip: float = 0.2,
  value_weight: float = 0.1,
  epochs: int = 4,
  minibatches: int = 4,
) -> Recipe:
  """PPO on responses that go on from a prefix of the demonstration.

  Deviates: the published critic learns from the prefix too; here it is no
  action.
  """
  return Recipe(
    plan=resets.DatasetReset(samples=samples, share=share),
    credit=chain(
      tokens.GAE(discount=1.0, trace=0.95), refine(tokens.whiten_batch)
    ),
    objective=policy_gradient(
      surrogates.clip,
      low=clip,
      high=clip,
      value=Cost(partial(costs.squared_value_error, clip=0.2), value_weight),
    ),
    aggregate=aggregate.token_mean,
    epochs=epochs,
    minibatches=minibatches,
  )


@register(_CGPO)
def crpg(*, samples: int = 4, most: float = 10.0) -> Recipe:
  """Calibrated rewards of what all judges accept, with room for the KL.

  The verifiers after the first are the judges. The bound is ours.

  Deviates: the reward is the weighted sum of all verifiers, and the baseline
  the greedy response; a verifier that shall only judge has a weight of 0.
  """
  return Recipe(
    plan=greedy.WithGreedy(samples=samples),
    credit=chain(
      constraints.Constrained(partial(constraints.with_room, most=most)),
      estimate(constraints.minus_batch_mean),
    ),
  )


@register(_CGPO)
def codpo(
  *, samples: int = 4, weight: float = 0.1, imitation: float = 5.0
) -> Recipe:
  """DPO of the best accepted response against the worst refused one.

  With imitation of the chosen one's mean token. Best and worst are by the first
  verifier; the others are the judges.

  Deviates: rows that tie share the pair.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=row_losses(
      grouped.Total(
        tuple(
          grouped.GroupLoss(
            grouped.Pairs(link, pairs.constrained), score, samples
          )
          for link, score in (
            (partial(preference.logistic, weight=weight), grouped.to_reference),
            (preference.imitation, grouped.mean_likelihood),
          )
        ),
        (1.0, imitation),
      ),
      samples=samples,
    ),
  )


@register(_CGPO)
def crraft(*, samples: int = 4, most: float = 10.0) -> Recipe:
  """Imitation of the best accepted response, weighted by its reward.

  The bound is ours.

  Deviates: a group without one teaches nothing, where the paper falls back on
  the baseline response; of rows that tie all count. The reward is that of
  `crpg`.
  """
  return Recipe(
    plan=greedy.WithGreedy(samples=samples),
    credit=chain(
      constraints.BestAccepted(most),
      constraints.Constrained(partial(constraints.within, most=most)),
      estimate(group.reward),
    ),
  )


@register(
  Paper(
    'Boosting Tool Use of Large Language Models via Iterative Reinforced '
    'Fine-Tuning',
    '2501.09766',
  )
)
def itool(
  *,
  samples: int = 10,
  children: int = 2,
  depth: int = 3,
  explore: float = 1.0,
  pool: int = 3,
  weight: float = 2.5,
  margin_ratio: float = 0.2,
  mark: str = searched.MARK,
  phrases: int = 2,
  gap: float = 0.1,
  least: float = -0.3,
  limit: float = 0.95,
) -> Recipe:
  """The best step from a node of a search tree against its worst, by SimPO.

  Five rounds of Monte-Carlo tree search, steered by the perplexity of steps; a
  row is a step, `phrases` of a text or call, behind those before it. Of `pool`
  questions the one is asked whose demonstration the policy finds most unlikely.
  The paper's warm-up from easy to hard is two runs of `sft` before this one,
  see experiments/configs/itool.py.

  Deviates: ends are judged by the verifiers of the run, where in the published
  code the policy grades them with the answer at hand, and no reward is guessed
  for a step before its first end.

  No limit: a pair is of two steps from one node of a search, valued by all ends
  below them, and no other entry pairs steps.
  """
  link = partial(
    preference.logistic, weight=weight, offset=margin_ratio * weight
  )
  return Recipe(
    plan=hardest.Hardest(
      searched.Searched(samples, children, depth, explore, mark, phrases),
      pool=pool,
    ),
    objective=pair_losses(
      link,
      grouped.mean_likelihood,
      samples=samples,
      among=partial(pairs.siblings, gap=gap, least=least, limit=limit),
    ),
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
