"""Costs: what is added to the policy loss, token by token.

    f(stats, batch) -> f32[N, T]

Minimised, weighted like the policy loss and multiplied by a controlled
coefficient. Write x = logp - ref_logp on tokens sampled from the policy.
Expectations below are over on-policy samples, with the gradient taken
through the cost only, as automatic differentiation does:

    name   value             per-token gradient in expectation
    k1     x                 0
    k2     x^2 / 2           grad KL(policy || reference) of that token
    k3     e^-x - 1 + x      grad KL(reference || policy) of that token

"Of that token" conditions on the prefix: none of them carries the effect of a
token on later divergences, which only a penalty inside the reward does
(`advantages.tokens.kl_reward_to_go`).
Source: J. Schulman, "Approximating KL divergence", 2020, for the estimators;
the gradients are enumerated in tests/objectives/costs_test.py.
"""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.credit import needs


def _log_ratio(stats, batch):
  mask = batch.rollouts.action_mask
  x = jnp.where(mask, stats.logp - batch.ref_logp, 0.0)
  return jnp.clip(x, -numerics.LOG_RATIO_LIMIT, numerics.LOG_RATIO_LIMIT)


@needs('ref_logp')
def k2(stats, batch):
  """x^2 / 2, whose gradient is that of KL(policy || reference)."""
  return _log_ratio(stats, batch) ** 2 / 2


@needs('ref_logp')
def k3(stats, batch):
  """e^-x - 1 + x >= 0: unbiased in value; its gradient is the reverse KL's.

  Source: GRPO, arXiv 2402.03300, equation 4.
  """
  x = _log_ratio(stats, batch)
  return jnp.exp(-x) - 1 + x


def negative_entropy(stats, batch):
  """-H_t in nats: a positive coefficient keeps the policy random."""
  del batch
  return -stats.entropy


@needs('values')
def squared_value_error(stats, batch, *, clip=0.2):
  """Half the squared error of the critic, pessimistic about large moves.

      V_c = V_old + clip(V - V_old, -clip, clip)
      max((V - target)^2, (V_c - target)^2) / 2

  Args:
    clip: in value units; math.inf turns the clip off.

  Source: PPO's reference code; Engstrom et al., arXiv 2005.12729, section 3.
  """
  target = batch.credit.targets
  old = batch.rollouts.extras['values']
  near = old + jnp.clip(stats.values - old, -clip, clip)
  error = jnp.maximum((stats.values - target) ** 2, (near - target) ** 2)
  return jnp.where(batch.rollouts.action_mask, error / 2, 0.0)
