"""Entries that weigh a response by what is known of its prompt.

Baselines from outside the group, likelihoods, meanings, confidences and
tails: what GRPO's mean and spread leave out.
"""

from __future__ import annotations

from jaxrl_llm.advantages import baselines, group, prompts, risk, tokens
from jaxrl_llm.credit import chain, estimate, estimate_tokens, refine, shape
from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import passes
from jaxrl_llm.objectives import (
  adaptive,
  aggregate,
  costs,
  regression,
  surrogates,
)
from jaxrl_llm.objectives.base import Cost, policy_gradient, row_losses
from jaxrl_llm.plans import asked_first, foretold, greedy, sampled
from jaxrl_llm.plans.base import Plan
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.rewards import behaviour
from jaxrl_llm.selection import bandits


@register(
  Paper(
    'ReMax: A Simple, Effective, and Efficient Reinforcement Learning Method '
    'for Aligning Large Language Models',
    '2310.10505',
  )
)
def remax(*, samples: int = 1, kl_weight: float = 0.05) -> Recipe:
  """The reward of the greedy response as the baseline.

  The KL weight is that of the authors' scripts.

  Deviates: their code lets a token answer for its own penalty alone, here for
  those after it too, as the gradient of the penalised objective asks; and it
  averages over tokens, discounts by 0.99 and bounds r(sample) - r(greedy) by 5.
  """
  return Recipe(
    plan=greedy.WithGreedy(samples=samples),
    credit=chain(
      estimate_tokens(tokens.kl_reward_to_go, kl_weight=kl_weight),
      refine(baselines.minus_greedy),
    ),
  )


@register(Paper('Single-stream Policy Optimization', '2509.13232'))
def single_stream(
  *,
  samples: int = 1,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  bound: float = 10.0,
  half_life: float = 0.06,
  keep_low: float = 0.875,
  keep_high: float = 0.96,
  count: int = 8,
  minibatches: int = 8,
) -> Recipe:
  """One response per prompt against a tracked value, prompts drawn by doubt.

  Values start from `count` responses of the first policy to each question. The
  plan provides `drift`, unless keep_low = keep_high. The clip is that of the
  authors' script.

  Deviates: draws keep `keep_low` of the memory whatever the drift, which is
  taken before the steps of an iteration, there after them.
  """
  stage = baselines.BetaTracker(half_life, keep_low, keep_high, count)
  plan: Plan = sampled.independent(samples=samples)
  if count:
    plan = asked_first.AskedFirst(plan, count)
  if 'drift' in stage.reads:
    plan = notes.noted(plan, passes.Drift())
  return Recipe(
    curriculum=bandits.Uncertain(keep=keep_low, count=count),
    plan=plan,
    credit=chain(stage, refine(tokens.whiten_rows)),
    objective=policy_gradient(
      surrogates.dual_clip, low=clip_low, high=clip_high, bound=bound
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'SEED-GRPO: Semantic Entropy Enhanced GRPO for Uncertainty-Aware Policy '
    'Optimization',
    '2505.12346',
    confidence='VERIFIED-2',
  ),
  Limit('dr_grpo', {'strength': 0.0}),
)
def seed_grpo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  strength: float = 0.02,
  minibatches: int = 1,
) -> Recipe:
  """Dr. GRPO, fainter on prompts whose answers scatter in meaning.

  The plan provides `answer`. The default strength is recalled.

  Deviates: an answer counts by its share of the rows, not of their likelihood.
  """
  return Recipe(
    plan=notes.noted(sampled.independent(samples=samples), notes.Answers()),
    credit=estimate_tokens(prompts.semantic_entropy, strength=strength),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.budget_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Rewarding the Unlikely: Lifting GRPO Beyond Distribution Sharpening',
    '2506.02355',
  ),
  Limit('grpo', {'penalty': 0.0, 'epochs': 1}, {'kl_weight': 0.1}),
)
def unlikeliness(
  *,
  samples: int = 32,
  penalty: float = 0.25,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.1,
  epochs: int = 2,
  minibatches: int = 1,
) -> Recipe:
  """GRPO on rewards that fall with a correct response's likelihood.

  Ranks are those of the published code, one off from the paper's text.

  Deviates: likelihoods are the sampler's; rows that tie share their rank.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(
      shape(behaviour.unlikely_first, penalty=penalty), estimate(group.norm)
    ),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=aggregate.sequence_mean,
    epochs=epochs,
    minibatches=minibatches,
  )


@register(Paper('COPO: Consistency-Aware Policy Optimization', '2508.04138'))
def copo(
  *,
  samples: int = 6,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  bound: float = 3.0,
  slope: float = 5.0,
  middle: float = 1.0,
  minibatches: int = 16,
) -> Recipe:
  """Comparison between prompts where a prompt's answers agree, or are wrong.

  The plan provides `answer`. Numbers are those of the authors' `run_copo.sh`.
  Of their other modes, `middle` = inf compares between prompts alone, -inf
  within them all rows that earned something.
  """
  return Recipe(
    plan=notes.noted(sampled.independent(samples=samples), notes.Answers()),
    credit=estimate_tokens(prompts.consistency, slope=slope, middle=middle),
    objective=policy_gradient(
      adaptive.consistent_clip,
      low=clip_low,
      high=clip_high,
      bound=bound,
      slope=slope,
      middle=middle,
      samples=samples,
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'RiskPO: Risk-based Policy Optimization via Verifiable Reward for LLM '
    'Post-Training',
    '2510.00911',
  )
)
def riskpo(
  *,
  samples: int = 5,
  questions: int = 5,
  clip: float = 0.2,
  low: float = 0.2,
  high: float = 0.9,
  tail_weight: float = 1.5,
  rate: float = 0.1,
  minibatches: int = 2,
) -> Recipe:
  """Mixed value-at-risk of the scores of bundles of questions.

  The plan puts `questions` that follow each other into one bundle. Numbers and
  credit to the responses of a paper are those of the authors' script for MATH.
  No advantage is above 0, so that the clip binds below 1 - clip alone.

  Deviates: bundles whose papers all score alike are divided by 1, not by a
  spread of 0. The last bundle may have fewer questions, and is then scored as
  a full one with its mean reward; the code scores it by its sum. The quantiles
  are the tracked ones, as in the paper; the code tracks them too, but reads
  those of a bundle's own papers.
  """
  return Recipe(
    plan=notes.noted(
      sampled.independent(samples=samples), notes.Bundles(questions)
    ),
    credit=risk.MixedValueAtRisk(low, high, tail_weight, rate),
    objective=policy_gradient(surrogates.clip, low=clip, high=clip),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'DR-IRL: Inverse Reinforcement Learning with Dynamic Reward Scaling for '
    'LLM Alignment',
    '2503.18991',
    confidence='VERIFIED-2',
    other_titles=(
      'SRMIR: Shadow Reward Models Based on Introspective Reasoning for LLM '
      'Alignment',
      'Inverse Reinforcement Learning with Dynamic Reward Scaling for LLM '
      'Alignment',
    ),
  )
)
def dr_irl(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.04,
  outlier: float = 0.25,
  minibatches: int = 1,
) -> Recipe:
  """GRPO scaled by how far a prompt is from its demonstration (GRPO-S).

  Both factors multiply the advantage: that of the prompt's own distance, and
  that of all prompts' gap in reward. Every question of the data has its
  `demonstration`. The bound of an outlier is ours; the paper's is unknown.

  Deviates: means are those of the iteration, not of the question's category;
  its reward models, one for each category, are `irl_reward_model`'s, trained
  apart.

  No limit: what responses cover of a demonstration is always read; where all
  prompts are alike it is `grpo`.
  """
  return Recipe(
    plan=notes.noted(sampled.independent(samples=samples), passes.Coverage()),
    credit=estimate_tokens(prompts.demonstration_gap, outlier=outlier),
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
    'Back to Basics: Revisiting Exploration in Reinforcement Learning for LLM '
    'Reasoning via Generative Probabilities',
    '2602.05281',
    confidence='VERIFIED-2',
  )
)
def progrpo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  strength: float = 0.1,
  share: float = 0.2,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """GRPO's advantages reweighted by confidence in prompt and response (ARM).

  The plan provides `prompt_logp`. The strength is ours; none was found.

  Deviates: the likelihoods of responses are the sampler's.
  """
  return Recipe(
    plan=notes.noted(sampled.independent(samples=samples), passes.PromptLogp()),
    credit=chain(
      estimate(group.norm, epsilon=epsilon),
      refine(prompts.confidence_gap, strength=strength, share=share),
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


_V_0 = Paper(
  'V_0: A Generalist Value Model for Any Policy at State Zero',
  '2602.03584',
  confidence='VERIFIED-2',
)


@register(_V_0)
def value_at_state_zero(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  minibatches: int = 1,
) -> Recipe:
  """A frozen predictor's expected reward of the prompt as the baseline.

  Every question of the data has its number `predicted_reward`. One that reads
  what the policy has done is in `foretold_budgets`.
  """
  return Recipe(
    plan=sampled.independent(samples=samples, columns=('predicted_reward',)),
    credit=estimate_tokens(baselines.minus_predicted),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.budget_mean,
    minibatches=minibatches,
  )


@register(_V_0, Limit('grpo', {}, {'kl_weight': 0.0}))
def foretold_budgets(
  *,
  samples: int = 8,
  least: int = 2,
  most: int = 128,
  capacity: int = 512,
  size: int = 64,
  prior: float = 1.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  epsilon: float = 1e-6,
) -> Recipe:
  """GRPO whose numbers of responses follow success rates told beforehand.

  They are told of prompts that were never asked, by a context of others and
  their results, without a parameter that learns. With
  `advantage=minus_predicted` they are the baseline, too. `foresight.routed`
  sends prompts to one of several policies by them.

  Deviates: a kernel reads the context, over hashed tokens of the prompts, where
  the paper has a pretrained network on features learned of many policies. Its
  sizes are ours.
  """
  return Recipe(
    plan=foretold.Foretold(
      samples=samples,
      least=least,
      most=most,
      capacity=capacity,
      size=size,
      prior=prior,
    ),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
  )


@register(
  Paper(
    'DeepVideo-R1: Video Reinforcement Fine-Tuning via Difficulty-aware '
    'Regressive GRPO',
    '2506.07464',
  )
)
def reg_grpo(
  *,
  samples: int = 8,
  kl_weight: float = 0.04,
  spread: float = 1e-4,
  epsilon: float = 1e-6,
  minibatches: int = 2,
) -> Recipe:
  """Normalised log-ratios regressed on normalised rewards, without a clip.

  The difficulty-dependent hints are a matter of the prompts.

  Deviates: the KL is added, where the paper prints a minus; `spread`, in
  nats^2, makes the loss regular where the ratio is 1, which it leaves open.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=row_losses(
      regression.normalised_log_ratio,
      epsilon=spread,
      samples=samples,
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )
