"""Entries that change what a response earns before it is compared.

What a judge says of a response beside its reward is the score of a verifier
with the weight 0, `flawed=mypackage.module:judge`.
"""

from __future__ import annotations

from jaxrl_llm.advantages import emphasis, group
from jaxrl_llm.credit import chain, estimate, refine, shape
from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import diversity, parts
from jaxrl_llm.objectives import aggregate, costs, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import episodes, sampled
from jaxrl_llm.plans import orders as orders_lib
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.rewards import behaviour, length


def _judged(samples: int, *names: str):
  """Independent responses, with what verifiers of those names say of them."""
  return notes.noted(sampled.independent(samples=samples), notes.Judged(names))


@register(
  Paper(
    'GeometryZero: Improving Geometry Solving for LLM with Group Contrastive '
    'Policy Optimization',
    '2506.07160',
    confidence='ABSTRACT',
  ),
  Limit('grpo', {'weight': 0.0, 'length_weight': 0.0}, {'kl_weight': 0.0}),
)
def gcpo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  weight: float = 0.5,
  threshold: float = 0.1,
  length_weight: float = 0.1,
  longest: int = 1024,
  minibatches: int = 1,
) -> Recipe:
  """GRPO with a bonus for auxiliary lines where they help, else a penalty.

  A verifier named auxiliary says which responses draw one.

  Deviates: reconstructed from the abstract and reviews, and numbers are ours.
  The rows that are contrasted are those of the group as they came; the paper
  also asks for some of them.
  """
  return Recipe(
    plan=_judged(samples, 'auxiliary'),
    credit=chain(
      shape(
        behaviour.contrasted,
        weight=weight,
        threshold=threshold,
        length_weight=length_weight,
        longest=longest,
      ),
      estimate(group.norm),
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'FAPO: Flawed-Aware Policy Optimization for Efficient and Reliable '
    'Reasoning',
    '2510.22543',
  ),
  Limit(
    'dapo',
    {'penalty': 0.0},
    {'rounds': 1, 'epsilon': 5e-7},
    up_to_scale=True,
  ),
)
def fapo(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  penalty: float = 1.0,
  buffer: float = 0.0,
  minibatches: int = 16,
) -> Recipe:
  """Right answers by flawed steps help at first, and are unlearned later.

  A verifier named flawed says of which steps that holds, in the paper a model
  trained with the verifier `first_error`. The overlong buffer is 4096 of 8192
  tokens there; it depends on the budget, so it is off until `buffer` is set.

  Deviates: without the code's second bound on ratios, 10 for bad tokens.
  """
  return Recipe(
    plan=_judged(samples, 'flawed'),
    credit=chain(
      shape(behaviour.unflawed, penalty=penalty),
      shape(length.overlong, buffer=buffer),
      estimate(group.norm),
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Diversity-Enhanced Reasoning for Subjective Questions',
    '2507.20187',
  ),
  Limit('grpo', {'share': 1.0}, {'kl_weight': 0.0}),
)
def multirole_r1(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  share: float = 0.9,
  minibatches: int = 1,
) -> Recipe:
  """GRPO on accuracy and on how varied the words of a response are.

  The verifier `roles` is the paper's accuracy of responses that speak for
  several roles.

  Deviates: the text names the eight signals of diversity, whose formulas and
  common weight of 1 - share are ours. The roles of the training data are the
  user's.
  """
  return Recipe(
    plan=notes.noted(
      sampled.independent(samples=samples), diversity.Diversity()
    ),
    credit=chain(shape(behaviour.diverse, share=share), estimate(group.norm)),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'RefCritic: Training Long Chain-of-Thought Critic Models with Refinement '
    'Feedback',
    '2507.15024',
    confidence='ABSTRACT',
  ),
  Limit('grpo', {'weight': 0.0}, {'kl_weight': 0.0}),
)
def ref_critic(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  weight: float = 1.0,
  minibatches: int = 1,
) -> Recipe:
  """A critic paid for its verdict, and for what a solver makes of its words.

  The reward is 1 where the verdict on a solution is right. A verifier named
  refined gives the share of a solver's answers after the critique that are
  right. The paper's first stage is a run with a weight of 0.

  Deviates: reconstructed from the abstract and reviews; the verifier asks the
  solver, the weight is ours, and so is that a wrong verdict earns nothing.
  """
  return Recipe(
    plan=_judged(samples, 'refined'),
    credit=chain(shape(behaviour.helpful, weight=weight), estimate(group.norm)),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Reward Design for Justifiable Sequential Decision-Making', '2402.15826'
  ),
  Limit('grpo', {'share': 0.0}, {'kl_weight': 0.0}),
)
def justifiable(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  share: float = 0.5,
  scale: float = 1.0,
  minibatches: int = 1,
) -> Recipe:
  """Part of the reward is that a judge finds a decision better justified.

  A verifier named justified gives what a judge of both, each with evidence,
  prefers a response to a baseline's by, as `justified=preference_model:FOLDER`
  does beside the answer of the record.

  Agents learn to argue before a judge, who is fitted to pairs, in the
  environment `debate`, by any recipe that plays episodes.

  Deviates: GRPO takes the step, in place of offline Q-learning; of text, the
  judge reads what responses say for themselves, and nobody debates them.
  """
  return Recipe(
    plan=_judged(samples, 'justified'),
    credit=chain(
      shape(behaviour.justifiable, share=share, scale=scale),
      estimate(group.norm),
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Exploring Superior Function Calls via Reinforcement Learning',
    '2508.05118',
    confidence='VERIFIED-2',
    other_titles=(
      'Reasoning through Exploration: A Reinforcement Learning Framework for '
      'Robust Function Calling',
    ),
  ),
  Limit('grpo', {'weight': 0.0, 'kl_weight': 0.04}),
)
def funrl(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.001,
  weight: float = 0.4,
  share: float = 2.0,
  end: str = '</think>',
  minibatches: int = 1,
) -> Recipe:
  """GRPO that favours responses whose thoughts before a call are uncertain.

  The verifier `same_call` compares the syntax of calls. A thought is what
  stands before `end`. The method is FunRL in the first versions of the paper,
  and EGPO in later ones, whose formula and numbers these are, as they were read
  at second hand; the authors' repository shows the sum and the loss of the KL.
  """
  return Recipe(
    plan=notes.noted(sampled.independent(samples=samples), parts.Thoughts(end)),
    credit=chain(
      estimate(group.norm),
      refine(emphasis.doubtful_thoughts, weight=weight, share=share),
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
    'GraphRAG-R1: Graph Retrieval-Augmented Generation with '
    'Process-Constrained Reinforcement Learning',
    '2507.23581',
    confidence='RECALLED',
  )
)
def graphrag_r1(
  *,
  samples: int = 8,
  turns: int = 4,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.001,
  formal: int = 20,
  retrieving: int = 60,
  most: float = 0.5,
  decay: float = 0.5,
  scale: float = 1.0,
  cost: float = 0.1,
  minibatches: int = 1,
) -> Recipe:
  """First the form is learned, then to retrieve, then to do so sparingly.

  The reward is the answer's, and a verifier named form, with the weight 0,
  judges the form. What the environment wrote is not learned.

  Deviates: recalled; all numbers are ours. Phases are iterations of one run.

  No limit: the form is always rewarded; where all have it, with no phase and no
  cost, it is `grpo`.
  """
  return Recipe(
    plan=notes.noted(
      episodes.MultiTurn(samples=samples, turns=turns), notes.Judged(('form',))
    ),
    credit=chain(
      behaviour.RetrievalPhases(
        formal=formal,
        retrieving=retrieving,
        most=most,
        decay=decay,
        scale=scale,
        cost=cost,
      ),
      estimate(group.norm),
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
    'J1: Exploring Simple Test-Time Scaling for LLM-as-a-Judge',
    '2505.11875',
    confidence='ABSTRACT',
  ),
  Limit('grpo', {'share': 0.0}, {'kl_weight': 0.0}),
)
def j1(
  *,
  samples: int = 8,
  orders: int = 2,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  share: float = 1.0,
  minibatches: int = 1,
) -> Recipe:
  """A judge that learns from verdicts which hold in both orders of a pair.

  The verifier `verdict` wants the form and the right verdict. Records have the
  other orders in `wordings`, and the right verdict of each in `answers`. More
  is spent on a verdict by `experiments.eval --waits=2`, which takes back the
  end of each thought, or by the majority of several, `eval/maj@k`. The first
  stage is `sft` on demonstrations that reflect, as level 4 of the task `judge`.

  Deviates: reconstructed from the abstract. Both orders at once are those of
  another J1, arXiv 2505.10320, read at second hand; demonstrations are not
  chosen by rejection sampling.
  """
  return Recipe(
    plan=orders_lib.Orders(samples=samples, orders=orders),
    credit=chain(
      shape(behaviour.in_every_order, share=share), estimate(group.norm)
    ),
    objective=policy_gradient(surrogates.clip, low=clip_low, high=clip_high),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )
