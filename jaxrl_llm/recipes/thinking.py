"""Entries about how long to think, in which mode, and when to stop."""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import group
from jaxrl_llm.credit import chain, estimate, shape
from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import parts
from jaxrl_llm.objectives import aggregate, costs, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import sampled, tightened
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.rewards import length, thinking


@register(Paper('Thinkless: LLM Learns When to Think', '2505.13379'))
def thinkless(
  *,
  samples: int = 8,
  short: str = '<short>',
  think: str = '<think>',
  right_short: float = 1.0,
  right_thought: float = 0.5,
  wrong: float = -1.0,
  first_weight: float = 0.001,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.001,
  minibatches: int = 2,
) -> Recipe:
  """The first token chooses the mode, and is averaged apart (DeGRPO).

  A model that does not know `short` and `think` is first taught to begin with
  them, by demonstrations. Numbers are those of the authors' script.

  Deviates: the KL is weighed as the loss is, first tokens apart, where the
  published code averages it over all tokens. Of a mode that the tokenizer
  writes in several tokens, the first is the one averaged apart.
  """
  return Recipe(
    plan=notes.noted(
      sampled.independent(samples=samples), parts.Beginnings((short, think))
    ),
    credit=chain(
      shape(
        thinking.by_beginning,
        right=(right_short, right_thought),
        wrong=wrong,
      ),
      estimate(group.centre),
    ),
    objective=policy_gradient(
      surrogates.clip,
      low=clip_low,
      high=clip_high,
      kl=Cost(costs.k3, kl_weight),
    ),
    aggregate=partial(aggregate.split_first, first_weight=first_weight),
    minibatches=minibatches,
  )


@register(
  Paper(
    'HAPO: Training Language Models to Reason Concisely via History-Aware '
    'Policy Optimization',
    '2505.11225',
  ),
  Limit('grpo', {'weight': 0.0}, {'epsilon': 1e-4}),
)
def history_aware(
  *,
  samples: int = 2,
  weight: float = 1.0,
  bound: float = 0.7,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.04,
  epsilon: float = 1e-4,
  minibatches: int = 1,
) -> Recipe:
  """GRPO on rewards for being shorter than any right response before.

  The shortest right response to each question is remembered. Clip, KL and
  epsilon are the defaults of the trainer that the published code is built on.

  Deviates: no reward against repetition, which the published script switches
  off. What counts is that the reward of the run is more than 1/2.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=chain(
      thinking.ShortestSoFar(weight, bound),
      estimate(group.norm, epsilon=epsilon),
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
    'Train Long, Think Short: Curriculum Learning for Efficient Reasoning',
    '2508.08940',
  ),
  Limit(
    'grpo', {'accuracy_weight': 1.0, 'length_weight': 0.0}, {'kl_weight': 0.0}
  ),
)
def train_long_think_short(
  *,
  samples: int = 8,
  start: float = 256.0,
  decay: float = 0.7,
  every: int = 100,
  sentence: str = '',
  accuracy_weight: float = 0.6,
  length_weight: float = 0.3,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """GRPO with a bonus for the length of a budget that tightens.

  The reward of tags, of weight 0.1, is a verifier of the run's:
  --config.verify.names="('math','format:<think>.*</think>')"
  --config.verify.weights="(1.0,0.167)". A sentence such as
  ' Use {budget} tokens.' tells the policy its budget.

  Deviates: nobody is told the budget unless there is a sentence, since how the
  paper's prompt states it is not known to us. The spread divides by n - 1, and
  the KL, whose weight is not known either, is left out.
  """
  return Recipe(
    plan=tightened.tightened(
      samples=samples,
      start=start,
      decay=decay,
      every=every,
      sentence=sentence,
    ),
    credit=chain(
      shape(
        length.triangular,
        accuracy_weight=accuracy_weight,
        length_weight=length_weight,
      ),
      estimate(group.norm, epsilon=epsilon),
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )
