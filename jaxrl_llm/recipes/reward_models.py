"""Entries that learn to rate responses instead of writing them."""

from __future__ import annotations

from jaxrl_llm.objectives import critics, listwise, rating, unary
from jaxrl_llm.objectives.base import row_losses
from jaxrl_llm.objectives.grouped import group_losses, pair_losses
from jaxrl_llm.plans import sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register

_INSTRUCT = Paper(
  'Training language models to follow instructions with human feedback',
  '2203.02155',
)


@register(_INSTRUCT)
def reward_model(
  *, samples: int = 2, margin: float = 0.0, centring: float = 0.01
) -> Recipe:
  """A reward for each response: Bradley and Terry's likelihood of pairs.

  Of more than two responses, the mean over the pairs that differ.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      rating.bradley_terry,
      rating.last_value,
      margin=margin,
      centring=centring,
      samples=samples,
    ),
  )


@register(_INSTRUCT, Limit('reward_model', {'samples': 2}, {'centring': 0.0}))
def ranking_reward_model(*, samples: int = 4) -> Recipe:
  """A reward for each response: Plackett and Luce's likelihood of rankings."""
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=group_losses(
      listwise.plackett_luce, rating.last_value, weight=1.0, samples=samples
    ),
  )


@register(
  Paper('Reinforcement Learning from User Feedback', '2505.14946', 'ABSTRACT')
)
def unary_reward_model(*, samples: int = 1, correct: float = 0.5) -> Recipe:
  """The log-odds that a response alone is liked: binary cross-entropy.

  Learns from single labelled responses, which need no rival. The verifier
  `reaction_model:FOLDER` is the probability, which the paper weighs beside help
  and safety in one reward, as `multi_objective_grpo` does.

  Deviates: reconstructed from the abstract; the paper's users react by hearts.

  No limit: no other entry fits the odds of a single label.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=row_losses(rating.reaction, correct=correct),
  )


@register(
  Paper(
    'Free Process Rewards without Process Labels', '2412.01981', 'VERIFIED-2'
  )
)
def implicit_prm(
  *, samples: int = 1, weight: float = 0.05, correct: float = 0.5
) -> Recipe:
  """A policy whose log-ratio to its start is the log-odds of success.

  What it says of single tokens is then a process reward without labels of
  steps; see `prime`, which learns it beside the policy. It learns from single
  labelled responses.

  No limit: `bco` is this about a point that moves.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=row_losses(
      unary.outcome_likelihood, weight=weight, correct=correct
    ),
  )


@register(
  Paper(
    'Pre-Trained Policy Discriminators are General Reward Models',
    '2507.05197',
  ),
  Limit('reward_model', {}, {'centring': 0.0}),
)
def polar(*, samples: int = 2) -> Recipe:
  """How like a response is to one of the policy that wrote a reference.

  Of a reference and two responses the one of the same policy, or the one that
  people prefer, is rated higher. With `data.responses=referred` the model reads
  the reference, the end of a text, and the response; the verifier
  `policy_discriminator:FOLDER` puts the record's answer there.

  Deviates: the loss of the first stage is recalled, and the prompt is not read
  again behind the reference.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      rating.bradley_terry,
      rating.last_value,
      margin=0.0,
      centring=0.0,
      samples=samples,
    ),
  )


@register(
  Paper(
    'Optimizing Safe and Aligned Language Generation: A Multi-Objective GRPO '
    'Approach',
    '2503.21819',
    confidence='ABSTRACT',
  )
)
def regression_reward_model(*, samples: int = 1, labels: int = 2) -> Recipe:
  """All scores that a response was given, by least squares: one model.

  A record has `scores` of as many numbers for each response. As the verifier
  `reward_model:FOLDER` the model says their mean, and as
  `safe=reward_model:FOLDER@0` the first alone, for weights of one's own.

  Deviates: reconstructed from the abstract. The paper's labels are four.

  No limit: no other entry fits a number to a score.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=row_losses(rating.least_squares),
    critic=critics.Labels(labels),
  )


@register(
  Paper(
    'Inverse Reinforcement Learning with Dynamic Reward Scaling for LLM '
    'Alignment',
    '2503.18991',
    'VERIFIED-2',
  )
)
def irl_reward_model(*, samples: int = 2, bound: float = 0.05) -> Recipe:
  """Higher rewards for demonstrations than for what the policy writes.

  In a record the demonstration is `chosen` and a response of the policy
  `rejected`. The recipe `dr_irl` then takes the model as a verifier,
  `reward_model:FOLDER`; the paper has one for each category of questions.

  Deviates: responses are recorded once, where the paper's policy moves with
  the reward; the bound is ours.

  No limit: a margin of two rewards has no logistic at any bound.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    objective=pair_losses(
      rating.apart, rating.last_value, bound=bound, samples=samples
    ),
  )
