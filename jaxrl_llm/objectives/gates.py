"""Gates: constant factors of a surrogate, token by token.

    f(logp, old_logp, advantages f32[N, T], mask bool[N, T]) -> f32[N, T] >= 0

Write r = exp(logp - old_logp). No gradient passes through a gate, so a gate
on the score function -A logp is a policy gradient with exactly these weights.
Regions give 1 or 0; weights give importance ratios.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.reads import chosen, reads, united


@dataclasses.dataclass(frozen=True)
class Product:
  """The product of two gates, which reads what either reads."""

  first: Callable
  second: Callable

  @property
  def reads(self) -> frozenset[str]:
    return united((self.first, self.second))

  def __call__(self, logp, old_logp, advantages, mask, **inputs):
    def factor(gate):
      return gate(logp, old_logp, advantages, mask, **chosen(gate, inputs))

    return factor(self.first) * factor(self.second)


def _log_ratio(logp, old_logp, advantages, mask):
  chex.assert_equal_shape([logp, old_logp, advantages, mask])
  return jnp.where(mask, logp - old_logp, 0.0)


def _inside(ratio, low, high):
  return (ratio >= 1 - low) & (ratio <= 1 + high)


def _not_past(ratio, advantages, low, high):
  """Where PPO's clip would pass the gradient."""
  up = (advantages >= 0) & (ratio <= 1 + high)
  down = (advantages <= 0) & (ratio >= 1 - low)
  return up | down


def two_side(logp, old_logp, advantages, mask, *, low=0.2, high=0.2):
  """1 where 1 - low <= r <= 1 + high, whatever the sign of A.

  Source: REC-TwoSide, arXiv 2509.24203.
  """
  d = _log_ratio(logp, old_logp, advantages, mask)
  ratio = numerics.bounded_exp(d)
  return _inside(ratio, low, high).astype(logp.dtype)


def one_side(logp, old_logp, advantages, mask, *, low=0.2, high=0.2):
  """1 where a move along the advantage has not left the trust region.

      A >= 0 and r <= 1 + high,  or  A <= 0 and r >= 1 - low

  Times -sg(r) A logp this is the gradient of PPO's clip exactly.

  Source: REC-OneSide, arXiv 2509.24203.
  """
  d = _log_ratio(logp, old_logp, advantages, mask)
  ratio = numerics.bounded_exp(d)
  return _not_past(ratio, advantages, low, high).astype(logp.dtype)


def ring(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  low=0.2,
  high=0.2,
  far_low=0.6,
  far_high=2.0,
):
  """1 near the old policy, and far on the wrong side of it.

      1 - low <= r <= 1 + high
      or A >= 0 and r <= 1 - far_low,   or A <= 0 and r >= 1 + far_high

  Args:
    far_low >= low, far_high >= high: beyond them a token that moved against
      its advantage is brought back.

  Source: REC-Ring, arXiv 2509.24203.
  """
  d = _log_ratio(logp, old_logp, advantages, mask)
  ratio = numerics.bounded_exp(d)
  strayed_down = (advantages >= 0) & (ratio <= 1 - far_low)
  strayed_up = (advantages <= 0) & (ratio >= 1 + far_high)
  inside = _inside(ratio, low, high)
  return (inside | strayed_down | strayed_up).astype(logp.dtype)


def sequence_one_side(logp, old_logp, advantages, mask, *, low=3e-4, high=4e-4):
  """`one_side` on the geometric mean of a response's ratios.

  Source: REC-GSPO-OneSide, arXiv 2509.24203.
  """
  d = _log_ratio(logp, old_logp, advantages, mask)
  mean = numerics.masked_mean(d, mask, axis=-1)[:, None]
  ratio = numerics.bounded_exp(mean)
  return _not_past(ratio, advantages, low, high).astype(logp.dtype)


def exponential_advantage(logp, old_logp, advantages, mask, *, temperature=1.0):
  """exp(A / temperature): better samples weigh more, worse ones less.

  Args:
    temperature: in the unit of the advantage, > 0; math.inf gives 1.

  Source: RED-Weight, arXiv 2509.24203.
  """
  del old_logp, mask
  chex.assert_equal_shape([logp, advantages])
  return numerics.bounded_exp(advantages / temperature)


def gains(logp, old_logp, advantages, mask):
  """1 where the advantage is positive, 0 elsewhere.

  Source: A-LoL without a reference, arXiv 2305.14718, and its code.
  """
  del old_logp
  return jnp.where(mask & (advantages > 0), jnp.ones_like(logp), 0.0)


@reads('ref_logp')
def leftover_tokens(logp, old_logp, advantages, mask, *, ref_logp, clip=0.9):
  """`gains`, times each token's ratio to the reference within 1 -+ clip.

  Args:
    ref_logp: f32[N, T], the policy that wrote the responses.

  Source: A-LoL seq., arXiv 2305.14718, and its code.
  """
  gained = gains(logp, old_logp, advantages, mask)
  ratio = numerics.bounded_exp(jnp.where(mask, logp - ref_logp, 0.0))
  return gained * jnp.clip(ratio, 1 - clip, 1 + clip)


@reads('rewards', 'group', 'valid')
def filtered(logp, old_logp, advantages, mask, *, rewards, group, valid, by):
  """How often a filter draws a row, where as many are drawn as there are.

      n_g w_i

  A gate leaves out of the policy's loss what the critic still learns from.

  Args:
    by: f(rewards, group, valid) -> w f32[N], of `selection.weights`, which adds
      up to 1 in a group.

  Source: PF-PPO, arXiv 2409.06957, equation 6, by its expectation.
  """
  del logp, old_logp, advantages
  drawn = numerics.group_count(group, valid) * by(rewards, group, valid)
  return jnp.where(mask, drawn[:, None], 0.0)


def chance(logp, old_logp, advantages, mask):
  """p = e^logp: the gradient of the likelihood, not of its logarithm.

  On `score_function`, as in `sft gate=chance`, a token that the policy does not
  expect pulls less, where its plain log-likelihood pulls as hard as any.

  Source: DFT, arXiv 2508.05629.
  """
  del old_logp, advantages
  return jnp.exp(jnp.minimum(jnp.where(mask, logp, 0.0), 0.0))


def doubt(logp, old_logp, advantages, mask, *, most=1.0):
  """p (1 - p): tokens of which the policy is neither sure nor ignorant.

  Args:
    most: tokens of a chance above it get 0.

  Source: CHORD, arXiv 2508.11408, its phi.
  """
  p = chance(logp, old_logp, advantages, mask)
  # 1 - e^x by expm1: of tokens that are nearly sure little is left.
  rest = -jnp.expm1(jnp.minimum(jnp.where(mask, logp, 0.0), 0.0))
  return jnp.where(p > most, 0.0, p * rest)


def shaped_chance(logp, old_logp, advantages, mask, *, gamma=0.1):
  """f (1 - f) with f = p / (p + gamma): the slope of f in logp.

  Largest, 1/4, at p = gamma, so that rare tokens of an expert are learned too.

  Args:
    gamma: > 0, a chance.

  Source: LUFFY, arXiv 2504.14945, and its code, for rows of another policy.
  """
  p = chance(logp, old_logp, advantages, mask)
  f = p / (p + gamma)
  return f * (1 - f)


def _mismatch(old_logp, sampler_logp, mask):
  chex.assert_equal_shape([old_logp, sampler_logp, mask])
  return jnp.where(mask, old_logp - sampler_logp, 0.0)


@reads('guide')
def own_tokens(logp, old_logp, advantages, mask, *, guide):
  """1 on the policy's own tokens, 0 on those that a guide wrote for it.

  Args:
    guide: bool[N, T].

  Source: RLGF, arXiv 2306.11816, and its published code.
  """
  del old_logp, advantages
  chex.assert_equal_shape([logp, mask, guide])
  return jnp.where(guide, 0.0, 1.0)


@reads('sampler_logp')
def truncated_importance(
  logp, old_logp, advantages, mask, *, sampler_logp, cap=2.0
):
  """min(pi_old / pi_sampler, cap) of each token.

  Corrects for a sampler whose program or parameters differ from the
  learner's.

  Args:
    sampler_logp: f32[N, T], as sampled. cap: C > 0, a ratio.

  Source: Yao et al., "Your efficient RL framework secretly brings you
    off-policy RL training", 2025, and its code, a fork of verl. OpenRLHF also
    bounds the weight from below.
  """
  del logp, advantages
  d = _mismatch(old_logp, sampler_logp, mask)
  return jnp.minimum(numerics.bounded_exp(d), cap)


@reads('sampler_logp')
def sequence_truncated_importance(
  logp, old_logp, advantages, mask, *, sampler_logp, cap=2.0
):
  """min(prod_t pi_old / pi_sampler, cap): one weight for the response.

  Source: Liu, Li et al., "When speed kills stability", 2025, and an author's
    code in verl (`rollout_corr_helper.py`).
  """
  del logp, advantages
  d = _mismatch(old_logp, sampler_logp, mask)
  weight = numerics.bounded_exp(numerics.masked_sum(d, mask, axis=-1))
  return jnp.broadcast_to(jnp.minimum(weight, cap)[:, None], mask.shape)


@reads('sampler_logp')
def masked_importance(
  logp, old_logp, advantages, mask, *, sampler_logp, floor=0.5, cap=5.0
):
  """pi_old / pi_sampler where it lies in [floor, cap], else 0.

  Source: IcePop, a note of the Ring team, 2025, and arXiv 2510.18855; formula
    and bounds as in OpenRLHF (`icepop` of `models/loss.py`), the formula also
    in TRL (`token_mask`).
  """
  del logp, advantages
  ratio = numerics.bounded_exp(_mismatch(old_logp, sampler_logp, mask))
  return jnp.where((ratio >= floor) & (ratio <= cap), ratio, 0.0)


@reads('sampler_logp')
def product_masked_importance(
  logp, old_logp, advantages, mask, *, sampler_logp, floor=0.0, cap=3.0
):
  """prod_t pi_old / pi_sampler of a response in [floor, cap], else 0.

  Args:
    floor, cap: bounds of the product, whose logarithm grows with the length:
      long responses leave them by small gaps of many tokens.

  Source: TRL, `sequence_mask` of `vllm_importance_sampling_mode`, its default.
  """
  del logp, advantages
  d = _mismatch(old_logp, sampler_logp, mask)
  weight = numerics.bounded_exp(numerics.masked_sum(d, mask, axis=-1))
  weight = jnp.where((weight >= floor) & (weight <= cap), weight, 0.0)
  return jnp.broadcast_to(weight[:, None], mask.shape)


@reads('sampler_logp')
def sequence_masked_importance(
  logp, old_logp, advantages, mask, *, sampler_logp, floor=0.5, cap=5.0
):
  """pi_old / pi_sampler of each token, in responses that match as a whole.

      r_t 1[floor <= (prod_u r_u)^(1 / len) <= cap]

  Args:
    floor, cap: bounds of the geometric mean, which averages the gap; the
      weights of the tokens themselves are not bounded.

  Source: OpenRLHF, `seq-mask-tis` of `models/loss.py`.
  """
  del logp, advantages
  d = _mismatch(old_logp, sampler_logp, mask)
  mean = numerics.bounded_exp(numerics.masked_mean(d, mask, axis=-1))
  matched = (mean >= floor) & (mean <= cap)
  return jnp.where(matched[:, None], numerics.bounded_exp(d), 0.0)


def _covariance(logp, advantages, share):
  """(A - mean A)(logp - mean logp), means over the tokens of the step."""
  counts = share > 0
  a = jnp.where(counts, advantages, 0.0)
  x = jnp.where(counts, logp, 0.0)
  cov = (a - jnp.sum(share * a)) * (x - jnp.sum(share * x))
  return jnp.where(counts, cov, -jnp.inf)


def top_covariance(logp, advantages, share, *, fraction):
  """bool[N, T]: the tokens that most tie advantage to confidence.

      cov_t = (A_t - mean A)(logp_t - mean logp)

  Args:
    share: f32[N, T], each token's share of the step's tokens.
    fraction: of the step's tokens; at least one is chosen, and all that tie
      with the last.

  Source: The Entropy Mechanism, arXiv 2505.22617.
  """
  cov = _covariance(logp, advantages, share)
  number = jnp.maximum(jnp.floor(fraction * jnp.sum(share > 0)), 1)
  descending = -jnp.sort(-cov.ravel())
  return (share > 0) & (cov >= descending[number.astype(jnp.int32) - 1])


def _draws(tokens, task):
  """f32[N, T] in [0, 1): a number for each prefix of each prompt.

  A hash of the tokens up to and with each position, so that what a token
  draws depends on neither its slot nor the order of the rows.
  """
  factor = jnp.uint32(2654435761)
  columns = jnp.arange(tokens.shape[1], dtype=jnp.uint32)
  words = (tokens.astype(jnp.uint32) + 1) * (factor * (2 * columns + 1))
  h = jnp.cumsum(words * (words >> 15 | 1), axis=1, dtype=jnp.uint32)
  h = h + (task.astype(jnp.uint32)[:, None] + 1) * jnp.uint32(2246822519)
  for shift, multiplier in ((16, 2146121005), (15, 2221713035)):
    h = (h ^ (h >> shift)) * jnp.uint32(multiplier)
  h = h ^ (h >> 16)
  return (h >> 8).astype(jnp.float32) / 2**24


@reads('share', 'tokens', 'task')
def unclipped_covariance(
  logp,
  old_logp,
  advantages,
  mask,
  *,
  share,
  tokens,
  task,
  fraction=2e-4,
  least=1.0,
  most=5.0,
  low=0.2,
  high=0.2,
):
  """0 on a few random tokens of large covariance, 1 elsewhere.

  Candidates have least < cov_t < most (`top_covariance`) and are not past
  PPO's clip; `fraction` of the step's tokens, at least one, are drawn from
  them.

  Args:
    share: f32[N, T]. tokens: i32[N, T]. task: i32[N]. The draw is a hash of
      a token's prompt and prefix; equal prefixes are drawn together.
    fraction: of all tokens of the step. least, most: in the unit of
      advantage times nats. low, high: of the clip.

  Source: Clip-Cov, arXiv 2505.22617; constants of its code
    (`compute_policy_loss_clip_cov`), which draws anew at every step.
  """
  cov = _covariance(logp, advantages, share)
  ratio = numerics.bounded_exp(_log_ratio(logp, old_logp, advantages, mask))
  free = _not_past(ratio, advantages, low, high)
  candidates = (cov > least) & (cov < most) & free & (share > 0)
  number = jnp.maximum(jnp.floor(fraction * jnp.sum(share > 0)), 1)
  draws = jnp.where(candidates, _draws(tokens, task), jnp.inf)
  last = jnp.sort(draws.ravel())[number.astype(jnp.int32) - 1]
  chosen = candidates & (draws <= last)
  return jax.lax.stop_gradient(1.0 - chosen)
