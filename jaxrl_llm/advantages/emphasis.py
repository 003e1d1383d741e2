"""Which tokens of a response matter more, judged by its group.

    refine   f(advantages f32[N, T], rollouts) -> f32[N, T]

Factors multiply the advantages, so they enter a mean's numerator and not its
denominator; a weight for both belongs in `selection.weights`.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.digests import Digest
from jaxrl_llm.reads import reads

_LOG_GAP = 11.0  # TW-GRPO clips differences of log-probs to +-11


def _opposed(tokens, exists, sign, group):
  """bool[N, T]: a row of opposite sign has the same token in that column."""
  peers = group[:, None] == group[None, :]
  opposite = peers & (sign[:, None] * sign[None, :] < 0)

  def column(carry):
    token, here = carry
    same = (token[:, None] == token[None, :]) & here[None, :]
    return here & jnp.any(opposite & same, axis=1)

  return jax.lax.map(column, (tokens.T, exists.T)).T


def _leading_run(x):
  return jnp.cumprod(x, axis=-1).astype(bool)


def conflicts(tokens, mask, advantages, group):
  """Tokens that rows of both signs share at the two ends of a response.

  A token conflicts if, in its group, a row with an advantage of the other
  sign has the same token at the same position, and so have all positions
  before it. Backward conflicts count positions from the end.

  Args:
    tokens: i32[N, T], right padded. mask: bool[N, T], tokens that exist.
    advantages: f32[N], only their signs matter. group: i32[N].

  Returns:
    forward and backward, each bool[N, T].

  Source: GTPO, arXiv 2508.03772, section 4.1, and its code.
  """
  sign = jnp.sign(advantages)
  forward = _leading_run(_opposed(tokens, mask, sign, group) & mask)
  length = jnp.sum(mask, axis=-1, keepdims=True)
  columns = jnp.arange(tokens.shape[1])
  # Column c of the reversed rows is the c-th token from the end. Reversing
  # the first `length` columns twice gives the row back.
  flip = jnp.where(columns < length, length - 1 - columns, columns)
  backwards = jnp.take_along_axis(tokens, flip, axis=1)
  run = _leading_run(_opposed(backwards, mask, sign, group) & mask)
  return forward, jnp.take_along_axis(run, flip, axis=1)


@reads('old_entropy')
@dataclasses.dataclass(frozen=True)
class ConflictAware:
  """Stage: shared ends are not punished, and random responses not reinforced.

      A_it <- lambda_it delta_i (A_i - entropy_weight H_i)

  lambda multiplies, for either end, `gain` on a conflict token of a row with
  A > 0 and 0 on one with A < 0. H_i is the row's mean entropy under the old
  policy. delta_i is 0 for a row with H_i > `most`, provided that the policy's
  mean entropy in the first iteration was below log 2; else it is 1.

  Attributes:
    entropy_weight: gamma, per nat. gain: on shared tokens of good rows.
    most: nats.

  Source: GTPO, arXiv 2508.03772, equations 6 to 10, and its code, without
    the code's further division by the number of conflict tokens.
  """

  entropy_weight: float = 0.1
  gain: float = 2.0
  most: float = math.log(2)

  def init(self, spec):
    del spec
    return {'entropy': jnp.float32(0), 'iterations': jnp.int32(0)}

  def update(self, credit, rollouts, state):
    mask = rollouts.loss_mask
    entropy = rollouts.extras['old_entropy']
    entropy = numerics.masked_mean(entropy, mask, axis=-1)
    here = jnp.any(mask, axis=-1)
    first = jnp.where(
      state['iterations'] == 0,
      numerics.masked_mean(entropy, here),
      state['entropy'],
    )
    advantages = credit.advantages
    # Every chosen token of a row carries its advantage, or 0 off the mask.
    row = jnp.max(advantages, axis=-1) + jnp.min(advantages, axis=-1)
    exists = rollouts.response_mask & rollouts.valid[:, None]
    factor = jnp.ones_like(advantages)
    for end in conflicts(
      rollouts.content.response, exists, row, rollouts.group
    ):
      pushed = jnp.where(row > 0, self.gain, 0.0)[:, None]
      factor = factor * jnp.where(end, pushed, 1.0)
    chaotic = (entropy > self.most) & (first < math.log(2))
    shaped = advantages - self.entropy_weight * entropy[:, None]
    shaped = jnp.where(chaotic[:, None], 0.0, factor * shaped)
    state = {'entropy': first, 'iterations': state['iterations'] + 1}
    return credit.replace(advantages=jnp.where(mask, shaped, 0)), state


def divergence(log_probs, seen):
  """How far the rows of a group differ in distribution at each position.

      D_t = mean_i sum_v (e^d - d - 1)      d = clip(mean_j lp_jv - lp_iv)

  A row that has ended counts with the uniform distribution.

  Args:
    log_probs: f32[N, C, V]. seen: see `digests`.

  Returns:
    f32[N, C, 1] >= 0, equal for the rows of a group.
  """
  uniform = -math.log(log_probs.shape[-1])
  log_probs = jnp.where(seen.mask[..., None], log_probs, uniform)
  mean = numerics.group_mean(log_probs, seen.group, seen.live)
  gap = jnp.clip(mean - log_probs, -_LOG_GAP, _LOG_GAP)
  each = jnp.sum(jnp.exp(gap) - gap - 1, axis=-1)
  return numerics.group_mean(each, seen.group, seen.live)[..., None]


DIVERGENCE = Digest(divergence, compares=True).old


@reads(DIVERGENCE)
def focus(advantages, rollouts, *, strength=1.7, epsilon=1e-8):
  """More weight on positions where a group's distributions differ.

      A_it w_t      w_t = 1 + (strength - 1) (D_t - min D)/(max D - min D + eps)

  with D from `divergence`, its extremes over the positions that some row of
  the group reaches.

  Args:
    advantages: f32[N, T]. rollouts: reads the extra `DIVERGENCE`.
    strength: alpha >= 1; 1 changes nothing.

  Source: TW-GRPO, arXiv 2505.24718, section 3.2, and its code.
  """
  mask, group = rollouts.loss_mask, rollouts.group
  everyone = jnp.ones_like(rollouts.valid)
  # Where a row has ended, the others of its group know.
  spread = rollouts.extras[DIVERGENCE][..., 0]
  spread = numerics.group_max(spread, group, everyone)
  reached = numerics.group_max(mask * 1.0, group, everyone) > 0
  low = jnp.min(spread, axis=-1, where=reached, initial=jnp.inf)
  high = jnp.max(spread, axis=-1, where=reached, initial=0.0)
  low = jnp.minimum(low, high)[:, None]
  place = (spread - low) / (high[:, None] - low + epsilon)
  return advantages * (1 + (strength - 1) * jnp.where(reached, place, 0.0))


@reads('constraint_logp')
def constrained_regression(
  advantages, rollouts, *, weights=(1.0, 1.0), limit=20.0
):
  """Weights of the regression towards several policies and an advantage.

      w_t = exp(sum_i (l_i / S) (log pi_i - log b) + A_t / S)     S = sum_i l_i

  log b is the sampler's. -w_t logp_t is then fitted to the maximiser of
  E[A] - sum_i l_i KL(pi || pi_i), which is prod_i pi_i^(l_i / S) exp(A / S)
  up to its normaliser.

  Args:
    advantages: f32[N, T]. rollouts: reads `logp` and the extra
      `constraint_logp` f32[N, T, C].
    weights: C multipliers l_i > 0. limit: the exponent is held to +-limit.

  Returns:
    f32[N, T] > 0.

  Source: Two-Stage Constrained Actor-Critic, arXiv 2302.01680, section 4,
    recalled; the optimum is derived and tested. The published code weighs by
    the auxiliary policy's probability times a softmax of A over the batch.
  """
  multipliers = jnp.asarray(weights, jnp.float32)
  total = jnp.sum(multipliers)
  gap = rollouts.extras['constraint_logp'] - rollouts.logp[..., None]
  exponent = gap @ (multipliers / total) + advantages / total
  exponent = jnp.where(rollouts.loss_mask, exponent, 0)
  return numerics.bounded_exp(exponent, limit)


@reads('old_entropy', 'thought')
def doubtful_thoughts(advantages, rollouts, *, weight=0.4, share=2.0):
  """More for responses whose thoughts were less certain, within a bound.

      A_it + weight min(H_i, |A_it| / share)

  H_i is the mean entropy of the tokens of a row's thought, under the policy
  at the start of the iteration; 0 where it does not think. While `weight` is
  below `share` no advantage changes its sign.

  Args:
    rollouts: reads the extra `thought` bool[N, T]. weight: lambda, per nat.
    share: alpha > 0.

  Source: Exploring Superior Function Calls via Reinforcement Learning, arXiv
    2508.05118, of whose fourth version the formula is, read at second hand. It
    clips H on both sides; entropy is not negative.
  """
  thought = rollouts.extras['thought'].astype(bool) & rollouts.loss_mask
  entropy = rollouts.extras['old_entropy']
  mean = numerics.masked_mean(entropy, thought, axis=-1)
  return advantages + weight * jnp.minimum(
    mean[:, None], jnp.abs(advantages) / share
  )
