"""Surrogates: per-token policy losses from a ratio to the proximal policy.

    f(logp, old_logp, advantages f32[N, T], mask bool[N, T]) -> f32[N, T]

Losses are minimised. Write r = exp(logp - old_logp), with the log-ratio held
to +-20, and A for the advantage. `mask` marks the tokens that count; what a
function returns off it is weighted by 0, but must be finite. `sg` stops
gradients. Rows are independent of each other.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm import numerics


def _ratio(logp, old_logp, advantages, mask):
  chex.assert_equal_shape([logp, old_logp, advantages, mask])
  return numerics.bounded_exp(jnp.where(mask, logp - old_logp, 0.0))


def score_function(logp, old_logp, advantages, mask):
  """-A logp: the score-function estimator, without a ratio.

  Source: REINFORCE, Williams 1992.
  """
  chex.assert_equal_shape([logp, old_logp, advantages, mask])
  return -advantages * logp


def importance(logp, old_logp, advantages, mask):
  """-r A: importance weighted, without a trust region."""
  return -_ratio(logp, old_logp, advantages, mask) * advantages


def clip(logp, old_logp, advantages, mask, *, low=0.2, high=0.2):
  """The pessimistic minimum of the weighted and the clipped advantage.

      max(-r A, -clip(r, 1 - low, 1 + high) A)

  Args:
    low, high: half-widths of the trust region, >= 0, without unit. Different
      ones are DAPO's clip-higher.

  Returns:
    f32[N, T]. Gradient coefficient r A, and 0 where the clip binds: A > 0
    with r > 1 + high, A < 0 with r < 1 - low.

  Source: PPO, arXiv 1707.06347, equation 7; DAPO, arXiv 2503.14476, eq. 10.
  """
  ratio = _ratio(logp, old_logp, advantages, mask)
  clipped = jnp.clip(ratio, 1 - low, 1 + high)
  return jnp.maximum(-ratio * advantages, -clipped * advantages)


def clip_weight(logp, old_logp, advantages, mask, *, low=1.0, high=4.0):
  """A clipped, constant importance weight on the score function.

      -sg(clip(r, 1 - low, 1 + high)) A logp

  Unlike PPO's clip it never silences a token, it only bounds its weight.

  Args:
    low: 1 means no lower bound (the paper). high: upper half-width. The
      paper reports no value; TRL and ScaleRL use 1 + high = 5.

  Source: CISPO, MiniMax-M1, arXiv 2506.13585, equations 4 and 5.
  """
  ratio = _ratio(logp, old_logp, advantages, mask)
  weight = jax.lax.stop_gradient(jnp.clip(ratio, 1 - low, 1 + high))
  return -weight * advantages * logp
