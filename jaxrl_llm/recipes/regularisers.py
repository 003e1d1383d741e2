"""Entries that mainly add a cost, or hold tokens back, beside the surrogate."""

from __future__ import annotations

from functools import partial

from jaxrl_llm import control, reference
from jaxrl_llm.advantages import group, tokens
from jaxrl_llm.credit import estimate, estimate_tokens
from jaxrl_llm.objectives import (
  adaptive,
  aggregate,
  costs,
  gates,
  surrogates,
)
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.recipe import Limit, Paper, Recipe, register
from jaxrl_llm.rollouts import plans

_ENTROPY_MECHANISM = (
  'The Entropy Mechanism of Reinforcement Learning for Reasoning Language '
  'Models'
)


@register(
  Paper('Approximating KL Divergence', ''),
  joints=('cost',),
  limits=(Limit('dr_grpo', {'kl_weight': 0.0}),),
)
def straight_kl(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.04,
  minibatches: int = 1,
) -> Recipe:
  """Dr. GRPO with k3's value and k2's gradient as its KL cost.

  The straight-through form of verl: the logged value is unbiased and never
  negative, the gradient that of KL(policy || reference) given the prefix.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high),
      kl=Cost(costs.straight_k3, kl_weight),
    ),
    aggregate=aggregate.budget_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'DeepSeek-V3.2: Pushing the Frontier of Open Large Language Models',
    '2512.02556',
    'VERIFIED-2',
  ),
  joints=('cost',),
  limits=(Limit('grpo', {'kl_weight': 0.0}, {'kl_weight': 0.0}),),
)
def weighted_kl(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 0.04,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """GRPO with k3 under the importance ratio: an unbiased KL, also off-policy.

  Of the paper's changes to GRPO only the KL estimate; the form is read in
  TRL.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high),
      kl=Cost(costs.weighted_k3, kl_weight),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Ratio-Variance Regularized Policy Optimization',
    '2601.03320',
    'VERIFIED-2',
  ),
  joints=('surrogate', 'cost'),
  limits=(Limit('grpo', {'initial': 0.0}, {'kl_weight': 0.0}, on_policy=True),),
)
def r2vpo(
  *,
  samples: int = 8,
  initial: float = 0.04,
  limit: float = 0.01,
  rate: float = 0.1,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """The variance of the ratio, held to a limit by dual ascent, for the clip.

  Penalty and first coefficient are read in re-implementations; `limit` and
  `rate` of the dual step are not published and chosen here.
  """
  multiplier = control.DualAscent(initial, limit, rate, 'loss/variance')
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.importance, variance=Cost(costs.ratio_variance, multiplier)
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper('Mirror Descent Policy Optimization', '2005.09814'),
  joints=('surrogate', 'cost'),
  limits=(Limit('grpo', {}, {'kl_weight': 0.0}, on_policy=True),),
)
def mdpo(
  *,
  samples: int = 8,
  weight: float = 1.0,
  iterations: int = 1000,
  epsilon: float = 1e-6,
  epochs: int = 5,
) -> Recipe:
  """KL to the last iterate, with a step size that anneals, for the clip.

  The on-policy form, on tokens; the paper's advantages are a critic's,
  standardised over the batch, here GRPO's. `iterations` is K, the length of
  the run.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.importance,
      proximal=Cost(costs.proximal_kl, control.Annealed(weight, iterations)),
    ),
    aggregate=aggregate.sequence_mean,
    epochs=epochs,
  )


@register(
  Paper(
    'The Update-Equivalence Framework for Decision-Time Planning',
    '2304.13138',
    'RECALLED',
  ),
  joints=('surrogate', 'cost', 'reference'),
)
def mmd(
  *,
  samples: int = 8,
  magnet_weight: float = 0.05,
  step_size: float = 1.0,
  every: int = 50,
  epochs: int = 5,
) -> Recipe:
  """Magnetic mirror descent: KL to the last iterate and to a slow magnet.

      -r A + magnet_weight k2(policy, magnet) + KL(policy || old) / step_size

  The magnet follows the policy every `every` iterations. Recalled; the
  closed form of the step is `tabular.mirror.magnetic_step`.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.importance,
      magnet=Cost(costs.k2, magnet_weight),
      proximal=Cost(costs.proximal_kl, 1 / step_size),
    ),
    aggregate=aggregate.sequence_mean,
    reference=reference.Periodic(every),
    epochs=epochs,
  )


@register(
  Paper('Target-based Surrogates for Stochastic Optimization', '2302.02607'),
  joints=('surrogate', 'cost', 'update'),
  limits=(Limit('grpo', {}, {'kl_weight': 0.0}, on_policy=True),),
)
def target_surrogate(
  *,
  samples: int = 8,
  step_size: float = 0.5,
  epsilon: float = 1e-6,
  epochs: int = 8,
) -> Recipe:
  """Inner steps on the loss linearised in log-prob space, plus a square.

      -A (logp - old) + (logp - old)^2 / (2 step_size)

  One evaluation of the advantages serves `epochs` inner steps. The inner
  loop is the run's optimiser, not the paper's Armijo line search.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.score_function,
      target=Cost(costs.square_move, 0.5 / step_size),
    ),
    aggregate=aggregate.sequence_mean,
    epochs=epochs,
  )


@register(
  Paper(
    'Group-Relative REINFORCE Is Secretly an Off-Policy Algorithm',
    '2509.24203',
  ),
  joints=('surrogate', 'cost'),
  limits=(
    Limit('dr_grpo', {'move_weight': 0.0}, on_policy=True, up_to_scale=True),
  ),
)
def opmd(
  *, samples: int = 8, move_weight: float = 0.1, minibatches: int = 4
) -> Recipe:
  """The score function, off-policy, with a square penalty on the move.

  The square carries no 1/2: its coefficient is half that of a k2.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.score_function, move=Cost(costs.square_move, move_weight)
    ),
    aggregate=aggregate.budget_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'Asymmetric REINFORCE for off-Policy Reinforcement Learning',
    '2506.20520',
    'VERIFIED-2',
  ),
  joints=('cost',),
  limits=(Limit('opmd', {'shift': 0.0}, {'move_weight': 0.0}),),
)
def asymmetric_reinforce(
  *, samples: int = 8, shift: float = 0.1, minibatches: int = 4
) -> Recipe:
  """A baseline below the mean: successes weigh more than failures."""
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.score_function, shift=Cost(costs.negative_logp, shift)
    ),
    aggregate=aggregate.budget_mean,
    minibatches=minibatches,
  )


@register(
  Paper(_ENTROPY_MECHANISM, '2505.22617'),
  joints=('gate', 'aggregate'),
)
def clip_cov(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  fraction: float = 2e-4,
  least: float = 1.0,
  most: float = 5.0,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """A few random tokens of large covariance leave the gradient.

  The draw is a hash of a token's prompt and prefix in place of a generator's
  stream, so that a run repeats whatever the order of its rows.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high),
      gate=partial(
        gates.unclipped_covariance,
        fraction=fraction,
        least=least,
        most=most,
        low=clip_low,
        high=clip_high,
      ),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(_ENTROPY_MECHANISM, '2505.22617'),
  joints=('surrogate', 'aggregate'),
)
def kl_cov(
  *,
  samples: int = 8,
  fraction: float = 2e-3,
  weight: float = 1.0,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """A penalty on the move of the tokens of largest covariance.

  `fraction` is the paper's for 7B models; it uses 2e-4 for 32B.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(adaptive.covariance_penalty, fraction=fraction, weight=weight)
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'On GRPO Collapse in Search-R1: The Lazy Likelihood-Displacement Death '
    'Spiral',
    '2512.04220',
  ),
  joints=('cost',),
  limits=(Limit('grpo', {'fall_weight': 0.0}, {'kl_weight': 0.0}),),
)
def llds(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  fall_weight: float = 0.2,
  epsilon: float = 1e-6,
  minibatches: int = 4,
) -> Recipe:
  """A cost on good responses whose likelihood falls.

  Weighted like the policy loss, where the published code divides by all
  response tokens; the gate is per response, not per action of an agent.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high),
      fall=Cost(costs.likelihood_fall, fall_weight),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'KDRL: Post-Training Reasoning LLMs via Unified Knowledge Distillation '
    'and Reinforcement Learning',
    '2506.02208',
    'VERIFIED-2',
  ),
  joints=('cost', 'aggregate'),
)
def kdrl(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  teacher_weight: float = 2e-3,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """GRPO while distilling a teacher on the student's own samples.

  The plan provides the teacher's log-probs. The coefficient is recalled, and
  constant; the paper also anneals it.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high),
      teacher=Cost(costs.teacher_k2, teacher_weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'OThink-MR1: Stimulating Multimodal Generalized Reasoning Capabilities '
    'via Dynamic Reinforcement Learning',
    '2503.16081',
  ),
  joints=('cost',),
)
def grpo_d(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_least: float = 0.04,
  kl_most: float = 0.1,
  turn: float = 0.3,
  iterations: int = 1000,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """A KL coefficient that first falls, then rises.

  `iterations` is the length of the run; `turn` the share of it that falls.
  """
  weight = control.Vee(kl_least, kl_most, iterations, turn)
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high),
      kl=Cost(costs.k3, weight),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'APO: Enhancing Reasoning Ability of MLLMs via Asymmetric Policy '
    'Optimization',
    '2506.21655',
  ),
  joints=('cost',),
  limits=(Limit('grpo', {'kl_weight': 0.0}, {'kl_weight': 0.0}),),
)
def apo_difficulty(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  kl_weight: float = 1e-3,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """A KL cost that is released on rare successes (DADS).

  Of the paper's two parts the one that changes the KL.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high),
      samples=samples,
      kl=Cost(costs.difficulty_k3, kl_weight),
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper('Soft Actor-Critic Algorithms and Applications', '1812.05905'),
  joints=('cost',),
)
def target_entropy(
  *,
  samples: int = 8,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  initial: float = 1e-3,
  target: float = 0.3,
  rate: float = 0.1,
  epsilon: float = 1e-6,
  minibatches: int = 1,
) -> Recipe:
  """An entropy bonus that holds the policy's entropy at a target.

  The temperature update of SAC on GRPO's advantages; `target` is in nats per
  token.
  """
  weight = control.TargetEntropy(initial, target, rate)
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      partial(surrogates.clip, low=clip_low, high=clip_high),
      entropy=Cost(costs.negative_entropy, weight),
    ),
    aggregate=aggregate.token_mean,
    minibatches=minibatches,
  )


@register(
  Paper(
    'SALSA: Soup-based Alignment Learning for Stronger Adaptation in RLHF',
    '2411.01798',
    'RECALLED',
  ),
  joints=('reference', 'advantage'),
)
def salsa(
  *, samples: int = 4, kl_weight: float = 0.05, every: int = 100
) -> Recipe:
  """KL to a soup of models in place of one.

  The paper averages two independently fine-tuned models; a run knows one, so
  the soup here is the mean of the start and of every `every`-th policy.
  Recalled.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate_tokens(tokens.kl_reward_to_go, kl_weight=kl_weight),
    objective=policy_gradient(surrogates.score_function),
    reference=reference.Soup(every),
  )


@register(
  Paper('Demonstration-Regularized RL', '2310.17303', 'RECALLED'),
  joints=('advantage',),
)
def demonstration_regularised(
  *, samples: int = 4, kl_weight: float = 0.05
) -> Recipe:
  """KL, inside the reward, to a policy cloned from demonstrations.

  The cloned policy is the model the run starts from, after supervised
  learning on the demonstrations. Recalled.
  """
  return Recipe(
    plan=plans.independent(samples=samples),
    credit=estimate_tokens(tokens.kl_reward_to_go, kl_weight=kl_weight),
    objective=policy_gradient(surrogates.score_function),
  )
