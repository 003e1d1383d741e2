"""Entries for agents: turns, steps, tools and teams.

The plan says in its extras which rows or tokens belong together.
"""

from __future__ import annotations

import math
from functools import partial

from jaxrl_llm.advantages import critics, group, keys, steps, targets, tokens
from jaxrl_llm.credit import (
  WeighByCopies,
  chain,
  estimate,
  estimate_tokens,
  refine,
  shape,
)
from jaxrl_llm.objectives import aggregate, costs, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import aligned as alignment
from jaxrl_llm.plans import by_turn, episodes, forked
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.rewards import behaviour
from jaxrl_llm.rewards import steps as step_rewards


@register(
  Paper(
    'Dr. MAS: Stable Reinforcement Learning for Multi-Agent LLM Systems',
    '2602.08847',
  )
)
def dr_mas(
  *,
  samples: int = 8,
  turns: int = 4,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.0,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """GRPO among the turns of one agent on one prompt.

  A row is one turn, and the environment says whose.

  Deviates: a lone turn of an agent gets 0, where the published code leaves its
  raw reward.
  """
  return Recipe(
    plan=by_turn.Steps(episodes=samples, turns=turns),
    credit=keys.EstimateBy(
      partial(group.norm, epsilon=epsilon), ('group', 'agent')
    ),
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
    'Multi-Agent Deep Research: Training Multi-Agent Systems with M-GRPO',
    '2511.13288',
  ),
  Limit(
    'dr_mas', {'own': 0.0, 'aligned': 0.0, 'apart': 0.0}, {'clip_high': 0.28}
  ),
)
def m_grpo(
  *,
  samples: int = 8,
  turns: int = 4,
  calls: int = 4,
  own: float = 1.0,
  aligned: float = 1.0,
  apart: float = 1.0,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """Main agent and sub-agents normalised apart, each with rewards of its own.

  A row is one turn, and the environment says whose, and what it pays it; the
  outcome of the episode, which all of its turns share, comes besides. Turns of
  sub-agents are repeated or left out at random until every episode that has
  any has `calls` of them, and the loss of each agent is a mean over its own
  rows. Without alignment, at `aligned` 0, pay, at `own` 0, and losses of their
  own, at `apart` 0, it is `dr_mas`.

  Agents are policies of their own, each with an optimizer, as the paper's two
  models: in text with `model.agents=2`, in control in an environment such as
  `research`.

  Deviates: agents of text begin as one model, and one agent reads what others
  said before its turn, in the words of one conversation; those of programs,
  which have conversations of their own, are one policy. A call of a sub-agent
  is one turn.
  What of the composite rewards is not the outcome must be paid by the
  environment, in terms that are added (in the published code, MrlX, either
  agent earns 1 when the main one answers right, and else 0.1 for its format).
  """
  return Recipe(
    plan=alignment.Aligned(by_turn.Steps(samples, turns), calls),
    credit=chain(
      shape(step_rewards.shared, weight=own),
      estimate_tokens(steps.norm_of_copies, epsilon=epsilon, aligned=aligned),
      WeighByCopies(aligned),
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=partial(aggregate.sequence_mean_of_agents, apart=apart),
    minibatches=minibatches,
  )


@register(
  Paper(
    'Group-in-Group Policy Optimization for LLM Agent Training', '2505.10978'
  )
)
def gigpo(
  *,
  samples: int = 8,
  turns: int = 4,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.01,
  weight: float = 1.0,
  discount: float = 0.95,
  minibatches: int = 1,
) -> Recipe:
  """Trajectories compared by outcome, steps by return from the same state.

  The plan provides `trajectory`, `step`, `step_reward` and `anchor`; a row is
  one step. Means are subtracted, spreads are not divided by (the published
  default).

  Deviates: states are grouped when equal, not when similar. Outcomes are
  averaged over trajectories, as the paper has it; its code averages them over
  steps, so that long trajectories weigh more in the baseline.
  """
  return Recipe(
    plan=by_turn.Steps(episodes=samples, turns=turns),
    credit=estimate_tokens(
      steps.group_in_group, weight=weight, discount=discount
    ),
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
    'SALT: Step-level Advantage Assignment for Long-horizon Agents via '
    'Trajectory Graph',
    '2510.20022',
    confidence='ABSTRACT',
  )
)
def salt(
  *,
  samples: int = 8,
  turns: int = 4,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.01,
  minibatches: int = 1,
) -> Recipe:
  """GRPO, averaged over trajectories that share a step.

  The plan provides `trajectory` and `node`.

  Deviates: reconstructed from the abstract; the rule by which steps merge is
  left to the plan.
  """
  return Recipe(
    plan=by_turn.Steps(episodes=samples, turns=turns),
    credit=estimate_tokens(steps.merged_steps),
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
    'MasHost Builds It All: Autonomous Multi-Agent System Directed by '
    'Reinforcement Learning',
    '2506.08507',
    confidence='ABSTRACT',
  ),
  Limit('grpo', {'weight': 0.0}, {'kl_weight': 0.0}),
)
def mashost(
  *,
  samples: int = 8,
  turns: int = 4,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  weight: float = 0.3,
  minibatches: int = 1,
) -> Recipe:
  """GRPO over built agent graphs, plus each decision's own reward (HRPO).

  The plan provides `decision_reward`.

  A decision is an action of the environment, such as a role to add and the
  agent that feeds it. In control, in the environment `teams`, a policy of
  graphs draws both jointly; in text their tokens are drawn one by one.

  Deviates: reconstructed from abstract and reviews, and the weight is ours, as
  is what an action earns: the environment says that. With a weight of 1 a
  policy may exit at once, since what earns less than 0 is avoided before a
  right graph is seen. Messages of the agents built so far are not seen.
  """
  return Recipe(
    plan=episodes.MultiTurn(samples=samples, turns=turns),
    credit=estimate_tokens(steps.with_decisions, weight=weight),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'In-the-Flow Agentic System Optimization for Effective Planning and Tool '
    'Use',
    '2510.05592',
  )
)
def flow_grpo_agent(
  *,
  samples: int = 8,
  turns: int = 4,
  clip_low: float = 0.2,
  clip_high: float = 0.3,
  kl_weight: float = 0.001,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """One outcome for all turns, and every turn of a trajectory alike.

  The plan provides `turn`; a row is a whole trajectory. The KL is averaged
  over tokens.

  Deviates: trajectories count alike in mean and spread, as in the paper; in
  the published code long ones count once a turn.
  """
  return Recipe(
    plan=episodes.MultiTurn(samples=samples, turns=turns),
    credit=chain(
      estimate(group.norm, epsilon=epsilon), refine(steps.equal_turns)
    ),
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
    'Hi-Agent: Hierarchical Vision-Language Agents for Mobile Device Control',
    '2510.14388',
    confidence='ABSTRACT',
  )
)
def hi_agent(
  *,
  samples: int = 8,
  turns: int = 4,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """Subgoals of one state are compared by what they are foreseen to bring.

  The plan provides `anchor`, the state, and `step_reward`: what the environment
  pays a subgoal for its format, for how carrying it out went, and for what a
  judge foresees. The outcome of the episode, which is what success came to be,
  is added for all of its subgoals.

  In control, in an environment of several agents such as `research`, the one
  that carries a subgoal out is a policy of its own, which learns beside the one
  that sets it.

  Deviates: reconstructed from the abstract, whose weights are unknown and left
  to the environment; in text the low-level policy that carries a subgoal out is
  not trained, nor is a judge anywhere.

  No limit: what is compared are subgoals of one state, whoever's episode they
  are of, by outcome and pay at once, which no other entry does.
  """
  return Recipe(
    plan=by_turn.Steps(episodes=samples, turns=turns),
    credit=chain(
      shape(step_rewards.shared),
      keys.EstimateBy(
        partial(group.norm, epsilon=epsilon), ('group', 'anchor')
      ),
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


_ACTING_LESS = Paper(
  'Acting Less is Reasoning More! Teaching Model to Act Efficiently',
  '2504.14870',
  confidence='VERIFIED-2',
  other_titles=('OTC: Optimal Tool Calls via Reinforcement Learning',),
)


@register(_ACTING_LESS)
def otc(
  *,
  samples: int = 8,
  turns: int = 4,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.001,
  budget: float = 4.0,
  scale: float = 1.0,
  minibatches: int = 1,
) -> Recipe:
  """GRPO on correctness discounted by needless tool calls (OTC-GRPO).

  The plan provides `tool_calls`. The budget of calls is the run's own; the
  KL weight is ours.

  Deviates: a reward may be graded, and counts as correct above 1/2.
  """
  return Recipe(
    plan=episodes.MultiTurn(samples=samples, turns=turns),
    credit=chain(behaviour.ToolEconomy(budget, scale), estimate(group.norm)),
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
  _ACTING_LESS,
  Limit(
    'ppo',
    {'budget': math.inf, 'kl_weight': 0.0},
    {'epochs': 1, 'trace': 1.0},
  ),
)
def otc_ppo(
  *,
  samples: int = 1,
  turns: int = 4,
  clip: float = 0.2,
  kl_weight: float = 0.001,
  budget: float = 4.0,
  scale: float = 1.0,
  discount: float = 1.0,
  trace: float = 1.0,
  value_weight: float = 0.5,
  value_clip: float = 0.2,
  minibatches: int = 4,
) -> Recipe:
  """PPO on rewards that every tool call makes smaller (OTC-PPO).

  Without a group there is no best number of calls to compare with, so none is
  best. The plan provides `tool_calls`. The budget is the run's own; numbers of
  PPO are ours.
  """
  error = partial(costs.squared_value_error, clip=value_clip)
  return Recipe(
    plan=episodes.MultiTurn(samples=samples, turns=turns),
    credit=chain(
      shape(behaviour.fewer_calls, budget=budget, scale=scale),
      critics.PenalisedGAE(discount, trace, kl_weight),
      refine(tokens.whiten_batch),
    ),
    objective=policy_gradient(
      surrogates.clip, low=clip, high=clip, value=Cost(error, value_weight)
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper('Understanding Tool-Integrated Reasoning', '2508.19201'),
  Limit('grpo', {'delta': 0.0}, {'kl_weight': 0.0}),
)
def aspo(
  *,
  samples: int = 8,
  turns: int = 4,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  delta: float = -2.0,
  bound: float = 0.7,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """Good responses earn more the earlier they use their tool.

  The plan provides `tool_start`, the place of the first token of a call. The
  environment answers calls and says where in a turn they begin.
  """
  return Recipe(
    plan=episodes.MultiTurn(samples=samples, turns=turns),
    credit=estimate_tokens(
      targets.timed_tools, delta=delta, bound=bound, epsilon=epsilon
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'EPO: Explicit Policy Optimization for Strategic Reasoning in LLMs via '
    'Reinforcement Learning',
    '2502.12486',
  )
)
def epo(
  *,
  samples: int = 8,
  turns: int = 4,
  discount: float = 0.99,
  epochs: int = 3,
  minibatches: int = 1,
) -> Recipe:
  """Strategies are imitated as far as key turns and the outcome follow.

  The plan provides `turn` and `decision_reward`; a row is a whole episode, and
  a turn that the environment pays is key. The policy says strategies, which the
  environment carries out.

  In control, in the game `werewolf`, the policy plays both sides, and the rows
  of both are learned from: the paper's self-play.

  Deviates: who judges which turns were key, and the frozen agent that is told
  the strategy, are the environment's; in text so is the opponent. Losses are
  averaged over tokens, ours.

  No limit: without key turns and discount every row that earned more than 0 is
  imitated alike, however much it was, which no other entry does.
  """
  return Recipe(
    plan=episodes.MultiTurn(samples=samples, turns=turns),
    credit=estimate_tokens(steps.key_turns, discount=discount),
    objective=policy_gradient(surrogates.score_function),
    aggregate=aggregate.token_mean,
    epochs=epochs,
    minibatches=minibatches,
  )


@register(
  Paper('Agentic Reinforced Policy Optimization', '2507.19849'),
  Limit('grpo', {}, {'kl_weight': 0.0}),
)
def arpo(
  *,
  samples: int = 16,
  first: int = 8,
  turns: int = 4,
  base: float = 0.5,
  weight: float = 0.017,
  tokens: int = 20,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  epsilon: float = 1e-6,
  minibatches: int = 8,
) -> Recipe:
  """GRPO over episodes that part after calls, where the policy became unsure.

  What episodes share is learned in each of them: the paper's soft attribution.
  `weight` is the published 0.2 for the vocabulary of Qwen 2.5, 11.9 nats.

  Deviates: others go on from the first episodes alone, once those have ended,
  not from one another. Entropies are of the whole vocabulary, where the
  published code takes the ten likeliest tokens. The KL, of weight 0 there, is
  left out.
  """
  return Recipe(
    plan=forked.Forked(
      samples=samples,
      first=first,
      turns=turns,
      base=base,
      weight=weight,
      tokens=tokens,
    ),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )
