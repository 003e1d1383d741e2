"""Entries about how long to think, in which mode, and when to stop."""

from __future__ import annotations

from functools import partial

from jaxrl_llm.advantages import exits as advantages
from jaxrl_llm.advantages import group, modes
from jaxrl_llm.credit import chain, estimate, estimate_tokens, shape
from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import parts
from jaxrl_llm.objectives import aggregate, costs, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import (
  anytime,
  begun,
  begun_episodes,
  dropped,
  exits,
  sampled,
  tightened,
)
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

  No limit: all right responses of a mode earn the same, whatever they earned.
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
    plan=tightened.Tightened(
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


@register(
  Paper(
    'Hierarchical Budget Policy Optimization for Adaptive Reasoning',
    '2507.15844',
  )
)
def hbpo(
  *,
  samples: int = 16,
  budgets: tuple[int, ...] = (512, 1024, 2048, 2560),
  beginning: str = '<think> I will answer the question with {budget} tokens',
  longest: int = 4096,
  weight: float = 1.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """Rows that begin by naming their budget, compared within and between them.

  `longest` is the response budget of the run that the numbers are made for.

  Deviates: the published code adds the term within a budget twice, which
  `weight` = 2 does; the paper has it once, as here.

  No limit: what a right response earns depends on its length at any budget.
  """
  texts = tuple(beginning.replace('{budget}', str(b)) for b in budgets)
  return Recipe(
    plan=begun.Begun(texts, samples=samples),
    credit=chain(
      shape(thinking.within_budget, budgets=budgets, longest=longest),
      estimate_tokens(
        modes.nested_budgets,
        budgets=budgets,
        longest=longest,
        weight=weight,
        epsilon=epsilon,
      ),
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Think Only When You Need with Large Hybrid-Reasoning Models', '2505.14631'
  )
)
def hgpo_modes(
  *,
  samples: int = 4,
  think: str = '<think>',
  at_once: str = '<no_think>',
  margin: float = 0.2,
  weight: float = 1.0,
  clip_low: float = 0.5,
  clip_high: float = 0.5,
  kl_weight: float = 0.001,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """Half of the rows think: compared within their mode, and the modes (HGPO).

  The mode counts as the policy's own decision, with its log-prob, and takes
  what its mode earns beside the other.

  Deviates: rows that tie for the best of their mode are all the best, where
  the order of rows would decide.

  No limit: the best of a mode count alike, whatever they earn.
  """
  return Recipe(
    plan=begun.Begun((think, at_once), samples=samples, chosen=True),
    credit=estimate_tokens(
      modes.within_and_across, margin=margin, weight=weight, epsilon=epsilon
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
    'A$^2$FM: An Adaptive Agent Foundation Model for Tool-Aware Hybrid '
    'Reasoning',
    '2510.12838',
    confidence='VERIFIED-2',
  ),
  Limit('grpo', {'threshold': 1.0}, {'kl_weight': 0.0}),
)
def adaptive_modes(
  *,
  samples: int = 12,
  beginning: str = '<classification>{mode}</classification>',
  names: tuple[str, ...] = (
    'default_agent',
    'reasoning_agent',
    'toolcalling_agent',
  ),
  turns: int = 4,
  threshold: float = 0.5,
  power: float = 2.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """As many rows in each mode, as many free; easy ones answered at once (APO).

  The first of `names` answers at once, and the last takes turns with tools; a
  row of another mode that calls one is scored 0. With `turns=1` no mode has
  tools, and no environment is asked for.

  Deviates: the threshold is ours, and so is the choice that p is of all forced
  rows. Other wrong forms are for verifiers of the run's.
  """
  texts = tuple(beginning.replace('{mode}', name) for name in names)
  return Recipe(
    plan=begun_episodes.modes((*texts, ''), samples=samples, turns=turns),
    credit=chain(
      shape(thinking.at_once_if_easy, threshold=threshold, power=power),
      estimate(group.norm, epsilon=epsilon),
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Think or Not? Selective Reasoning via Reinforcement Learning for '
    'Vision-Language Models',
    '2505.16854',
  ),
  Limit('sft', {'share': 0.0}),
)
def ton(
  *,
  samples: int = 1,
  share: float = 0.5,
  begin: str = '<think>',
  end: str = '</think>',
  empty: str = '\n\n',
) -> Recipe:
  """Fine-tuning on demonstrations half of whose thoughts are left out.

  What it learns may skip the thought, and `grpo` then finds out where that
  pays: --config.verify.names="('exact','format:<think>.*</think>')".

  Deviates: thoughts are left out anew in every epoch, where the published data
  are made once.
  """
  plan = dropped.Dropped(
    samples=samples, share=share, begin=begin, end=end, empty=empty
  )
  return Recipe(plan=plan, aggregate=aggregate.token_mean)


@register(
  Paper(
    'S-GRPO: Early Exit via Reinforcement Learning in Reasoning Models',
    '2505.07686',
    confidence='VERIFIED-2',
  )
)
def s_grpo(
  *,
  samples: int = 9,
  said: str = exits.SAID,
  end: str = '</think>',
  base: float = 2.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  minibatches: int = 1,
) -> Recipe:
  """Answers from early exits of one thought, the first right one paid most.

  Rows of a group are the exits of one response, and that response.

  Losses are averaged within each row and then over rows, which here gives the
  tokens of short exits the most weight; a mean over all tokens,
  --config.slots.aggregate=token_mean, learns better (`short_thoughts.py`).

  Deviates: the clip is not known to us, nor whether what is said at an exit is
  learned, which it is not here. An exit leaves `sample.max_response` room for
  what is said and one token.

  No limit: with a base of 1 it is GRPO without the spread, which is no entry.
  """
  return Recipe(
    plan=exits.Exits(samples=samples, said=said, end=end),
    credit=chain(shape(thinking.decaying, base=base), estimate(group.centre)),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Optimizing Anytime Reasoning via Budget Relative Policy Optimization',
    '2505.13438',
  )
)
def brpo(
  *,
  samples: int = 8,
  budgets: int = 4,
  answers: int = 4,
  prior: str = 'uniform',
  share: float = 0.98,
  end: str = '</think>',
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  minibatches: int = 2,
) -> Recipe:
  """Thoughts by the answers at every budget within them (AnytimeReasoner).

  `samples` are the thoughts of a group, which has answers * budgets more rows
  for each. `prior` of the budgets: uniform, linear or base.

  Deviates: all answers behind the end of a thought that ended early count for
  all later budgets, where the published code gives each its own. Thoughts and
  answers are rows of their own, not branches of one, and no more is said at an
  exit than the end of the thought. `share` of a response is the thought's.

  No limit: thoughts are judged by the answers of other rows.
  """
  return Recipe(
    plan=anytime.Anytime(
      samples=samples,
      budgets=budgets,
      answers=answers,
      share=share,
      end=end,
    ),
    credit=estimate_tokens(
      advantages.budget_relative, chances=advantages.prior(prior, budgets)
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.budget_mean,
    minibatches=minibatches,
  )
