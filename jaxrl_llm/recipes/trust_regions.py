"""Entries that stay near the last policy by other means than a clip."""

from __future__ import annotations

from functools import partial

from jaxrl_llm import control, reference, update
from jaxrl_llm.advantages import group
from jaxrl_llm.credit import estimate
from jaxrl_llm.objectives import aggregate, costs, surrogates
from jaxrl_llm.objectives.base import Cost, policy_gradient
from jaxrl_llm.plans import sampled
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Limit, Paper, register


@register(Paper('Trust Region Policy Optimization', '1502.05477'))
def trpo(
  *,
  samples: int = 8,
  limit: float = 0.01,
  solves: int = 10,
  damping: float = 0.1,
) -> Recipe:
  """A natural-gradient step to the edge of a KL ball, by line search.

  An optimizer that rescales the step undoes it: set `optimizer.name=sgd`,
  `optimizer.learning_rate=1` and `optimizer.clip_norm=inf`.

  Deviates: advantages are relative to the group, in place of a critic's.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.centre),
    objective=policy_gradient(
      surrogates.importance, trust=Cost(costs.trust_kl)
    ),
    aggregate=aggregate.token_mean,
    update=partial(
      update.trust_region, limit=limit, solves=solves, damping=damping
    ),
  )


@register(
  Paper(
    'Ratio-Variance Regularized Policy Optimization for Efficient LLM '
    'Fine-tuning',
    '2601.03320',
    'VERIFIED-2',
  ),
  Limit('grpo', {'initial': 0.0}, {'kl_weight': 0.0}, on_policy=True),
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

  Deviates: penalty and first coefficient are read in re-implementations;
  `limit` and `rate` of the dual step are not published and chosen here.
  """
  multiplier = control.DualAscent(initial, limit, rate, 'loss/variance')
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.importance, variance=Cost(costs.ratio_variance, multiplier)
    ),
    aggregate=aggregate.sequence_mean,
    minibatches=minibatches,
  )


@register(
  Paper('Mirror Descent Policy Optimization', '2005.09814'),
  Limit('grpo', {}, {'kl_weight': 0.0}, on_policy=True),
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

  The on-policy form, on tokens. `iterations` is K, the length of the run.

  Deviates: advantages and means over tokens are GRPO's; the paper's advantages
  are a critic's, standardised over the batch.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
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
    'The Update-Equivalence Framework for Decision-Time Planning', '2304.13138'
  )
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

  The closed form of the step is `tabular.mirror.magnetic_step`; the defaults
  are ours.

  Deviates: the step is taken by gradients of sampled tokens; the magnet
  becomes the policy every `every` iterations, where the published code mixes
  the two a little at every step.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
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
  Limit('grpo', {}, {'kl_weight': 0.0}, on_policy=True),
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

  One evaluation of the advantages serves `epochs` inner steps.

  Deviates: the inner loop is the run's optimiser, not an Armijo line search.
  """
  return Recipe(
    plan=sampled.independent(samples=samples),
    credit=estimate(group.norm, epsilon=epsilon),
    objective=policy_gradient(
      surrogates.score_function, target=Cost(costs.square_move, 0.5 / step_size)
    ),
    aggregate=aggregate.sequence_mean,
    epochs=epochs,
  )
