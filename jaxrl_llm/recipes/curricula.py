"""Entries that mainly change which prompts are drawn, and how often."""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import group, robust
from jaxrl_llm.credit import chain, estimate, shape, weigh
from jaxrl_llm.objectives import (
  aggregate,
  costs,
  gates,
  grouped,
  surrogates,
)
from jaxrl_llm.objectives.base import Cost, policy_gradient, row_losses
from jaxrl_llm.plans import (
  bandit_budgets,
  budgeted,
  measured,
  refill,
  replay,
  sampled,
  successes,
)
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.rewards import combine, length
from jaxrl_llm.selection import (
  bandits,
  budgets,
  curricula,
  difficulty,
  filters,
  pairs,
)


@register(
  Paper(
    'MMR1: Enhancing Multimodal Reasoning with Variance-Aware Sampling and '
    'Open Resources',
    '2509.21268',
  ),
  Limit('grpo', {}, {'kl_weight': 0.01}),
)
def variance_aware(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.01,
  share: float = 0.5,
  count: int = 16,
  every: int = 56,
  weight: float = 0.8,
  minibatches: int = 1,
) -> Recipe:
  """GRPO on prompts drawn by variance of rewards and variety of answers (VAS).

  Every `every` iterations all questions are answered `count` times for that,
  first before any is learned from, as in algorithm 1 of the paper: A * count
  responses for A questions, where an iteration has `prompts` * `samples`. Both
  numbers are of its table 6; its ablations, section 6.4, have 28 and 8, and
  find 14 to 35 iterations best.

  Deviates: its code scales scores to [0, 1] by their extremes, so that the
  question of the lowest is drawn evenly alone; the paper does not.
  """
  return Recipe(
    curriculum=bandits.VarianceAware(share),
    plan=measured.Measured(
      samples=samples, count=count, every=every, weight=weight
    ),
    credit=estimate(group.norm),
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
    'Self-Evolving Curriculum for LLM Reasoning',
    '2505.14970',
    confidence='VERIFIED-2',
  ),
  Limit('grpo', {}, {'kl_weight': 0.0}),
)
def sec(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  rate: float = 0.5,
  temperature: float = 1.0,
  minibatches: int = 1,
) -> Recipe:
  """GRPO on domains drawn by a bandit whose reward is mean |advantage|.

  Domains are files of a folder, or the levels of a generated task. The
  bandit's constants are recalled.
  """
  return Recipe(
    curriculum=bandits.SelfEvolving(rate, temperature),
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'DUMP: Automated Distribution-Level Curriculum Learning for RL-based LLM '
    'Post-training',
    '2504.09710',
  ),
  Limit('grpo', {}, {'kl_weight': 0.0}),
)
def dump(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  window: int = 300,
  temperature: float = 0.1,
  minibatches: int = 4,
) -> Recipe:
  """GRPO on domains drawn by upper confidence of mean |advantage|.

  Domains are files of a folder, or the levels of a generated task.
  """
  return Recipe(
    curriculum=bandits.UpperConfidence(window, temperature),
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Online Difficulty Filtering for Reasoning Oriented Reinforcement Learning',
    '2504.03380',
    confidence='RECALLED',
  ),
  Limit('grpo', {'low': 0.0, 'high': 1e9}, {'kl_weight': 0.0}),
)
def online_difficulty(
  *,
  samples: int = 16,
  low: float = 0.25,
  high: float = 0.75,
  rounds: int = 4,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  minibatches: int = 1,
) -> Recipe:
  """GRPO on prompts of medium success rate, refilled until there are enough.

  The bounds are recalled.

  Deviates: the paper samples asynchronously.
  """
  live = partial(filters.rate_between, low=low, high=high)
  return Recipe(
    plan=refill.Refill(live, samples=samples, rounds=rounds),
    credit=chain(weigh(live), estimate(group.norm)),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Knapsack RL: Unlocking Exploration of LLMs via Optimizing Budget '
    'Allocation',
    '2509.25849',
    confidence='VERIFIED-2',
  ),
  Limit('grpo', {}, {'kl_weight': 0.0}),
)
def knapsack(
  *,
  samples: int = 8,
  least: int = 2,
  most: int = 128,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Recipe:
  """GRPO with responses allotted to prompts by an exact knapsack."""
  return Recipe(
    plan=budgeted.Budgeted(
      budgets.information, budgets.exact, samples, least, most
    ),
    credit=estimate(group.norm),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
  )


_GDRO = Paper(
  'Group Distributionally Robust Optimization-Driven Reinforcement Learning '
  'for LLM Reasoning',
  '2601.19280',
)


@register(
  _GDRO, Limit('grpo', {'rate': 0.0}, {'clip_high': 0.28, 'kl_weight': 0.001})
)
def prompt_gdro(
  *,
  samples: int = 4,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  kl_weight: float = 0.001,
  rate: float = 0.65,
  floor: float = 0.01,
  memory: float = 0.12,
  cap: float = 15.0,
  margin: float = 0.03,
  minibatches: int = 4,
) -> Recipe:
  """GRPO against an adversary that weighs bins of difficulty.

  Numbers and the six edges of the bins are those of the authors' script.

  Deviates: the adversary is told the failure rate of a bin, where the paper has
  its policy loss, which is 0 at a ratio of 1. It is not divided by the bin's
  share of the batch, which the paper leaves open and the script does. A full
  window forgets a share of all visits, not the oldest.
  """
  bins = difficulty.PassBins(margin=margin)
  game = robust.DifficultyGame(rate, floor, memory, cap, bins)
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(estimate(group.norm), game),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(_GDRO, Limit('grpo', {}, {'clip_high': 0.28, 'kl_weight': 0.001}))
def rollout_gdro(
  *,
  samples: int = 4,
  least: int = 2,
  most: int = 12,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  kl_weight: float = 0.001,
  window: int = 50,
) -> Recipe:
  """GRPO with more responses in bins of difficulty that vary more.

  Numbers and the six edges of the bins are those of the authors' script.

  The split is the one that the paper's game is shown to tend to, its
  square-root law with the variance of the rewards; `rollout_gdro_bandit` plays
  the game.

  Deviates: an iteration is one minibatch, in the script two. A full window
  forgets a share of all visits, not the oldest.
  """
  return Recipe(
    plan=budgeted.ByDifficulty(
      samples=samples,
      least=least,
      most=most,
      bins=difficulty.PassBins(window=window, margin=0.0),
    ),
    credit=estimate(group.norm),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=aggregate.sequence_mean,
  )


@register(_GDRO, Limit('grpo', {}, {'clip_high': 0.28, 'kl_weight': 0.001}))
def rollout_gdro_bandit(
  *,
  samples: int = 4,
  least: int = 2,
  most: int = 12,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  kl_weight: float = 0.001,
  rate: float = 0.65,
  floor: float = 0.01,
  memory: float = 0.4,
  window: int = 50,
) -> Recipe:
  """GRPO whose numbers of responses are bandits' choices, one a bin.

  Numbers and the six edges of the bins are those of the authors' script.

  Deviates: bandits are told the variance of a group's mean reward, which their
  choice decides, where the script has the policy loss, which is 0 at a ratio of
  1; they average it, there they add it up. Numbers of rows have no price, as
  the budget is met. An iteration is one minibatch, in the script two. A full
  window forgets a share of all visits, not the oldest.
  """
  return Recipe(
    plan=bandit_budgets.Bandits(
      samples=samples,
      least=least,
      most=most,
      rate=rate,
      floor=floor,
      memory=memory,
      bins=difficulty.PassBins(window=window, margin=0.0),
    ),
    credit=estimate(group.norm),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=aggregate.sequence_mean,
  )


_SKYWORK = Paper(
  'Skywork R1V2: Multimodal Hybrid Reinforcement Learning for Reasoning',
  '2504.16656',
  confidence='ABSTRACT',
)


@register(_SKYWORK)
def selective_buffer(
  *,
  samples: int = 8,
  capacity: int = 64,
  share: float = 0.5,
  power: float = 1.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  cap: float = 2.0,
) -> Recipe:
  """GRPO that replays earlier groups in place of those without a signal.

  Old rows weigh by their truncated ratio to the policy that sampled them. The
  paper's whole step is `skywork_r1v2`.

  Deviates: reconstructed from the abstract: sizes are ours, and groups are
  replayed, not rows, as rows are compared anew and one alone has no advantage.
  """
  return Recipe(
    plan=replay.SelectiveBuffer(samples, capacity, share, power),
    credit=estimate(group.norm),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      gate=partial(gates.truncated_importance, cap=cap),
    ),
    aggregate=aggregate.sequence_mean,
  )


@register(_SKYWORK, Limit('selective_buffer', {'mixed_weight': 0.0}))
def skywork_r1v2(
  *,
  samples: int = 8,
  capacity: int = 64,
  share: float = 0.5,
  power: float = 1.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  cap: float = 2.0,
  mixed_weight: float = 1.0,
  weight: float = 0.1,
  preference_weight: float = 0.8,
  quality_weight: float = 0.2,
  imitation: float = 1.0,
  threshold: float = 0.1,
) -> Recipe:
  """`selective_buffer`, and `mpo` on the pairs of the same groups.

  Rules and a reward model are verifiers, whose weighted sum is the reward;
  responses that it tells apart by less than `threshold` are no pair.

  Deviates: reconstructed from the abstract: sizes, `mixed_weight` and
  `threshold` are ours, and both losses are of every step, on responses of the
  policy. Groups are replayed, not rows, since both losses compare the rows of a
  group and would find none in a row alone. Weights of the mixed loss are MPO's.
  """
  clipped = partial(surrogates.clip, low=clip_low, high=clip_high)
  reweighed = grouped.Gated(
    clipped, partial(gates.truncated_importance, cap=cap)
  )
  mixed = grouped.mixed_preference(
    samples=samples,
    weight=weight,
    preference_weight=preference_weight,
    quality_weight=quality_weight,
    imitation=imitation,
    among=partial(pairs.well_apart, threshold=threshold),
  )
  both = grouped.Total((grouped.TokenMean(reweighed), mixed), (1, mixed_weight))
  return Recipe(
    plan=replay.SelectiveBuffer(samples, capacity, share, power),
    credit=estimate(group.norm),
    objective=row_losses(both, samples=samples),
    aggregate=aggregate.sequence_mean,
  )


@register(
  Paper(
    'The Art of Scaling Reinforcement Learning Compute for LLMs',
    '2510.13786',
    'VERIFIED-2',
  )
)
def scale_rl(
  *,
  samples: int = 16,
  solved: float = 0.9,
  cap: float = 5.0,
  epsilon: float = 1e-4,
  minibatches: int = 8,
) -> Recipe:
  """CISPO on prompts that weigh alike, none of which comes again once solved.

  What an iteration earns is in units of its own size; groups of equal rewards
  and their prompts do not count.

  Deviates: ratios are to the old policy, there to the sampler; without the
  phrase that ends a thought which is too long. TRL's trainer keeps a running
  mean of that size, and does not divide by the number of prompts.

  No limit: no other recipe weighs prompts alike.
  """
  return Recipe(
    curriculum=curricula.Unsolved(solved),
    plan=sampled.independent(samples=samples),
    credit=chain(
      weigh(filters.mixed_groups), estimate(group.norm_by_rms, epsilon=epsilon)
    ),
    objective=policy_gradient(surrogates.clip_weight, low=1.0, high=cap - 1),
    aggregate=aggregate.prompt_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'QwenLong-L1: Towards Long-Context Large Reasoning Models with '
    'Reinforcement Learning',
    '2505.17667',
  )
)
def qwenlong_l1(
  *,
  samples: int = 8,
  phases: int = 2,
  iterations: int = 50,
  share: float = 0.25,
  buffer: float = 0.0,
  rounds: int = 10,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  entropy_weight: float = 0.001,
  minibatches: int = 4,
) -> Recipe:
  """Short prompts first, then long ones, with hard short ones among them.

  A response is right if any verifier says so: the paper's are a rule and a
  judge that reads both answers. The step is that of the published script, DAPO
  with one clip on both sides and an entropy bonus; the paper has GRPO beside
  it. Its overlong buffer of 1000 tokens depends on the budget, so it is off
  until `buffer` is set.

  Deviates: phases are equal parts of the data by prompt length, where the
  paper's end at 20 and 60 thousand tokens; how many questions of before come
  again is ours, and a question whose group was replaced does not count as seen.
  A round asks as many questions as are learned from, in the script three times
  as many, and places that stay empty are left so, where it stops.

  No limit: any verifier that is content suffices; with one of them, one phase
  and no bonus it is `dapo`.
  """
  mixed = filters.mixed_groups
  bonus = Cost(costs.negative_entropy, entropy_weight)
  return Recipe(
    curriculum=curricula.Phases(phases, iterations, share),
    plan=refill.Refill(mixed, samples, rounds, combine.any_judge),
    combine=combine.any_judge,
    credit=chain(
      weigh(mixed), shape(length.overlong, buffer=buffer), estimate(group.norm)
    ),
    objective=policy_gradient(
      surrogates.clip, low=clip_low, high=clip_high, entropy=bonus
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'CRAFT-GUI: Curriculum-Reinforced Agent For GUI Tasks',
    '2508.11360',
    confidence='ABSTRACT',
  ),
  Limit('grpo', {}, {'kl_weight': 0.0}),
)
def craft_gui(
  *,
  samples: int = 8,
  phases: int = 3,
  iterations: int = 50,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  minibatches: int = 1,
) -> Recipe:
  """Actions on screens: the simple first, then the hard, at last all.

  The verifiers `action`, `place` and `format` with weights are the paper's
  reward, and a judge of what is understood joins them as one more.

  Deviates: reconstructed from the abstract. Tasks are ordered by the length of
  their prompts, in place of that of their trajectories.
  """
  return Recipe(
    curriculum=curricula.Phases(phases, iterations, mixed=True),
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'ARPO:End-to-End Policy Optimization for GUI Agents with Experience Replay',
    '2505.16282',
  ),
  Limit('dual_clip', {}, {'clip_high': 0.3}),
)
def arpo_replay(
  *,
  samples: int = 8,
  each: int = 8,
  capacity: int = 1024,
  spread: float = 0.05,
  low: float = 0.2,
  earned: float = 0.1,
  clip_low: float = 0.2,
  clip_high: float = 0.3,
  bound: float = 3.0,
  epsilon: float = 1e-6,
  minibatches: int = 2,
) -> Recipe:
  """GRPO that gives a group without a success an earlier one of its question.

  The ratio of such a row is to the policy of the iteration, as the published
  code scores all rows anew, and not to the one that wrote it. What fails, and
  what is kept, the first verifier says; a second one of form weighs 0.5 in the
  code.

  Deviates: on single responses, where the paper has episodes of an agent that
  sees a screen. Questions are not chosen beforehand by whether 16 runs have a
  success among them. The bound on the rows kept of all questions is ours.
  """
  return Recipe(
    plan=successes.Successes(samples, each, capacity, spread, low, earned),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.dual_clip, low=clip_low, high=clip_high, bound=bound
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )
