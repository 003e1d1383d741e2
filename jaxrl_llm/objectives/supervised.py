"""Token losses and gates that turn supervised learning into a policy update.

The signatures of `surrogates` and `gates`; A is the advantage and
r = exp(logp - old_logp).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.reads import reads


@reads('rewards', 'group', 'valid')
def implicit_negative(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  rewards,
  group,
  valid,
  spread=0.0,
  correct=0.5,
):
  """Likelihood of successes, and of an implicit policy for the failures.

      q      = the group's share of correct rows, held to [0.02, 0.98]
      good:  -w log r
      bad:   -w log max((1 - q r) / (1 - q), 1)
      w      = (1 - q) / (q (1 - q))^spread

  The maximum floors the value and lets the gradient through: the slope of a
  bad token is w q / (1 - q) r / max(., 1). Failures of the old policy are
  explained by a policy that is the old one less q times the new one.

  Args:
    spread: 0 or 1/2; on-policy they give the gradient of Dr. GRPO and of
      GRPO with the population's spread, for rewards of 0 and 1.
    correct: a reward above it is a success.

  Source: NFT, arXiv 2505.18116.
  """
  del advantages
  good = rewards > correct
  q = numerics.group_mean(good * 1.0, group, valid)
  q = jnp.clip(q, 0.02, 0.98)[:, None]
  weight = (1 - q) / (q * (1 - q)) ** spread
  d = jnp.where(mask, logp - old_logp, 0.0)
  # The published code holds the log-ratio to 10: 1 / (1 - q) multiplies it.
  ratio = numerics.bounded_exp(d, 10.0)
  implicit = (1 - q * ratio) / (1 - q)
  floored = jax.lax.stop_gradient(jnp.maximum(implicit, 1.0))
  through = (implicit - jax.lax.stop_gradient(implicit)) / floored
  bad_loss = -jnp.log(floored) - through
  return weight * jnp.where(good[:, None], -d, bad_loss)


@reads('share')
def balanced_signs(logp, old_logp, advantages, mask, *, share, negative=0.5):
  """Positive and negative tokens each averaged over their own number.

      tokens / tokens with A > 0              where A > 0
      negative tokens / tokens with A < 0     where A < 0,  0 elsewhere

  Args:
    share: f32[N, T], each token's share of the step's tokens.
    negative: weight of the mean over negative tokens.

  Source: OREAL, arXiv 2502.06781, without its token reward model.
  """
  del logp, old_logp, mask
  up, down = advantages > 0, advantages < 0
  raised = numerics.safe_divide(1.0, jnp.sum(share * up))
  lowered = numerics.safe_divide(negative, jnp.sum(share * down))
  return jnp.where(up, raised, 0.0) + jnp.where(down, lowered, 0.0)


@reads('share', 'old_values')
def graded_signs(
  logp, old_logp, advantages, mask, *, share, old_values, negative=0.5
):
  """`balanced_signs`, by how much a token has settled the outcome.

      p_t = sigmoid(mean of z_u, u <= t)
      w_t = max(0, 2 p_t - 1)   where A > 0,   max(0, 1 - 2 p_t)   where A < 0

  Args:
    share: f32[N, T], each token's share of the step's tokens.
    old_values: f32[N, T], the logits z of a token reward model, see
      `costs.outcome_cross_entropy`. negative: as in `balanced_signs`.

  Source: OREAL, arXiv 2502.06781, and its code.
  """
  count = jnp.maximum(jnp.cumsum(mask, axis=-1), 1)
  mean = jnp.cumsum(jnp.where(mask, old_values, 0.0), axis=-1) / count
  # 2 sigmoid(z) - 1 = tanh(z / 2): exact near 0, where most logits begin.
  settled = jnp.maximum(jnp.sign(advantages) * jnp.tanh(mean / 2), 0.0)
  rest = (old_logp, advantages, mask)
  return settled * balanced_signs(logp, *rest, share=share, negative=negative)


@reads('share', 'offline')
def own_mean(logp, old_logp, advantages, mask, *, share, offline):
  """tokens / own tokens in rows of the policy, 0 in those of somebody else.

  Args:
    share: f32[N, T], each token's share of the step's tokens.
    offline: bool[N], rows of somebody else.

  Source: CHORD, arXiv 2508.11408.
  """
  del logp, old_logp, advantages
  own = mask & ~offline[:, None]
  whole = jnp.sum(jnp.where(own, share, 0.0))
  return jnp.where(own, numerics.safe_divide(1.0, whole), 0.0)


@reads('ref_logp')
def leftover_importance(
  logp, old_logp, advantages, mask, *, ref_logp, clip=0.9
):
  """The clipped ratio to the reference where the advantage is positive.

      clip(exp(sum_t m_t (logp_t - ref_logp_t)), 1 - clip, 1 + clip)  if A > 0
      0                                                               else

  Args:
    ref_logp: f32[N, T], the policy that wrote the responses.
    clip: half-width of the ratio of the whole response, in [0, 1].

  Source: A-LoL, arXiv 2305.14718.
  """
  del old_logp
  total = numerics.masked_sum(logp - ref_logp, mask, axis=-1)
  ratio = jnp.clip(numerics.bounded_exp(total), 1 - clip, 1 + clip)
  return jnp.where(advantages > 0, ratio[:, None], 0.0)
