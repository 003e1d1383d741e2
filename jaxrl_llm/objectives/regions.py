"""Regions: gates by how far policy, sampler and entropy have come apart.

    f(logp, old_logp, advantages f32[N, T], mask bool[N, T]) -> f32[N, T] >= 0

As `gates`: no gradient passes through. A gate takes tokens out of the surrogate
and leaves every count, cost and bonus as it is. Write p = e^logp,
q = e^old_logp for the chance of the token that was sampled, r = p / q, and
g = old_logp - sampler_logp for the gap between learner and sampler.
"""

from __future__ import annotations

import math

import chex
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.reads import reads

_LEVELS = ('token', 'sum', 'mean', 'max')
_FORMS = ('k2', 'k3')


def _one_of(name, value, known):
  if value not in known:
    raise ValueError(f'{name} is {value!r}; use one of {list(known)}')


def _gap(old_logp, sampler_logp, mask):
  chex.assert_equal_shape([old_logp, sampler_logp, mask])
  gap = jnp.where(mask, old_logp - sampler_logp, 0.0)
  return jnp.clip(gap, -numerics.LOG_RATIO_LIMIT, numerics.LOG_RATIO_LIMIT)


def _reduced(x, mask, level):
  """Of each token, or of the tokens of its row, [N, T] or [N, 1]."""
  match level:
    case 'token':
      return x
    case 'sum':
      return numerics.masked_sum(x, mask, axis=-1)[:, None]
    case 'mean':
      return numerics.masked_mean(x, mask, axis=-1, keepdims=True)
  return jnp.max(jnp.where(mask, x, 0.0), axis=-1, keepdims=True)


def _ones(keep, like):
  return jnp.broadcast_to(keep, like.shape).astype(like.dtype)


@reads('sampler_logp')
def ratio_band(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  sampler_logp,
  low=0.999,
  high=1.001,
  level='mean',
):
  """1 where pi_old / pi_sampler lies in [low, high].

  Args:
    level: 'token': that of each token; 'mean': the geometric mean of a
      response; 'sum': the product over a response.
    low, high: ratios of the learner over the sampler. The product leaves a band
      that the mean keeps: its logarithm is longer by the number of tokens.

  Raises:
    ValueError: another level.

  Source: verl's `rollout_rs`, whose presets are [0.999, 1.001] for the mean
    and [0.5, 2] for the product. It bounds the inverse ratio, pi_sampler over
    pi_old, which is the same for bounds of product 1.
  """
  del logp, advantages
  _one_of('level', level, _LEVELS[:3])
  gap = _reduced(_gap(old_logp, sampler_logp, mask), mask, level)
  keep = (gap >= math.log(low)) & (gap <= math.log(high))
  return _ones(keep, old_logp)


@reads('sampler_logp')
def divergence_band(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  sampler_logp,
  high=0.01,
  form='k3',
  level='mean',
):
  """1 where an estimate of KL(sampler || old policy) is at most `high`.

      k2 = g^2 / 2        k3 = e^g - 1 - g

  Args:
    high: nats. form: 'k2' or 'k3'. level: 'token', or the 'sum', 'mean' or
      'max' over the tokens of a response.

  Raises:
    ValueError: another form or level.

  Source: verl's `rollout_rs`, whose preset is k3 of the mean at 0.01.
  """
  del logp, advantages
  _one_of('form', form, _FORMS)
  _one_of('level', level, _LEVELS)
  gap = _gap(old_logp, sampler_logp, mask)
  each = gap**2 / 2 if form == 'k2' else jnp.expm1(gap) - gap
  return _ones(_reduced(each, mask, level) <= high, old_logp)


@reads('sampler_logp')
def outlier_rows(
  logp, old_logp, advantages, mask, *, sampler_logp, low=1e-4, high=100.0
):
  """0 on responses of which any token's pi_old / pi_sampler is out of bounds.

  Args:
    low, high: ratios.

  Source: SkyRL, `off_policy_correction_utils.py`.
  """
  del logp, advantages
  gap = _gap(old_logp, sampler_logp, mask)
  outside = (gap < math.log(low)) | (gap > math.log(high))
  keep = ~jnp.any(outside & mask, axis=-1, keepdims=True)
  return _ones(keep, old_logp)


@reads('sampler_logp')
def mismatched_rows(
  logp, old_logp, advantages, mask, *, sampler_logp, high=math.inf
):
  """0 on responses whose mean factor of mismatch is large.

      mean_t e^|g_t| <= high

  Args:
    high: at least 1; math.inf keeps all.

  Source: NeMo-RL, its filter of rows by the error of log-probs.
  """
  del logp, advantages
  factor = jnp.exp(jnp.abs(_gap(old_logp, sampler_logp, mask)))
  return _ones(_reduced(factor, mask, 'mean') <= high, old_logp)


@reads('sampler_logp')
def fallen_negatives(
  logp, old_logp, advantages, mask, *, sampler_logp, fall=0.5
):
  """0 on responses that are pushed down and have fallen far already.

      A_it >= 0   or   mean_t (sampler_logp_t - logp_t) <= fall

  Args:
    fall: delta, nats a token; math.inf keeps all. TRL's own is off, 0.5 stands
      in its example; slime takes 1e-4 of the old policy.

  Source: off-policy sequence masking, DeepSeek-V3.2, arXiv 2512.02556, and
    TRL. Trinity-RFT drops tokens, not responses.
  """
  del old_logp
  chex.assert_equal_shape([logp, advantages, sampler_logp, mask])
  fallen = numerics.masked_mean(
    sampler_logp - logp, mask, axis=-1, keepdims=True
  )
  return _ones((advantages >= 0) | (fallen <= fall), logp)


def _log_chances(logp, old_logp, advantages, mask):
  """log p and log q, 0 off the mask; rounding may have left them above it."""
  chex.assert_equal_shape([logp, old_logp, advantages, mask])
  both = (jnp.where(mask, x, 0.0) for x in (logp, old_logp))
  return tuple(jnp.minimum(x, 0.0) for x in both)


def total_variation(logp, old_logp, advantages, mask, *, low=0.2, high=0.2):
  """1 until a token's chance has moved far along its advantage.

      A > 0:  p - q <= high        else  p - q >= -low

  The ratio of a rare token passes a clip at once, and its chance may hardly
  have moved; here .001 -> .003 stays in, and .7 -> .95 is out.

  Args:
    low, high: chances; 1 turns a side off.

  Source: DPPO, arXiv 2602.04879, on `clip_weight(high=19)`. There q is that of
    the sampler: with one optimizer step an iteration it is the same.
  """
  p, q = map(jnp.exp, _log_chances(logp, old_logp, advantages, mask))
  inside = jnp.where(advantages > 0, p - q <= high, p - q >= -low)
  return _ones(inside, logp)


def total_variation_ball(logp, old_logp, advantages, mask, *, width=0.1):
  """1 where |p - q| <= width, whatever the sign of A.

  Source: prime-rl, its `ipo` loss.
  """
  p, q = map(jnp.exp, _log_chances(logp, old_logp, advantages, mask))
  return _ones(jnp.abs(p - q) <= width, logp)


def coin_divergence(logp, old_logp, advantages, mask, *, low=0.05, high=0.05):
  """`total_variation`, by the KL between two coins.

      k = q log(q / p) + (1 - q) log((1 - q + 1e-8) / (1 - p + 1e-8))
      A > 0:  k <= high or p <= q        else  k <= low or p >= q

  Args:
    low, high: nats.

  Source: DPPO, arXiv 2602.04879, its KL form.
  """
  now, old = _log_chances(logp, old_logp, advantages, mask)
  p, q = jnp.exp(now), jnp.exp(old)
  # 1 - e^x by expm1: of tokens that are nearly sure little is left.
  rest_p, rest_q = 1e-8 - jnp.expm1(now), 1e-8 - jnp.expm1(old)
  k = q * (old - now) + (1 - q) * jnp.log(rest_q / rest_p)
  up, down = (k <= high) | (p <= q), (k <= low) | (p >= q)
  return _ones(jnp.where(advantages > 0, up, down), logp)


@reads('share')
def second_moment(logp, old_logp, advantages, mask, *, share, limit=0.04):
  """Drops the furthest moves until the rest have a small second moment.

  Of the tokens that moved along their advantage, A d > 0 with d = log r, the
  largest set is kept whose mean d^2 is at most `limit`; all others stay.

  Args:
    share: f32[N, T], > 0 on the tokens of the step. limit: nats^2; math.inf
      keeps all.

  Source: M2PO, arXiv 2510.01161 (the number recalled), and its code.
  """
  chex.assert_equal_shape([logp, old_logp, advantages, mask, share])
  d = jnp.where(mask, logp - old_logp, 0.0)
  along = (share > 0) & (advantages * d > 0)
  squares = jnp.where(along, d**2, jnp.inf).ravel()
  order = jnp.argsort(squares)
  ascending = jnp.where(jnp.isfinite(squares[order]), squares[order], 0.0)
  number = jnp.arange(1, len(squares) + 1)
  fits = jnp.cumsum(ascending) <= limit * number
  kept = jnp.max(jnp.where(fits & (number <= jnp.sum(along)), number, 0))
  chosen = jnp.zeros(len(squares), bool).at[order].set(number <= kept)
  return _ones(~along | chosen.reshape(along.shape), logp)


@reads('entropy', 'share')
def uncertain_tokens(
  logp, old_logp, advantages, mask, *, entropy, share, part=0.2
):
  """1 on the part of the step's tokens that have the highest entropy.

      H_t >= the (1 - part) quantile of H, linear between two tokens

  Args:
    entropy, share: f32[N, T]. part: in (0, 1]; 1 keeps all.

  Source: Beyond the 80/20 Rule, arXiv 2506.01939; TRL's
    `top_entropy_quantile`. Its tokens count in every mean all the same.
  """
  del old_logp, advantages
  counts = share > 0
  number = jnp.sum(counts)
  ascending = jnp.sort(jnp.where(counts, entropy, jnp.inf).ravel())
  place = (1 - part) * jnp.maximum(number - 1, 0)
  below = jnp.floor(place).astype(jnp.int32)
  above = jnp.minimum(below + 1, jnp.maximum(number - 1, 0))
  # Between two equal tokens it is theirs exactly, which the test below needs.
  step = ascending[above] - ascending[below]
  level = ascending[below] + jnp.where(above > below, place - below, 0) * step
  return _ones(counts & (entropy >= level), logp)


@reads('entropy', 'old_entropy')
def steady_entropy(
  logp, old_logp, advantages, mask, *, entropy, old_entropy, low=0.8, high=1.2
):
  """1 where the entropy of a decision has hardly changed.

      low < (H + 1e-8) / (H_old + 1e-8) < high

  It bounds the move of the whole distribution, of which a ratio sees one token.

  Args:
    low, high: ratios, as in the published run. A folder of it is named after
      0.95 and 1.05: which ones the results are of is not known.

  Source: ERC, arXiv 2512.05591, and its code (Kwai-Klear/ERC).
  """
  del old_logp, advantages
  chex.assert_equal_shape([entropy, old_entropy, mask])
  ratio = (entropy + 1e-8) / (old_entropy + 1e-8)
  return _ones((ratio > low) & (ratio < high), logp)


@reads('rewards')
def tapered_negatives(
  logp, old_logp, advantages, mask, *, rewards, correct=0.0
):
  """1 on good responses, the truncated ratio of the whole one on others.

      r_i > correct:  1        else  min(prod_t r_t, 1)

  On `score_function` of plain rewards: what is bad is unlearned less, the less
  likely it has become.

  Args:
    rewards: f32[N]. correct: a reward above it is good.

  Source: TOPR, arXiv 2503.14286; that the ratio is that of the response is
    recalled. Trinity-RFT takes it token by token.
  """
  chex.assert_equal_shape([logp, old_logp, advantages, mask])
  total = numerics.masked_sum(logp - old_logp, mask, axis=-1)
  weight = jnp.exp(jnp.clip(total, -numerics.LOG_RATIO_LIMIT, 0.0))
  row = jnp.where(rewards > correct, 1.0, weight)
  return jnp.broadcast_to(row[:, None], mask.shape)


def gamma_weight(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  up=(2.0, 3.0),
  down=(3.0, 2.0),
):
  """W^k e^(lam (1 - W)) of the response's ratio W: 1 at W = 1, 0 far off.

      log W = clip(sum_t d_t, log 1e-8, 20)

  Highest at W = k / lam, so that 2/3 of the old chance weighs most where A is
  not negative, and 3/2 where it is.

  Args:
    up, down: k and lam where A >= 0, and where A < 0. (0, 0) turns it off.

  Source: VESPO, arXiv 2602.10693, on `score_function`, and TRL. The ratio of
    learner and sampler, which it also puts into W, is left out: multiply by
    `sequence_truncated_importance`.
  """
  chex.assert_equal_shape([logp, old_logp, advantages, mask])
  total = numerics.masked_sum(logp - old_logp, mask, axis=-1)[:, None]
  log_w = jnp.clip(total, math.log(1e-8), numerics.LOG_RATIO_LIMIT)

  def weight(k, lam):
    return jnp.exp(k * log_w - lam * jnp.expm1(log_w))

  return jnp.where(advantages >= 0, weight(*up), weight(*down))


@reads('sampler_logp', 'share')
def balanced_importance(
  logp, old_logp, advantages, mask, *, sampler_logp, share, cap=2.0
):
  """`gates.truncated_importance` over its mean, so that its mean is 1.

      w_t = min(pi_old / pi_sampler, cap),   w_t / mean_u w_u

  over the tokens of the step.

  Args:
    share: f32[N, T], each token's share of the step's tokens. cap: a ratio.

  Source: verl, `rollout_is_batch_normalize`.
  """
  del logp, advantages
  weight = numerics.bounded_exp(_gap(old_logp, sampler_logp, mask))
  weight = jnp.minimum(weight, cap)
  mean = jnp.sum(share * weight)
  return weight / jnp.where(mean > 1e-8, mean, 1.0)
