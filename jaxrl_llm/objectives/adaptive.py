"""Surrogates whose trust region depends on the token, the group or the step.

Write r = exp(logp - old_logp) and A for the advantage. Bounds are constants:
no gradient passes through them.
"""

from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.advantages import prompts
from jaxrl_llm.objectives import gates, surrogates
from jaxrl_llm.reads import reads


@reads('rewards', 'group', 'valid')
def elastic_clip(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  rewards,
  group,
  valid,
  low=0.2,
  high=0.2,
  micro=0.5,
  macro=0.5,
  correct=0.5,
):
  """PPO's clip, wider for large advantages and for uncertain prompts.

      scale_it = (1 + micro tanh |A_it|) (1 + macro 4 p_g (1 - p_g))
      clip with bounds 1 - scale low, 1 + scale high

  p_g is the share of the group's rewards above `correct`.

  Args:
    rewards: f32[N]. group: i32[N]. valid: bool[N].
    low, high: half-widths. micro, macro: elasticities, 0 turns one off.
    correct: a reward above it is a success.

  Source: ETR, arXiv 2601.03723. The form is reconstructed from the abstract,
    which says only that the bounds grow with |A| and with the variance of
    the group's outcome.
  """
  rate = numerics.group_mean((rewards > correct) * 1.0, group, valid)
  uncertainty = (4 * rate * (1 - rate))[:, None]
  scale = 1 + micro * jnp.tanh(jnp.abs(advantages))
  scale = scale * (1 + macro * uncertainty)
  return surrogates.clip(
    logp, old_logp, advantages, mask, low=scale * low, high=scale * high
  )


@reads('rewards', 'group', 'valid', 'answer')
def consistent_clip(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  rewards,
  group,
  valid,
  answer,
  low=0.2,
  high=0.2,
  bound=3.0,
  slope=5.0,
  middle=1.0,
):
  """The dual clip of what a row is worth within its prompt, and of the rest.

      dual_clip(w L) + dual_clip(A - w L),   w and L of `prompts.consistent`

  Where both parts have one sign this is the dual clip of A.

  Args:
    advantages: f32[N, T], of `prompts.consistency`.
    rewards: f32[N]. group: i32[N]. valid: bool[N]. answer: i32[N].
    low, high: half-widths. bound: of negative parts. slope, middle: likewise.

  Source: COPO, arXiv 2508.04138, and its code.
  """
  weight, within = prompts.consistent(
    rewards, answer, group, valid, slope=slope, middle=middle
  )
  own = jnp.where(mask, (weight * within)[:, None], 0.0)

  def clip(part):
    return surrogates.dual_clip(
      logp, old_logp, part, mask, low=low, high=high, bound=bound
    )

  return clip(own) + clip(advantages - own)


@reads('entropy', 'share')
def heterogeneous_clip(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  entropy,
  share,
  low=0.2,
  high=0.2,
  elasticity=1.0,
  redistribution=1.0,
  bound=10.0,
  quantile=0.8,
):
  """A dual clip whose bounds and advantages follow the token's entropy.

      h > 0:   high_t = high (1 + elasticity h),  low_t = low
      h <= 0:  low_t = low (1 - elasticity h),    high_t = high
      inside = 1 - low_t / 2 < r < 1 + high_t / 2
      A_t <- A_t (1 + redistribution h)  where h > 0 and not inside,
                                         or h <= 0 and inside

  with h of `entropy_rank`: uncertain tokens may rise further, certain ones
  fall further.

  Args:
    entropy: f32[N, T], nats, a constant. share: f32[N, T].
    elasticity: alpha. redistribution: beta. bound: of `dual_clip`.

  Source: HAPO, arXiv 2509.16591, and its published code.
  """
  entropy = jax.lax.stop_gradient(entropy)
  span = numerics.entropy_scale(entropy, share, quantile=quantile)
  h = numerics.entropy_rank(entropy, span)
  h = jnp.where(share > 0, h, 0.0)
  high = high * (1 + elasticity * jnp.maximum(h, 0))
  low = low * (1 - elasticity * jnp.minimum(h, 0))
  fixed = jnp.where(mask, jax.lax.stop_gradient(logp) - old_logp, 0.0)
  ratio = numerics.bounded_exp(fixed)
  inside = (ratio > 1 - low / 2) & (ratio < 1 + high / 2)
  moved = jnp.where(h > 0, ~inside, inside)
  scale = jnp.where(moved, 1 + redistribution * h, 1.0)
  return surrogates.dual_clip(
    logp, old_logp, advantages * scale, mask, low=low, high=high, bound=bound
  )


def balanced_bounds(
  ratio, advantages, share, *, low, low_most, high, high_most, step, target
):
  """Clip bounds at which positive tokens have their part of the loss.

      positive(upper) = sum_{A > 0} min(r, upper) A
      negative(lower) = sum_{A < 0} max(r, lower) |A|
      rho = positive / (positive + negative)

  While rho < target the lower bound rises by `step` to `low_most`; then,
  still while rho < target, the upper one rises to `high_most`.

  negative grows with the lower bound, so raising it never raises rho: where
  the start misses the target it ends at `low_most`, and only the upper bound
  can still reach the target. So does the published code, which is followed.

  Returns:
    lower and upper f32[], ratios.
  """
  lows = _search(low, low_most, step)
  highs = _search(high, high_most, step)
  gain = share * jnp.maximum(advantages, 0)
  loss = share * jnp.maximum(-advantages, 0)
  negative = jax.vmap(lambda b: jnp.sum(jnp.maximum(ratio, b) * loss))(lows)
  positive = jax.vmap(lambda b: jnp.sum(jnp.minimum(ratio, b) * gain))(highs)

  def first(reached):
    return jnp.where(jnp.any(reached), jnp.argmax(reached), reached.size - 1)

  # rho >= target without its division, which is 0 / 0 without advantages.
  i = first((1 - target) * positive[0] >= target * negative)
  j = first((1 - target) * positive >= target * negative[i])
  return lows[i], highs[j]


def _search(start, most, step):
  """start, start + step, ... and most, to which the last step is cut."""
  # Less a millionth of a step, lest rounding add a step of no length.
  steps = math.ceil((most - start) / step - 1e-6)
  return jnp.minimum(start + step * jnp.arange(steps + 1), most)


@reads('share')
def balanced_clip(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  share,
  low=0.6,
  low_most=0.8,
  high=1.2,
  high_most=2.0,
  step=0.05,
  target=0.5,
):
  """PPO's clip with the bounds of `balanced_bounds`, found at every step.

  Args:
    share: f32[N, T], each token's share of the step's tokens.
    low, low_most, high, high_most: ratios between which the lower and the
      upper bound are searched. step: of the search. target: rho, in [0, 1];
      0 keeps `low` and `high`.

  Source: BAPO, arXiv 2510.18927; search and constants of its repository
    (`recipe/bapo/policy_loss.py`), which states the target as positive over
    negative, 1, and puts verl's dual clip on top, left out here.
  """
  chex.assert_equal_shape([logp, old_logp, advantages, mask, share])
  fixed = jnp.where(mask, jax.lax.stop_gradient(logp) - old_logp, 0.0)
  lower, upper = balanced_bounds(
    numerics.bounded_exp(fixed),
    advantages,
    share,
    low=low,
    low_most=low_most,
    high=high,
    high_most=high_most,
    step=step,
    target=target,
  )
  return surrogates.clip(
    logp, old_logp, advantages, mask, low=1 - lower, high=upper - 1
  )


@reads('share')
def covariance_penalty(
  logp, old_logp, advantages, mask, *, share, fraction=2e-4, weight=1.0
):
  """Importance weighting, with a penalty on moves of a few leading tokens.

      -r A + weight |logp - old_logp|   on the tokens of `top_covariance`
      -r A                              on the others

  Args:
    share: f32[N, T]. fraction: of the step's tokens that are held back.
    weight: loss per nat.

  Source: KL-Cov, arXiv 2505.22617; constants of its code.
  """
  fixed = jax.lax.stop_gradient(logp)
  chosen = gates.top_covariance(fixed, advantages, share, fraction=fraction)
  d = jnp.where(mask, logp - old_logp, 0.0)
  losses = surrogates.importance(logp, old_logp, advantages, mask)
  # jnp.abs has slope 1 at 0, where every token of a fresh batch lies.
  distance = jnp.sign(jax.lax.stop_gradient(d)) * d
  return losses + jnp.where(chosen, weight * distance, 0.0)
