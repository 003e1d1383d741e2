"""Entries that give the tokens of a response different credit."""

from __future__ import annotations

import math
from functools import partial

from jaxrl_llm.advantages import (
  critics,
  emphasis,
  group,
  implicit,
  segments,
  steps,
  tokens,
)
from jaxrl_llm.credit import (
  chain,
  estimate,
  estimate_tokens,
  refine,
  weigh,
  weigh_tokens,
)
from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import parts, passes
from jaxrl_llm.objectives import aggregate, costs, surrogates, unary
from jaxrl_llm.objectives.base import Cost, policy_gradient, row_losses
from jaxrl_llm.plans import (
  episodes,
  prefix_values,
  rated,
  refill,
  sampled,
  tree,
)
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.selection import filters, weights


@register(
  Paper(
    'GTPO: Stabilizing Group Relative Policy Optimization via Gradient and '
    'Entropy Control',
    '2508.03772',
    other_titles=(
      'GTPO: Trajectory-Based Policy Optimization in Large Language Models',
    ),
  )
)
def gtpo(
  *,
  samples: int = 8,
  gain: float = 2.0,
  entropy_weight: float = 0.1,
  most: float = math.log(2),
  epsilon: float = 1e-6,
) -> Recipe:
  """Shared beginnings and ends are spared, chaotic responses dropped.

  Neither clip nor KL.

  Deviates: the published code has a threshold of 0.7 for the paper's log 2,
  and it also divides a row by its number of conflict tokens, which is left
  out.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(
      estimate(group.norm, epsilon=epsilon),
      emphasis.ConflictAware(entropy_weight, gain, most),
    ),
    aggregate=aggregate.sequence_mean,
  )


_SPO = Paper(
  'Segment Policy Optimization: Effective Segment-Level Credit Assignment '
  'in RL for Large Language Models',
  '2505.23564',
)


@register(_SPO)
def spo_chain(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  threshold: float = 0.9,
  interval: int = 5,
  continuations: int = 9,
  kl_weight: float = 0.0,
  minibatches: int = 4,
) -> Recipe:
  """A segment earns the value it adds; sure tokens do not train.

  The plan provides `prefix_value`, by sampled continuations at
  `segments.starts`.
  """
  return Recipe(
    plan=prefix_values.PrefixValues(
      partial(segments.starts, threshold=threshold, interval=interval),
      samples=samples,
      continuations=continuations,
    ),
    credit=chain(
      estimate_tokens(segments.chain, threshold=threshold, interval=interval),
      weigh_tokens(weights.unsure_tokens, threshold=threshold),
    ),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(_SPO)
def spo_tree(
  *,
  samples: int = 8,
  depth: int = 3,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  threshold: float = 0.9,
  kl_weight: float = 0.0,
  minibatches: int = 8,
) -> Recipe:
  """An edge of a tree of samples earns the value it adds.

  The plan provides `node_path` and `level`, a row being a path to a leaf. An
  edge that several rows share counts once; edges that add nothing do not
  train.
  """
  return Recipe(
    plan=tree.Tree(samples=samples, depth=depth),
    credit=chain(
      estimate_tokens(steps.tree),
      weigh_tokens(weights.unsure_tokens, threshold=threshold),
      weigh_tokens(weights.one_per_edge),
      weigh_tokens(weights.signal),
    ),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Reinforcing Language Agents via Policy Optimization with Action '
    'Decomposition',
    '2405.15821',
  ),
  Limit('ppo', {'discount': 1.0}),
)
def poad(
  *,
  samples: int = 1,
  turns: int = 4,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  discount: float = 0.95,
  trace: float = 0.95,
  value_weight: float = 0.5,
  minibatches: int = 1,
) -> Recipe:
  """PPO that discounts by actions, not by the tokens that spell them.

  The plan provides `action_end`.

  Deviates: advantages are whitened over chosen tokens, the published code's
  over those that are not 0.
  """
  return Recipe(
    plan=episodes.MultiTurn(samples=samples, turns=turns),
    credit=chain(
      segments.ActionGAE(discount, trace), refine(tokens.whiten_batch)
    ),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      value=Cost(partial(costs.squared_value_error, clip=0.2), value_weight),
    ),
    aggregate=aggregate.token_mean,
    epochs=4,
    minibatches=minibatches,
  )


@register(
  Paper('Reinforcing Video Reasoning with Focused Thinking', '2505.24718')
)
def tw_grpo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  strength: float = 1.7,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """More weight on positions where the group's distributions differ.

  The paper's soft reward of multiple choice is the verifier `several`, and its
  questions are made by `python -m jaxrl_llm.tasks.inverted`.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(
      estimate(group.norm, epsilon=epsilon),
      refine(emphasis.focus, strength=strength),
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Two-Stage Constrained Actor-Critic for Short Video Recommendation',
    '2302.01680',
    confidence='RECALLED',
  )
)
def two_stage_constrained(
  *, samples: int = 8, weights: tuple = (1.0, 1.0), limit: float = 20.0
) -> Recipe:
  """Regression towards auxiliary policies, tilted by the main advantage.

  The second stage. The first stage's policies are those of `teacher.paths`.
  Recalled.

  Deviates: the advantage is the reward less its group's mean, in place of a
  critic's.
  """
  return Recipe(
    plan=notes.noted(
      sampled.independent(samples=samples), passes.Constraints(len(weights))
    ),
    credit=chain(
      estimate(group.centre),
      refine(emphasis.constrained_regression, weights=weights, limit=limit),
    ),
    aggregate=aggregate.token_mean,
  )


@register(
  Paper(
    'Text2Grad: Reinforcement Learning from Natural Language Feedback',
    '2505.22338',
  )
)
def text2grad(
  *,
  samples: int = 1,
  feedback: str = 'jaxrl_llm.tasks.feedback:compared',
  clip: float = 0.2,
  discount: float = 1.0,
  trace: float = 0.95,
  kl_weight: float = 0.05,
  kl_target: float = 3.0,
  kl_gain: float = 1e-4,
  value_weight: float = 0.1,
  value_clip: float = 0.2,
  epochs: int = 4,
  minibatches: int = 1,
) -> Recipe:
  """PPO on what feedback in words calls good and poor in a response.

  `feedback` is a function of yours, `package.module:function`, which asks who
  gives feedback and returns spans, see `tasks.feedback`; by default what the
  record's answer shares with a response is good. Verifiers only measure. The
  weight of the KL is steered to `kl_target` nats a response.

  Deviates: the KL is that of the tokens drawn, where the scripts of all three
  tasks have that of whole distributions. Weight and target of the KL are those
  of UltraFeedback; 0.2 and 6 of SLF5K, 0.07 and 1 of KodCode. Discount, trace
  and clips are TRL's, recalled.

  No limit: rewards of spans alone are read, which no other entry reads.
  """
  error = partial(costs.squared_value_error, clip=value_clip)
  return Recipe(
    plan=notes.noted(
      sampled.independent(samples=samples), parts.Spans(feedback)
    ),
    credit=chain(
      critics.SpanGAE(discount, trace, kl_weight, kl_target, kl_gain),
      refine(tokens.whiten_batch),
    ),
    objective=policy_gradient(
      surrogates.clip,
      low=clip,
      high=clip,
      value=Cost(error, value_weight),
    ),
    aggregate=aggregate.token_mean,
    epochs=epochs,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Process Reinforcement through Implicit Rewards', '2502.01456', 'VERIFIED-2'
  )
)
def prime(
  *,
  samples: int = 4,
  process: float = 5.0,
  outcome: float = 5.0,
  weight: float = 0.05,
  correct: float = 0.5,
  low: float = 0.2,
  high: float = 0.8,
  rounds: int = 4,
  clip: float = 0.2,
  minibatches: int = 1,
) -> Recipe:
  """PPO's clip on outcomes and on what a second policy says of each token.

  The second policy is the first one's twin, and learns from the same rows which
  are right, by `implicit_prm`, before it rates them. Only questions of a middle
  success rate are learned from.

  What the second policy says is scaled to one, as loud while it cannot tell
  right from wrong as once it can. The reward of a small model on few rows fell
  with it in both seeds tried, and rose where `process` = 0 leaves it out.
  In one more seed it agreed with rewards at first, by a correlation of 0.5 to
  0.9 within groups, and from the tenth iteration on by -0.5 to 0, while what it
  said of a token spread from 0.003 to 0.1: steps on 16 to 32 rows that count
  move all that it says. Policies that are tables, of which a step moves what it
  saw alone, keep 0.9 and are not harmed.

  Deviates: groups are drawn anew until enough are of a middle rate, where the
  code draws four times as many at once, and whitens and scales what it keeps
  alone; both policies have the run's optimizer.

  No limit: without process rewards it is whitened leave-one-out, which no
  other entry has.
  """
  middle = partial(filters.rate_between, low=low, high=high)
  rater = Recipe(
    plan=sampled.independent(samples=samples),
    credit=weigh(middle),
    objective=row_losses(
      unary.outcome_likelihood, weight=weight, correct=correct
    ),
  )
  plan = refill.Refill(middle, samples=samples, rounds=rounds)
  return Recipe(
    plan=rated.Rated(plan, rater, weight),
    credit=chain(
      weigh(middle),
      estimate_tokens(
        implicit.implicit_process, process=process, outcome=outcome
      ),
      refine(tokens.whiten_batch),
    ),
    objective=policy_gradient(surrogates.clip, low=clip, high=clip),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )
