"""Entries for search, retrieval and recommendation.

The plan says in its extras which rows or tokens belong together.
"""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import group, keys, steps
from jaxrl_llm.credit import chain, estimate, estimate_tokens, shape
from jaxrl_llm.notes import base as notes
from jaxrl_llm.objectives import aggregate, costs, ranked, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import led, proposed, sampled, variants
from jaxrl_llm.plans import wordings as wordings_lib
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.rewards import behaviour
from jaxrl_llm.rewards import steps as step_rewards


@register(
  Paper(
    'Dr. Zero: Self-Evolving Search Agents without Training Data', '2601.07055'
  )
)
def dr_zero(
  *,
  solvers: int = 5,
  parse: str = 'jaxrl_llm.plans.proposals:tagged',
  phase: int = 50,
  turns: int = 1,
  form_weight: float = 0.5,
  kl_weight: float = 0.001,
  epsilon: float = 1e-6,
) -> Recipe:
  """Questions compared with those of as many hops (HRPO), answers by question.

  A proposer asks a question of each document, a solver answers it `solvers`
  times, and they learn in turns, `phase` iterations each. With `model.agents=2`
  they are two models with an optimizer each, as the paper's; with 1 one policy
  is both. With several `turns` and `environment='search'` both search a folder
  before they ask and answer. The data give `hops`, and `parse` finds question
  and answer in a text. The KL weight is ours. With one optimizer step an
  iteration, as in the published code, ratios are 1, and the gradient of the
  solver's clip is that of the proposer's loss, a log-prob times its advantage.

  Deviates: thoughts between tags are no part of the form, and in one turn it is
  kept or not. A question alone with its number of hops gets 0, where the
  published code leaves the raw reward. While the solver learns, questions are
  asked anew in every iteration, not once before.

  No limit: questions and the answers to them are rows of one step, compared by
  hops and by question, which no other entry has together.
  """
  return Recipe(
    plan=proposed.Proposed(solvers, parse, phase, turns),
    credit=chain(
      shape(
        behaviour.solvable_but_hard, solvers=solvers, form_weight=form_weight
      ),
      keys.EstimateBy(partial(group.norm, epsilon=epsilon), ('compared',)),
    ),
    objective=policy_gradient(
      surrogates.score_function, kl=Cost(costs.k3, kl_weight)
    ),
    aggregate=aggregate.token_mean_of_agents,
  )


@register(
  Paper(
    'Rank-GRPO: Training LLM-based Conversational Recommender Systems with '
    'Reinforcement Learning',
    '2510.20150',
  )
)
def rank_grpo(
  *,
  samples: int = 8,
  places: int = 20,
  clip_low: float = 0.06,
  clip_high: float = 0.08,
  kl_weight: float = 1e-3,
  length_weight: float = 0.1,
  epsilon: float = 1e-4,
  minibatches: int = 1,
) -> Recipe:
  """Each place of a recommended list is compared with the same place.

  The plan provides `item` and `gain`, here the hits themselves.

  Deviates: tokens weigh alike, as in the published trainer (the paper's text
  averages items), and an item may be any line of the answer.
  """
  return Recipe(
    plan=notes.noted(
      sampled.independent(samples=samples),
      notes.RankedList(steps.own_gain, places),
    ),
    credit=estimate_tokens(
      steps.ranked_items, length_weight=length_weight, epsilon=epsilon
    ),
    objective=policy_gradient(
      ranked.item_clip,
      low=clip_low,
      high=clip_high,
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Rank-GRPO: Training LLM-based Conversational Recommender Systems with '
    'Reinforcement Learning',
    '2510.20150',
  ),
  Limit('rank_grpo', {}),
)
def rank_grpo_discounted(
  *,
  samples: int = 8,
  places: int = 20,
  clip_low: float = 0.06,
  clip_high: float = 0.08,
  kl_weight: float = 1e-3,
  length_weight: float = 0.1,
  epsilon: float = 1e-4,
  minibatches: int = 1,
) -> Recipe:
  """Each place of a recommended list is compared by what comes from it on.

  The plan provides `item` and `gain`, the discounted hits of a place and of
  those after it, `log_decay` in the published trainer; from given gains on it
  is `rank_grpo`.

  Deviates: as `rank_grpo` does.
  """
  return Recipe(
    plan=notes.noted(
      sampled.independent(samples=samples),
      notes.RankedList(steps.discounted_gain, places),
    ),
    credit=estimate_tokens(
      steps.ranked_items, length_weight=length_weight, epsilon=epsilon
    ),
    objective=policy_gradient(
      ranked.item_clip,
      low=clip_low,
      high=clip_high,
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'R1-Router: Learning to Route Queries Across Knowledge Bases for '
    'Step-wise Retrieval-Augmented Reasoning',
    '2505.22095',
    other_titles=(
      'Learning to Route Queries Across Knowledge Bases for Step-wise '
      'Retrieval-Augmented Reasoning',
      'MoRE: Mixture-of-Retrieval Experts for Reasoning-Guided Multimodal '
      'Knowledge Exploitation',
    ),
  )
)
def step_grpo(
  *,
  samples: int = 8,
  turns: int = 4,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.04,
  epsilon: float = 1e-6,
  recorded: str = '',
  minibatches: int = 1,
) -> Recipe:
  """GRPO among the samples of one step of one question.

  Every turn of an episode that leads is a question, answered by `samples` turns
  that end there. In the paper another model has led, and data say what it said:
  name their field in `recorded`. Else the policy leads. In `step_reward` the
  environment scores sub-question and route of an intermediate step; a step that
  ends the episode earns the reward of its answer. Over HTTP the rows of a group
  are steps of the same number, behind what each episode said before.

  Deviates: how near a sub-question is to the recorded one, which the paper asks
  of embeddings, is the environment's to say.

  No limit: each step is compared with others behind one history, by what it
  earned alone, which no other entry does; only where episodes have one turn is
  it `grpo`.
  """
  return Recipe(
    plan=led.Led(episodes=samples, turns=turns, recorded=recorded),
    credit=chain(
      shape(step_rewards.apart),
      keys.EstimateBy(partial(group.norm, epsilon=epsilon), ('group', 'step')),
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
    'Improving Consistency in Retrieval-Augmented Systems with Group '
    'Similarity Rewards',
    '2510.04392',
    confidence='VERIFIED-2',
  ),
  Limit('grpo', {'weight': 0.0}, {'kl_weight': 0.04}),
)
def ps_grpo(
  *,
  samples: int = 4,
  wordings: int = 4,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.04,
  weight: float = 1.0,
  accuracy_weight: float = 1.0,
  minibatches: int = 1,
) -> Recipe:
  """GRPO within each wording of a question, paid for agreeing with others.

  Every question of the data has its `wordings`, six in the paper.

  Deviates: agreement is a BLEU of words and pairs of words.
  """
  shaper = shape(
    behaviour.agreement, weight=weight, accuracy_weight=accuracy_weight
  )
  return Recipe(
    plan=wordings_lib.Wordings(samples=samples, groups=wordings),
    credit=chain(shaper, estimate(group.norm)),
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
    'Information-Consistent Language Model Recommendations through Group '
    'Relative Policy Optimization',
    '2512.12858',
    confidence='ABSTRACT',
  ),
  Limit(
    'grpo',
    {'information_weight': 0.0, 'stability_weight': 0.0},
    {'kl_weight': 0.0},
  ),
)
def information_consistency(
  *,
  samples: int = 8,
  wordings: int = 4,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  information_weight: float = 0.5,
  stability_weight: float = 1.0,
  minibatches: int = 1,
) -> Recipe:
  """GRPO over equivalent questions, paid for stable information.

  The wordings of a question share one group, and information is the entropy of
  a response's words.

  Deviates: reconstructed from the abstract; form and weights are ours.
  """
  plan = variants.Variants(samples=samples, wordings=wordings)
  shaper = shape(
    behaviour.stable_information,
    information_weight=information_weight,
    stability_weight=stability_weight,
  )
  return Recipe(
    plan=notes.noted(plan, notes.Information()),
    credit=chain(shaper, estimate(group.norm)),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )
