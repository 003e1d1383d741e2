"""Entries that guide: by hints, drafts, critiques, stimuli, second thoughts.

A `phrase` says where the words go. That of a run on a chat model is a sentence:
--config.recipe.phrase='{prompt} A solution begins like this: {hint}'.
"""

from __future__ import annotations

from functools import partial

from jaxrl_llm import reference
from jaxrl_llm.advantages import critics, group, tokens
from jaxrl_llm.credit import chain, estimate, refine, weigh
from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import parts
from jaxrl_llm.objectives import aggregate, costs, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import (
  choices,
  drafts,
  fields,
  hinted,
  hints,
  reflected,
  retried,
  sampled,
  stimuli,
)
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.selection import filters


@register(
  Paper(
    'GHPO: Adaptive Guidance for Stable and Efficient LLM Reinforcement '
    'Learning',
    '2507.10628',
  ),
  Limit('grpo', {}, {'kl_weight': 0.0, 'epsilon': 1e-4}),
)
def ghpo(
  *,
  samples: int = 8,
  shares: tuple[float, ...] = (0.25, 0.5, 0.75),
  phrase: str = '{hint} {prompt}',
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  epsilon: float = 1e-4,
  minibatches: int = 1,
) -> Recipe:
  """GRPO whose groups without a success are asked again with a hint.

  The hint is the beginning of the `solution` of a question's record, a larger
  share of it at each try. A second verifier of form weighs 0.5 in the paper.

  Deviates: groups keep the prompt that they were sampled from, where the
  published code learns hints of an early try without the hint. Where the hint
  stands is `phrase`, in the paper a sentence behind the question. No hints at
  first whatever the rewards, which the code offers and leaves off. Rows are
  averaged each by itself, where the code's default, `bnpo`, averages tokens.
  """
  return Recipe(
    plan=retried.Retried(
      sampled.independent(samples=samples),
      when=choices.none_right,
      change=partial(hints.share_of_solution, shares=shares, phrase=phrase),
      levels=len(shares),
      checks=(fields.need('solution', 'which hints are made of'),),
    ),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Scaf-GRPO: Scaffolded Group Relative Policy Optimization for Enhancing '
    'LLM Reasoning',
    '2510.19807',
  ),
  Limit('dapo', {}, {'rounds': 1, 'clip_high': 0.2}, up_to_scale=True),
)
def scaf_grpo(
  *,
  samples: int = 8,
  levels: int = 12,
  after: int = 50,
  phrase: str = '{hint} {prompt}',
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """GRPO with one success, by the smallest hint that helps, where all failed.

  The `hints` of a question's record go from the least to the most that is told;
  in the paper three kinds, knowledge, plan and solution, of four each. They are
  tried with one response each, and the first success takes the place of a
  failure, hint and all; not in the first 50 iterations, nor where there was a
  success.

  Deviates: where the hint stands is `phrase`. Where a question has fewer hints
  than `levels`, its last one is tried again.
  """
  return Recipe(
    plan=retried.Retried(
      sampled.independent(samples=samples),
      when=choices.none_right,
      change=partial(hints.tier, phrase=phrase),
      take=choices.best_success,
      levels=levels,
      after=after,
      samples=1,
      checks=(fields.need('hints', 'a list of texts that tell more and more'),),
    ),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Self-Hinting Language Models Enhance Reinforcement Learning', '2602.03143'
  ),
  Limit('dapo', {}, {'rounds': 1}, up_to_scale=True),
)
def sage(
  *,
  samples: int = 8,
  levels: int = 3,
  ask: str = 'hint {level}: {prompt} {solution} ',
  phrase: str = '{hint} {prompt}',
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  epsilon: float = 1e-6,
  minibatches: int = 2,
) -> Recipe:
  """GRPO whose groups without a success get a hint of the policy's own.

  The policy writes it, knowing the `solution` of the question's record; groups
  are asked again with more and more telling ones. The hints themselves are not
  learned.

  Deviates: each level is asked for by itself, as `ask` says, where the code has
  one response with all three.
  """
  return Recipe(
    plan=retried.Retried(
      sampled.independent(samples=samples),
      when=choices.none_right,
      change=partial(hints.of_the_policy, ask=ask, phrase=phrase),
      levels=levels,
      checks=(fields.need('solution', 'which hints are made of'),),
    ),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Self-Hinting Language Models Enhance Reinforcement Learning', '2602.03143'
  ),
  Limit('dapo', {}, {'rounds': 1}, up_to_scale=True),
)
def sage_light(
  *,
  samples: int = 8,
  levels: int = 3,
  low: float = 0.1,
  high: float = 0.35,
  ask: str = 'hint {level}: {prompt} {solution} ',
  phrase: str = '{hint} {prompt}',
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  epsilon: float = 1e-6,
  minibatches: int = 2,
) -> Recipe:
  """`sage` that samples a group once, at a level that its question remembers.

  Its level rises where at most a share of `low` was right when the question was
  last asked, hint and all, and falls where more than `high` was.

  Deviates: each level is asked for by itself, as `ask` says, where the code has
  one response with all three, and takes the last one that it could read.
  """
  return Recipe(
    plan=hinted.Hinted(
      sampled.independent(samples=samples),
      change=partial(hints.of_the_policy, ask=ask, phrase=phrase),
      levels=levels,
      low=low,
      high=high,
      checks=(fields.need('solution', 'which hints are made of'),),
    ),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper('iGRPO: Self-Feedback-Driven LLM Reasoning', '2602.09000'),
  Limit('grpo', {}, {'kl_weight': 0.0}),
)
def igrpo(
  *,
  samples: int = 8,
  phrase: str = '{draft} {prompt}',
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.0,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """GRPO on answers to a question and the best of as many drafts.

  Drafts are drawn first, and only the best, the first of several, is shown; no
  loss is of them, right or wrong. Held-out questions are asked without.

  Deviates: that both stages have 8 samples, and that the first of equal drafts
  is taken, is recalled. Where the draft stands is `phrase`.
  """
  return Recipe(
    plan=retried.Retried(
      sampled.independent(samples=samples),
      when=choices.everyone,
      change=partial(drafts.best_draft, phrase=phrase),
      by=choices.reward,
    ),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Critique-GRPO: Advancing LLM Reasoning with Natural Language and '
    'Numerical Feedback',
    '2506.03106',
  ),
)
def critique_grpo(
  *,
  samples: int = 7,
  phrase: str = '{response} {critique}: {prompt}',
  right: str = 'right',
  wrong: str = 'wrong, {answer}',
  ask: str = '',
  gamma: float = 0.1,
  entropy_weight: float = 0.001,
  minibatches: int = 2,
) -> Recipe:
  """Groups with the best of their own rows' refinements, learned as their own.

  Each of `samples` responses is shown with a critique and written once more.
  The best of the group, the first of several, joins it as an answer to the bare
  question, with p / (p + gamma) for its ratio; the others' are not clipped.

  Of the paper's critiques these say what the verifier found and the reference
  answer, without which they only say that it is wrong, as with `wrong` = wrong.
  With `ask` = '{prompt} {response} {verdict}, because ' the policy reasons them
  out; no model beside it does.

  No limit: rows that were refined are marked by the plan; without any, the step
  is that of `dr_grpo` on policy.
  """
  return Recipe(
    plan=retried.Retried(
      sampled.independent(samples=samples),
      when=choices.everyone,
      change=partial(
        drafts.critique, phrase=phrase, right=right, wrong=wrong, ask=ask
      ),
      take=choices.best,
      samples=1,
      added=1,
      original=True,
    ),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.shaped_offline,
      gamma=gamma,
      entropy=Cost(costs.negative_entropy, entropy_weight),
    ),
    aggregate=aggregate.budget_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Guiding Large Language Models via Directional Stimulus Prompting',
    '2302.11520',
  ),
  Limit('ppo', {'keyword_weight': 0.0, 'kl_weight': 0.0}),
)
def directional_stimulus(
  *,
  samples: int = 1,
  answers: int = 4,
  phrase: str = '{stimulus} {prompt}',
  keyword_weight: float = 1.0,
  hit: float = 1.0,
  miss: float = -0.2,
  share: float = 0.9,
  least: int = 100,
  every: int = 20,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  discount: float = 1.0,
  trace: float = 0.95,
  kl_weight: float = 0.005,
  kl_target: float = 0.5,
  value_weight: float = 0.5,
  value_clip: float = 0.2,
  epochs: int = 5,
  minibatches: int = 4,
) -> Recipe:
  """PPO on words for a frozen model, whose answers are judged.

  The policy writes a stimulus, the first policy of `teacher.paths` answers the
  question with it, and the verifiers see those answers alone. Keywords, each
  with a `;` behind it, earn by themselves where they stand in the `answer` of
  the record, or do not; the verifiers' weight is 10 in the paper. The KL to the
  first policy is in the reward, its weight steered to `kl_target` nats a token.
  Numbers are those of its summaries; of its dialogues the weight of keywords is
  0, that of the KL 0.01, its target 0.2. As of `nlpo`, stimuli are drawn from
  the top-p set of a copy that is made anew `every` iterations: run it with
  `sample.support` = 100, say, or with a `share` of 1, which draws from all. The
  policy may begin as one that has imitated stimuli, the `demonstration` of a
  record.

  Deviates: as `nlpo` in its copy and its KL. Evaluation during a run judges the
  stimuli as if they were answers.
  """
  error = partial(costs.squared_value_error, clip=value_clip)
  return Recipe(
    plan=notes.noted(
      stimuli.Stimuli(phrase, samples, answers, share, least),
      parts.Keywords(hit=hit, miss=miss),
    ),
    credit=chain(
      critics.KeywordGAE(
        discount, trace, kl_weight, kl_target, weight=keyword_weight
      ),
      refine(tokens.whiten_batch),
    ),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      value=Cost(error, value_weight),
    ),
    aggregate=aggregate.token_mean,
    reference=reference.Beside(reference.Frozen(), reference.Periodic(every)),
    epochs=epochs,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Agent-R: Training Language Model Agents to Reflect via Iterative '
    'Self-Training',
    '2501.11425',
  )
)
def agent_r(
  *,
  samples: int = 8,
  turns: int = 4,
  children: int = 2,
  explore: float = 0.25,
  good: float = 0.5,
  gap: float = 0.2,
  ask: str = '{prompt} {before}{turn} Was that good, uncertain or bad? ',
  revisions: tuple[str, ...] = ('No. ', 'Wrong. ', 'Again: '),
  minibatches: int = 1,
) -> Recipe:
  """Likelihood of good episodes, and of bad ones that were turned into them.

      -mean over tokens of log pi,    of rows that earn more than `good`

  Episodes are those of a tree search. A bad one goes on until the first turn
  that the policy itself calls bad, which is not learned, says that it was
  wrong, and goes on as the good one does which has most turns in common with
  it. Without `ask`, or room for it, that is the turn at which they part.

  Deviates: episodes are played to their end from each node of the tree, not
  turn by turn, and each bad one is mended once, where the code mends each pair;
  both bounds are constant, and recalled, as numbers of the search are; general
  data are not mixed in.

  No limit: all rows that count are imitated alike, where `sft` weighs them by
  their rewards.
  """
  plan = reflected.Reflected(
    samples, turns, good, gap, revisions, children, explore, ask
  )
  taught = partial(group.outcomes, right=1.0, wrong=0.0, correct=good)
  return Recipe(
    plan=plan,
    credit=chain(weigh(filters.rows_above, floor=good), estimate(taught)),
    objective=policy_gradient(surrogates.score_function),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )
