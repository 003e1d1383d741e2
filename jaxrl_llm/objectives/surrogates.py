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
from jaxrl_llm.digests import OF_CANDIDATES
from jaxrl_llm.reads import reads


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


def importance_weight(logp, old_logp, advantages, mask):
  """-sg(r) A logp: the gradient of `importance` in the score function's form.

  Source: REC with importance sampling, arXiv 2509.24203.
  """
  ratio = _ratio(logp, old_logp, advantages, mask)
  return -jax.lax.stop_gradient(ratio) * advantages * logp


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

  Example:
    >>> old = jnp.log(jnp.array([[0.5, 0.5, 0.5, 0.5]]))
    >>> new = jnp.log(jnp.array([[0.5, 0.7, 0.3, 0.7]]))
    >>> advantages = jnp.array([[1.0, 1.0, -1.0, -1.0]])
    >>> mask = jnp.ones((1, 4), bool)
    >>> loss = lambda logp: jnp.sum(clip(logp, old, advantages, mask))
    >>> print(jax.grad(loss)(new))
    [[-1.  -0.   0.   1.4]]
  """
  ratio = _ratio(logp, old_logp, advantages, mask)
  clipped = jnp.clip(ratio, 1 - low, 1 + high)
  return jnp.maximum(-ratio * advantages, -clipped * advantages)


def undersampled(logp, old_logp, advantages, mask, *, width=0.3):
  """Lowers the probability of what the data hold too often.

      max(rho, clip(rho, 1 - width, 1 + width)),   rho = policy / old

  `clip` with A = -1: the policy is the sampler of data that should follow the
  old policy, and unlearns each sample that is there. On data that follow it
  exactly its slope at rho = 1 adds up to 0.

  Args:
    width: of the clip.

  Source: PROPS, arXiv 2311.08290, and its published code.
  """
  down = jnp.full_like(advantages, -1.0)
  return clip(logp, old_logp, down, mask, low=width, high=width)


def dual_clip(
  logp, old_logp, advantages, mask, *, low=0.2, high=0.2, bound=3.0
):
  """PPO's clip with a floor under negative advantages.

      A >= 0:  clip's loss        A < 0:  min(clip's loss, -bound A)

  A token of negative advantage whose ratio has run past `bound` is no longer
  pushed: its unclipped loss grows without limit otherwise.

  Args:
    low, high: as in `clip`. bound: > 1, a ratio; math.inf gives `clip`.

  Source: Ye et al., arXiv 1912.09729.
  """
  losses = clip(logp, old_logp, advantages, mask, low=low, high=high)
  ceiling = -bound * jnp.where(advantages < 0, advantages, -jnp.inf)
  return jnp.minimum(losses, ceiling)


def soft_clip(logp, old_logp, advantages, mask, *, up=1.0, down=1.05):
  """A smooth gate on the ratio in place of the clip.

      -A (4 / tau) sigmoid(tau (r - 1)),   tau = up if A > 0 else down

  Args:
    up, down: temperatures tau > 0 of tokens pushed up and down; larger is
      tighter.

  Returns:
    f32[N, T], -2 A / tau at r = 1. Gradient coefficient 4 p (1 - p) r A with
    p = sigmoid(tau (r - 1)): the score function's at r = 1, fading on both
    sides of it.

  Source: SAPO, arXiv 2511.20347.

  Example:
    >>> old = jnp.log(jnp.array([[0.5, 0.5, 0.5, 0.5]]))
    >>> new = jnp.log(jnp.array([[0.5, 0.7, 0.3, 0.7]]))
    >>> advantages = jnp.array([[1.0, 1.0, -1.0, -1.0]])
    >>> mask = jnp.ones((1, 4), bool)
    >>> loss = lambda logp: jnp.sum(soft_clip(logp, old, advantages, mask))
    >>> print(jax.grad(loss)(new))
    [[-1.    -1.345  0.574  1.34 ]]
  """
  ratio = _ratio(logp, old_logp, advantages, mask)
  tau = jnp.where(advantages > 0, up, down)
  return -advantages * 4 / tau * jax.nn.sigmoid(tau * (ratio - 1))


def clip_weight(logp, old_logp, advantages, mask, *, low=1.0, high=4.0):
  """A clipped, constant importance weight on the score function.

      -sg(clip(r, 1 - low, 1 + high)) A logp

  Unlike PPO's clip it never silences a token, it only bounds its weight.

  Args:
    low: 1 means no lower bound (the paper). high: upper half-width. The
      paper reports no value; TRL and ScaleRL use 1 + high = 5.

  Source: CISPO, MiniMax-M1, arXiv 2506.13585, equations 4 and 5.

  Example:
    >>> old = jnp.log(jnp.array([[0.5, 0.5, 0.5, 0.5]]))
    >>> new = jnp.log(jnp.array([[0.5, 0.7, 0.3, 0.7]]))
    >>> advantages = jnp.array([[1.0, 1.0, -1.0, -1.0]])
    >>> mask = jnp.ones((1, 4), bool)
    >>> move = lambda x: clip_weight(x, old, advantages, mask, high=0.2)
    >>> print(jax.grad(lambda x: jnp.sum(move(x)))(new))
    [[-1.  -1.2  0.6  1.2]]
  """
  ratio = _ratio(logp, old_logp, advantages, mask)
  weight = jax.lax.stop_gradient(jnp.clip(ratio, 1 - low, 1 + high))
  return -weight * advantages * logp


def carried_clip(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  low=0.2,
  high=0.2,
  down=0.75,
  up=1.0,
  bound=10.0,
):
  """PPO's clip, whose silenced tokens keep part of the slope at the bound.

      A < 0, r < 1 - low:   -down (1 - low) A r / sg(r)
      A > 0, r > 1 + high:  -up (1 + high) A r / sg(r)
      else                  -r A, at most -bound A where A < 0

  A token that has just run over the bound is pushed on as if it stood there.

  Args:
    low, high: half-widths. down, up: beta, the parts that are kept; 0 has the
      slope of `dual_clip`, 1 and 1 are GPPO. bound: a ratio.

  Source: CE-GPPO, arXiv 2509.20712, and its code, with down 0.75 for 7B and 0.5
    for 1.5B parameters; GPPO, arXiv 2508.07629.
  """
  ratio = _ratio(logp, old_logp, advantages, mask)
  one = ratio / jax.lax.stop_gradient(ratio)
  free = -ratio * advantages
  ceiling = -bound * jnp.where(advantages < 0, advantages, -jnp.inf)
  free = jnp.minimum(free, ceiling)
  low_side = (advantages < 0) & (ratio < 1 - low)
  high_side = (advantages > 0) & (ratio > 1 + high)
  held = jnp.where(low_side, down * (1 - low), up * (1 + high))
  return jnp.where(low_side | high_side, -held * advantages * one, free)


def flipped_clip(
  logp, old_logp, advantages, mask, *, low=0.2, high=0.2, bound=3.0
):
  """PPO's clip with the inverse ratio where a token is pushed up.

      A < 0:  -A max(r, 1 - low),  and -bound A logp where r > bound
      A > 0:  -A (c / sg(c)) / sg(c),  c = min(r, 1 + high),
              and -bound A logp where 1 / c > bound

  The slope of a positive token is -A / r: one whose chance has halved is pushed
  twice as hard, where the ratio would push it half as hard.

  Args:
    low, high: half-widths. bound: of either weight, > 1.

  Source: ASPO, arXiv 2510.06062, and its code (Archer2.0), which takes 0.2 for
    tokens of low entropy and 0.4 for others. `aspo` here is another paper's.
  """
  ratio = _ratio(logp, old_logp, advantages, mask)
  steep = -bound * advantages * logp
  down = jnp.where(
    ratio > bound, steep, -advantages * jnp.maximum(ratio, 1 - low)
  )
  capped = jnp.minimum(ratio, 1 + high)
  fixed = jax.lax.stop_gradient(capped)
  up = jnp.where(1 / fixed > bound, steep, -advantages * capped / fixed**2)
  return jnp.where(advantages < 0, down, up)


def quadratic(logp, old_logp, advantages, mask, *, width=0.2):
  """-r A + |A| (r - 1)^2 / (2 width): a parabola in place of the clip.

  Least at r = 1 + width sign(A), and it pulls back from beyond: nowhere is the
  slope 0 but there.

  Args:
    width: epsilon > 0; math.inf is `importance`.

  Source: SPO, Simple Policy Optimization, arXiv 2401.16025, recalled; CFPO,
    arXiv 2601.22801, is by its abstract of the same shape.
  """
  ratio = _ratio(logp, old_logp, advantages, mask)
  apart = jnp.abs(advantages) * (ratio - 1) ** 2 / (2 * width)
  return apart - ratio * advantages


def pulled(logp, old_logp, advantages, mask, *, weight=0.1):
  """-A logp + weight d^2 / 2 with d = log r: a spring to the old policy.

  Least where d = A / weight.

  Args:
    weight: beta > 0, of no published default; 0 is `score_function`.

  Source: DRO, arXiv 2405.19107, token by token as in verl.
  """
  chex.assert_equal_shape([logp, old_logp, advantages, mask])
  d = jnp.where(mask, logp - old_logp, 0.0)
  d = jnp.clip(d, -numerics.LOG_RATIO_LIMIT, numerics.LOG_RATIO_LIMIT)
  return weight * d**2 / 2 - advantages * logp


@reads('offline')
def shaped_offline(logp, old_logp, advantages, mask, *, gamma=0.1, offline):
  """`importance`, and on offline rows -A p / (p + gamma) with p = e^logp.

  The slope there is -A gamma p / (p + gamma)^2, largest at p = gamma, whatever
  policy wrote them; `gates.shaped_chance` has the same.

  Args:
    gamma: > 0, a chance. offline: bool[N].

  Source: Critique-GRPO, arXiv 2506.03106, and its code.
  """
  p = jnp.exp(jnp.minimum(jnp.where(mask, logp, 0.0), 0.0))
  own = importance(logp, old_logp, advantages, mask)
  return jnp.where(offline[:, None], -advantages * p / (p + gamma), own)


@reads('candidates', 'entropy', 'tokens', OF_CANDIDATES)
def spread_clip(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  candidates,
  entropy,
  tokens,
  certain=0.8,
  mix=0.01,
  push=1.1,
  low=0.2,
  high=0.2,
  **arrays,
):
  """PPO's clip that lifts other likely tokens, too, where the policy is torn.

      A > 0:  r becomes (1 - mix) r + (mix / K) sum_k sg(r / p_k) p_k
      A < 0:  A becomes push A, where the token was the likeliest

  on tokens whose entropy is above the `certain` quantile of their row. p_k are
  the chances of the K candidates; the value stays r, and each has a slope.

  Args:
    candidates: i32[N, T, K], the likeliest first. entropy: f32[N, T], nats.
    tokens: i32[N, T]. certain: in [0, 1].
    mix: of the candidates, and push: 0 and 1 are `clip`.
    low, high: as in `clip`.

  Source: SimKO, arXiv 2510.14807, and `compute_policy_loss_simko` of its code.
  """
  ratio = _ratio(logp, old_logp, advantages, mask)
  unsure = jax.lax.stop_gradient(jnp.where(mask, entropy, jnp.nan))
  bound = jnp.nanquantile(unsure, certain, axis=-1, keepdims=True)
  torn = mask & (unsure > bound)
  live = (candidates >= 0) & mask[..., None]
  said = jnp.where(live, arrays[OF_CANDIDATES], 0.0)
  once = jnp.exp(said - jax.lax.stop_gradient(said))
  others = jax.lax.stop_gradient(ratio) * numerics.masked_mean(once, live, -1)
  lifted = torn & (advantages > 0) & jnp.any(live, axis=-1)
  ratio = jnp.where(lifted, (1 - mix) * ratio + mix * others, ratio)
  first = torn & (advantages < 0) & (tokens == candidates[..., 0])
  advantages = jnp.where(first, push * advantages, advantages)
  clipped = jnp.clip(ratio, 1 - low, 1 + high)
  return -jnp.minimum(ratio * advantages, clipped * advantages)
