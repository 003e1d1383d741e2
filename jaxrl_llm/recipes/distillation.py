"""Entries that learn what a teacher would say, from its whole distributions."""

from __future__ import annotations

from functools import partial

from jaxrl_llm import reference
from jaxrl_llm.advantages import group, implicit
from jaxrl_llm.credit import (
  chain,
  estimate,
  estimate_tokens,
  weigh_tokens,
)
from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import passes, self_taught
from jaxrl_llm.objectives import aggregate, distillation, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import demonstrations, imitated, sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register
from jaxrl_llm.rewards import combine
from jaxrl_llm.selection import weights


@register(
  Paper(
    'On-Policy Distillation of Language Models: Learning from Self-Generated '
    'Mistakes',
    '2306.13649',
    'VERIFIED-2',
    other_titles=(
      'GKD: Generalized Knowledge Distillation for Auto-regressive Sequence '
      'Models',
    ),
  ),
  Limit('sft', {'weight': 0.0, 'reward_weight': 1.0}),
)
def gkd(
  *,
  samples: int = 1,
  share: float = 0.5,
  size: int = 64,
  beta: float = 0.5,
  weight: float = 1.0,
  reward_weight: float = 0.0,
) -> Recipe:
  """A divergence from a teacher, on own responses and on demonstrations.

      sum_it w_it (weight D(teacher, policy)_it - reward_weight r_i logp_it)

  The teacher is the policy of `teacher.paths`, and its `size` most likely
  tokens are compared, with the rest as one; a size that reaches the vocabulary
  compares whole distributions, and costs two numbers for each entry and token.
  Shares, betas and the temperature (`sample.temperature`, here of both) are
  TRL's; the paper tries many.

  Deviates: the candidates are ours, where TRL has the whole vocabulary; a
  reward has no baseline.
  """
  divergence = partial(distillation.generalised_divergence, beta=beta)
  plan = imitated.OrDemonstrations(samples=samples, share=share)
  return Recipe(
    plan=notes.noted(plan, passes.TeacherCandidates(size)),
    combine=partial(combine.scaled, weight=reward_weight),
    objective=policy_gradient(
      surrogates.score_function,
      teacher=Cost(divergence, weight),
    ),
    aggregate=aggregate.token_mean,
  )


@register(
  Paper(
    'MiniLLM: Knowledge Distillation of Large Language Models',
    '2306.08543',
    'VERIFIED-2',
  )
)
def minillm(
  *,
  samples: int = 1,
  size: int = 64,
  weight: float = 1.0,
  clip: float = 0.2,
  minibatches: int = 1,
) -> Recipe:
  """KL(policy || teacher) of responses: of each token, and of what follows.

  The one is exact among the teacher's `size` most likely tokens and the rest as
  one, the other a policy gradient.

  Deviates: without samples of a mixture with the teacher, and without the
  likelihood of a text corpus beside it.

  No limit: no other entry has what a teacher says of later tokens.
  """
  exact = partial(distillation.generalised_divergence, beta=1.0)
  return Recipe(
    plan=notes.noted(
      sampled.independent(samples=samples),
      passes.Teacher(),
      passes.TeacherCandidates(size),
    ),
    credit=estimate_tokens(implicit.teacher_after),
    objective=policy_gradient(
      surrogates.clip, low=clip, high=clip, teacher=Cost(exact, weight)
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(Paper('On the Position Bias of On-Policy Distillation', '2606.22600'))
def iw_opd(*, samples: int = 1, gamma: float = 0.5) -> Recipe:
  """On-policy distillation of sampled tokens, early ones weighing more.

  The teacher is the policy of `teacher.paths`; without `gamma` a token's
  advantage is how much likelier it finds it.

  No limit: no other entry has such an advantage; `gamma=0` has the slope of
  `kdrl costs=teacher_k2:1.0` without rewards.
  """
  return Recipe(
    plan=notes.noted(sampled.independent(samples=samples), passes.Teacher()),
    credit=estimate_tokens(implicit.teacher_early, gamma=gamma),
    aggregate=aggregate.token_mean,
  )


def _weighed(beta, cap):
  """A divergence from who was shown more, on rows that may be older."""
  fn = partial(distillation.weighed_divergence, beta=beta, cap=cap)
  return policy_gradient(surrogates.score_function, teacher=Cost(fn, 1.0))


@register(Paper('Reinforcement Learning via Self-Distillation', '2601.20802'))
def sdpo(
  *,
  samples: int = 8,
  size: int = 100,
  beta: float = 0.5,
  cap: float = 2.0,
  decay: float = 0.95,
  reward_weight: float = 0.0,
  correct: float = 1.0,
  phrase: str = '{prompt} {text}',
) -> Recipe:
  """The policy taught by itself, once it has seen another's right answer.

  Of a response whose group has another one that is right, each token's
  distribution is held to that of a moving average of the policy whose prompt
  holds it, among the `size` likeliest tokens and the rest as one. The others
  teach nothing.

  Deviates: feedback of an environment beside the answer is left out, and a
  reward beside the divergence, which TRL learns from by GRPO's loss, has no
  baseline; both are off by default there.

  No limit: no other entry has the policy for a teacher.
  """
  note = self_taught.SelfTaught(
    partial(self_taught.of_group, correct=correct), size, phrase
  )
  return Recipe(
    plan=notes.noted(sampled.independent(samples=samples), note),
    combine=partial(combine.scaled, weight=reward_weight),
    credit=chain(estimate(group.reward), weigh_tokens(weights.taught)),
    objective=_weighed(beta, cap),
    aggregate=aggregate.token_mean,
    reference=reference.EMA(decay),
  )


@register(Paper('Self-Distillation Enables Continual Learning', '2601.19897'))
def sdft(
  *,
  samples: int = 1,
  size: int = 100,
  beta: float = 0.5,
  cap: float = 2.0,
  decay: float = 0.95,
  reward_weight: float = 0.0,
  phrase: str = '{prompt} {text}',
) -> Recipe:
  """Fine-tuning on demonstrations that the policy reads, and does not copy.

  `sdpo` whose teacher is shown the `demonstration` of the question's record.

  Deviates: TRL's teacher is by default the start (decay=1), and it compares the
  likeliest tokens alone, without the rest.

  No limit: as `sdpo`, of which every row is shown something.
  """
  checks = (demonstrations.required,)
  note = self_taught.SelfTaught(self_taught.demonstrated, size, phrase, checks)
  return Recipe(
    plan=notes.noted(sampled.independent(samples=samples), note),
    combine=partial(combine.scaled, weight=reward_weight),
    credit=chain(estimate(group.reward), weigh_tokens(weights.taught)),
    objective=_weighed(beta, cap),
    aggregate=aggregate.token_mean,
    reference=reference.EMA(decay),
  )
