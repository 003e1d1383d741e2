"""Surrogates whose ratio is that of the whole response.

Same signature as the token surrogates; rows are independent of each other
unless a function says otherwise.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.objectives import surrogates
from jaxrl_llm.reads import reads


def sequence_clip(logp, old_logp, advantages, mask, *, low=3e-4, high=4e-4):
  """PPO's clip on the length-normalised ratio of the sequence.

      s_i  = exp(sum_t m_t (logp_t - old_logp_t) / len_i)
      s_it = sg(s_i) exp(logp_t - sg(logp_t))
      max(-s_it A_it, -clip(s_it, 1 - low, 1 + high) A_it)

  The token form: under `sequence_mean` its gradient is that of the sequence
  form -s_i A_i, and it also takes advantages that differ between tokens.

  Args:
    low, high: half-widths; small, because s_i is a geometric mean.

  Returns:
    f32[N, T]; every token of a clipped row has zero gradient. A row without
    tokens has s_i = 1.

  Source: GSPO, arXiv 2507.18071, equations 7 and 13-14.

  Example:
    >>> old = jnp.log(jnp.array([[0.5, 0.5, 0.5, 0.5]]))
    >>> new = jnp.log(jnp.array([[0.5, 0.7, 0.3, 0.7]]))
    >>> advantages = jnp.array([[1.0, 1.0, -1.0, -1.0]])
    >>> mask = jnp.ones((1, 4), bool)
    >>> move = lambda x: sequence_clip(x, old, advantages, mask, high=0.2)
    >>> print(jax.grad(lambda x: jnp.sum(move(x)))(new))
    [[-1.041 -1.041  1.041  1.041]]
  """
  chex.assert_equal_shape([logp, old_logp, advantages, mask])
  log_ratio = numerics.masked_mean(logp - old_logp, mask, axis=-1)
  sequence = jax.lax.stop_gradient(log_ratio)[:, None]
  ratio = numerics.bounded_exp(sequence + logp - jax.lax.stop_gradient(logp))
  clipped = jnp.clip(ratio, 1 - low, 1 + high)
  return jnp.maximum(-ratio * advantages, -clipped * advantages)


def product_clip(logp, old_logp, advantages, mask, *, low=0.2, high=0.2):
  """PPO's clip on the ratio of the whole response, the product of its tokens'.

      s_i  = exp(sum_t m_t (logp_t - old_logp_t))
      loss = max(-s_i A_it, -clip(s_i, 1 - low, 1 + high) A_it) / len_i

  Under `sequence_sum` it is the mean over responses of the clipped -s_i A_i,
  whose gradient is the exact importance-weighted one inside the clip.

  Args:
    low, high: half-widths; a response of many tokens leaves them soon.

  Returns:
    f32[N, T]; every token of a clipped row has zero gradient.

  Source: RLOO in TRL, `rloo_trainer.py`.
  """
  chex.assert_equal_shape([logp, old_logp, advantages, mask])
  log_ratio = numerics.masked_sum(logp - old_logp, mask, axis=-1)[:, None]
  ratio = numerics.bounded_exp(log_ratio)
  clipped = jnp.clip(ratio, 1 - low, 1 + high)
  losses = jnp.maximum(-ratio * advantages, -clipped * advantages)
  return losses / jnp.maximum(jnp.sum(mask, axis=-1, keepdims=True), 1)


def geometric_clip(logp, old_logp, advantages, mask, *, low=0.4, high=0.4):
  """The geometric mean of a response's clipped token ratios.

      c_t  = clip's pessimistic log-ratio: min(d_t, high) where A_t > 0,
             max(d_t, -low) where A_t < 0,   d_t = logp_t - old_logp_t
      S_i  = exp(sum_t m_t c_t / len_i)
      loss = -A_t sg(S_i) exp(c_t - sg(c_t))

  In this token form the gradient under `sequence_mean` is that of the
  published -A_i S_i. Unlike GSPO, tokens are clipped one by one, in
  log-ratio, before the mean.

  Args:
    low, high: half-widths in nats, wide because the mean damps outliers.

  Returns:
    f32[N, T]; zero gradient at clipped tokens. A row without tokens has
    S_i = 1.

  Source: GMPO, arXiv 2507.20673, and its code (callsys/GMPO,
    `train_zero_math_gmpo.py`).
  """
  chex.assert_equal_shape([logp, old_logp, advantages, mask])
  d = jnp.where(mask, logp - old_logp, 0.0)
  clipped = jnp.where(
    advantages > 0, jnp.minimum(d, high), jnp.maximum(d, -low)
  )
  clipped = jnp.where(advantages == 0, 0.0, clipped)
  mean = numerics.masked_mean(clipped, mask, axis=-1)[:, None]
  exponent = jax.lax.stop_gradient(mean - clipped) + clipped
  return -advantages * numerics.bounded_exp(exponent)


def hybrid_clip(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  weight=0.5,
  low=0.2,
  high=0.2,
  sequence_low=3e-4,
  sequence_high=4e-4,
):
  """A mixture of the token's and the sequence's clipped objective.

      weight * clip(r_t) + (1 - weight) * sequence_clip(s_i)

  Each branch is clipped by its own bounds before they are mixed.

  Args:
    weight: of the token branch, in [0, 1]; a number or f32[N, T].
    low, high: of the token branch. sequence_low, sequence_high: of the other.

  Source: DHPO, arXiv 2601.05607, the averaged form (read at second hand).
  """
  token = surrogates.clip(logp, old_logp, advantages, mask, low=low, high=high)
  sequence = sequence_clip(
    logp, old_logp, advantages, mask, low=sequence_low, high=sequence_high
  )
  return weight * token + (1 - weight) * sequence


@reads('entropy', 'share')
def entropy_hybrid_clip(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  entropy,
  share,
  low=0.2,
  high=0.2,
  sequence_low=3e-4,
  sequence_high=4e-4,
):
  """`hybrid_clip`, the token branch weighing more at uncertain tokens.

      weight_t = (H_t - min H) / (max H - min H)   over the step's tokens

  Args:
    entropy: f32[N, T], nats, a constant. share: f32[N, T], > 0 on the
      tokens of the step. The bounds are those of `hybrid_clip`.

  Returns:
    f32[N, T]; the sequence branch alone where all entropies are equal.

  Source: DHPO, arXiv 2601.05607, the entropy-guided form. Which branch the
    entropy favours could not be read: the direction here is a reconstruction
    from the abstract.
  """
  counts, entropy = share > 0, jax.lax.stop_gradient(entropy)
  least = jnp.min(jnp.where(counts, entropy, jnp.inf))
  most = jnp.max(jnp.where(counts, entropy, -jnp.inf))
  weight = numerics.safe_divide(entropy - least, most - least)
  weight = jnp.where(counts, weight, 0.0)
  return hybrid_clip(
    logp,
    old_logp,
    advantages,
    mask,
    weight=weight,
    low=low,
    high=high,
    sequence_low=sequence_low,
    sequence_high=sequence_high,
  )
