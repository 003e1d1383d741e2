"""Losses of groups of responses: pairs, lists and games.

A loss of this kind is made of independent pieces:

    score   f(logp, old_logp, mask) -> f32[N], nats: how the policy rates a
            response, as a rule relative to an anchor
    loss    f(scores, rewards, live), each [B, G] -> f32[B]
    among   f(scores, rewards, live) -> f32[B, G, G] >= 0: weights of the pairs
            "row i is better than row j"; see `selection.pairs`
    link    f(chosen, rejected, gap) -> losses; see `objectives.preference`
    gap     f(rewards) -> f32[B, G, G], by how much row i is better than row j

Each may be marked with `reads` to read more. Pieces of a group get it as
[B, G, ...].
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.digests import Digest, at
from jaxrl_llm.objectives import base, preference
from jaxrl_llm.reads import chosen, reads, united
from jaxrl_llm.selection import pairs

# Scores.


def likelihood(logp, old_logp, mask):
  """sum_t logp_t."""
  del old_logp
  return numerics.masked_sum(logp, mask, axis=-1)


def mean_likelihood(logp, old_logp, mask):
  """mean_t logp_t."""
  del old_logp
  return numerics.masked_mean(logp, mask, axis=-1)


@reads('ref_logp')
def to_reference(logp, old_logp, mask, *, ref_logp):
  """h = sum_t (logp_t - ref_logp_t): the log-ratio to the reference."""
  del old_logp
  return numerics.masked_sum(logp - ref_logp, mask, axis=-1)


@reads('ref_logp')
def mean_to_reference(logp, old_logp, mask, *, ref_logp):
  """mean_t (logp_t - ref_logp_t)."""
  del old_logp
  return numerics.masked_mean(logp - ref_logp, mask, axis=-1)


def to_iterate(logp, old_logp, mask):
  """sum_t (logp_t - old_logp_t), to the policy as the iteration began."""
  return numerics.masked_sum(logp - old_logp, mask, axis=-1)


@reads('ref_logp')
def to_mixture(logp, old_logp, mask, *, ref_logp, share=1 / 3):
  """The log-ratio to reference^share iterate^(1 - share), not normalised.

  A share of 1 is `to_reference`, of 0 `to_iterate`. The normaliser cancels
  in every pair of one prompt.

  Source: INPO, arXiv 2407.00617, with share = tau / eta.
  """
  anchor = share * ref_logp + (1 - share) * old_logp
  return numerics.masked_sum(logp - anchor, mask, axis=-1)


@reads('ref_logp')
def to_extrapolated(logp, old_logp, mask, *, ref_logp, momentum=0.3):
  """The log-ratio to iterate (iterate / reference)^momentum.

  With the iterate before the last as the reference, the anchor is the last
  one carried on in the direction of the last move, not normalised.

  Source: APO, arXiv 2410.06293, whose policies are these anchors.
  """
  anchor = (1 + momentum) * old_logp - momentum * ref_logp
  return numerics.masked_sum(logp - anchor, mask, axis=-1)


@reads('turn', 'resampled')
def to_iterate_in_turn(logp, old_logp, mask, *, turn, resampled):
  """`to_iterate` over the tokens of one turn.

  Args:
    turn: i32[N, T], the turn of a dialogue that a token belongs to.
    resampled: i32[N], the turn at which the rows of a group part.

  Source: REFUEL, arXiv 2410.04612.
  """
  chex.assert_equal_shape([logp, turn])
  return to_iterate(logp, old_logp, mask & (turn == resampled[:, None]))


@reads('ref_logp')
def to_reference_by_length(logp, old_logp, mask, *, ref_logp, alpha=0.5):
  """h + alpha sum_t 1: the log-ratio, and so much for each token.

  A longer chosen response so needs less of a margin.

  Args:
    alpha: nats per token; the paper's is this times its beta. Ours.

  Source: R-DPO, arXiv 2403.19159, at second hand.
  """
  h = to_reference(logp, old_logp, mask, ref_logp=ref_logp)
  return h + alpha * jnp.sum(mask, axis=-1)


@reads('ref_logp', 'group', 'valid')
def to_reference_past_shortest(
  logp, old_logp, mask, *, ref_logp, group, valid, alpha=0.5
):
  """The log-ratio, of which tokens past the group's shortest weigh less.

      sum_{t <= L} h_t + alpha sum_{t > L} h_t,   h_t = logp_t - ref_logp_t

  t counts a row's own tokens, L those of the shortest row of its group.

  Args:
    alpha: in [0, 1]; 1 is `to_reference`, 0 compares equal lengths alone.

  Source: LD-DPO, arXiv 2409.06411, for pairs; TRL's `ld_alpha`.
  """
  del old_logp
  length = jnp.sum(mask, axis=-1)
  shortest = numerics.group_min(length * 1.0, group, valid & (length > 0))
  past = jnp.cumsum(mask, axis=-1) > shortest[:, None]
  weighted = jnp.where(past, alpha, 1.0) * (logp - ref_logp)
  return numerics.masked_sum(weighted, mask, axis=-1)


@reads('ref_logp')
def to_alpha_divergence(logp, old_logp, mask, *, ref_logp, alpha=0.5):
  """The score of a policy that is held by another divergence than the KL.

      (e^((alpha - 1) h) - 1) / (alpha - 1),   h of `to_reference`

  Args:
    alpha: 1 is `to_reference`, of the reverse KL; 0 is 1 - e^-h, of the
      forward KL. The exponent is held to +-80.

  Source: f-DPO, arXiv 2309.16240; TRL's `f_alpha_divergence_coef`, whose alpha
    this is. The constant cancels between two responses.
  """
  h = to_reference(logp, old_logp, mask, ref_logp=ref_logp)
  if alpha == 1:
    return h
  exponent = jnp.clip((alpha - 1) * h, -80.0, 80.0)
  return jnp.expm1(exponent) / (alpha - 1)


@reads('ref_logp')
def to_jensen_shannon(logp, old_logp, mask, *, ref_logp):
  """log sigmoid(h): that of the Jensen-Shannon divergence.

  Source: f-DPO, arXiv 2309.16240; TRL's `js_divergence`.
  """
  h = to_reference(logp, old_logp, mask, ref_logp=ref_logp)
  return jax.nn.log_sigmoid(h)


def powered_likelihood(logp, old_logp, mask, *, alpha=0.25):
  """(1 - p^-alpha) / alpha of the mean chance p = e^(mean_t logp_t).

  Args:
    alpha: 0 is `mean_likelihood`; above it unlikely responses pull harder.

  Source: AlphaPO, arXiv 2501.03884.
  """
  mean = mean_likelihood(logp, old_logp, mask)
  if alpha == 0:
    return mean
  return -jnp.expm1(jnp.clip(-alpha * mean, -80.0, 80.0)) / alpha


def log_odds(logp, old_logp, mask):
  """log(p / (1 - p)) of the mean chance p = e^(mean_t logp_t) < 1.

  Source: ORPO, arXiv 2403.07691.
  """
  mean = jnp.minimum(mean_likelihood(logp, old_logp, mask), -1e-6)
  return mean - jnp.log(-jnp.expm1(mean))


# Losses of groups.


@reads('opponent')
def of_opponents(scores, rewards, live, *, opponent):
  """The mean score of the rows that the policy's opponent wrote, f32[B].

  Source: XPO, arXiv 2405.21046, whose optimism is this of `likelihood`.
  """
  del rewards
  return numerics.masked_mean(scores, live & opponent, axis=-1)


# Gaps.


def of_rewards(rewards):
  """r_i - r_j."""
  return rewards[..., :, None] - rewards[..., None, :]


@reads('preference')
def of_preferences(rewards, *, preference):
  """P(i beats j) - 1/2."""
  chex.assert_equal_shape_prefix([rewards, preference], 2)
  return preference - 0.5


@reads('preference')
def of_winners(rewards, *, preference):
  """1/2 where i beats j more often, -1/2 where j does: that one has won."""
  return jnp.sign(of_preferences(rewards, preference=preference)) / 2


# Lifts.


class _Composed:
  """Reads what its pieces read."""

  @property
  def pieces(self) -> tuple[Callable, ...]:
    """The functions it is made of."""
    raise NotImplementedError

  @property
  def reads(self) -> frozenset[str]:
    return united(self.pieces)


@dataclasses.dataclass(frozen=True)
class Pairs(_Composed):
  """sum_ij among_ij link(s_i, s_j, gap_ij), a loss of a group."""

  link: Callable
  among: Callable = pairs.better
  gap: Callable = of_rewards

  @property
  def pieces(self):
    return self.link, self.among, self.gap

  def __call__(self, scores, rewards, live, **arrays):
    weights = self.among(scores, rewards, live, **chosen(self.among, arrays))
    shape = weights.shape
    losses = self.link(
      jnp.broadcast_to(scores[..., :, None], shape),
      jnp.broadcast_to(scores[..., None, :], shape),
      self.gap(rewards, **chosen(self.gap, arrays)),
      **chosen(self.link, arrays),
    )
    # A pair that is not compared may overflow.
    return numerics.masked_sum(weights * losses, weights != 0, axis=(-2, -1))


@dataclasses.dataclass(frozen=True)
class GroupLoss(_Composed):
  """The loss of a group, carried by each of its rows.

  The mean over the rows of a step is then the mean over its groups. Rows
  that are not valid, or have no token, are not compared and carry 0.

  Attributes:
    loss: f(scores, rewards, live) -> f32[B].
    score: f(logp, old_logp, mask) -> f32[N].
    samples: G.
  """

  loss: Callable
  score: Callable
  samples: int

  @property
  def pieces(self):
    return self.score, self.loss

  @property
  def reads(self):
    # Who reads `group` is never cut by a microbatch.
    return super().reads | {'rewards', 'valid', 'group'}

  def __call__(self, logp, old_logp, advantages, mask, **arrays):
    del advantages
    live = arrays['valid'] & jnp.any(mask, axis=-1)
    scores = self.score(logp, old_logp, mask, **chosen(self.score, arrays))
    # The double where: rows that are not compared must not reach a square.
    scores = jnp.where(live, scores, 0.0)
    own = chosen(self.loss, arrays)
    dense = {name: self._by_group(x) for name, x in own.items()}
    losses = self.loss(
      *map(self._by_group, (scores, arrays['rewards'], live)), **dense
    )
    return jnp.where(live, jnp.repeat(losses, self.samples), 0.0)

  def _by_group(self, x):
    return x.reshape(-1, self.samples, *x.shape[1:])


def aligned(log_probs, seen):
  """log p_a - log sum_v p_v^2 of each token a, [..., 1]."""
  collision = jax.nn.logsumexp(2 * log_probs, axis=-1)
  return (at(log_probs, seen.token) - collision)[..., None]


ALIGNED = Digest(aligned)


@dataclasses.dataclass(frozen=True)
class WeighedByChance(_Composed):
  """A loss of groups, times how likely the policy is to write their rows.

      prod_i sg exp(mean_t (log p_t - log sum_v p_tv^2)) loss,   i in the group

  Source: WPO, arXiv 2406.11827, equation 2; TRL's `use_weighting`.
  """

  loss: GroupLoss

  @property
  def pieces(self):
    return (self.loss,)

  @property
  def reads(self):
    return super().reads | {ALIGNED}

  def __call__(self, logp, old_logp, advantages, mask, **arrays):
    given = chosen(self.loss, arrays)
    losses = self.loss(logp, old_logp, advantages, mask, **given)
    alike = jax.lax.stop_gradient(arrays[ALIGNED][..., 0])
    alike = numerics.masked_mean(alike, mask, axis=-1)
    alike = jnp.where(arrays['valid'], alike, 0.0)
    total = jnp.sum(alike.reshape(-1, self.loss.samples), axis=1)
    return losses * jnp.repeat(numerics.bounded_exp(total), self.loss.samples)


@dataclasses.dataclass(frozen=True)
class Total(_Composed):
  """sum_k weight_k part_k of several losses of rows."""

  parts: tuple[Callable, ...]
  weights: tuple[float, ...]

  @property
  def pieces(self):
    return self.parts

  def __call__(self, logp, old_logp, advantages, mask, **arrays):
    total = 0.0
    for part, weight in zip(self.parts, self.weights, strict=True):
      losses = part(logp, old_logp, advantages, mask, **chosen(part, arrays))
      total = total + weight * losses
    return total


@dataclasses.dataclass(frozen=True)
class TokenMean(_Composed):
  """The mean of a surrogate over the tokens of a row, as a loss of rows."""

  surrogate: Callable

  @property
  def pieces(self):
    return (self.surrogate,)

  def __call__(self, logp, old_logp, advantages, mask, **arrays):
    losses = self.surrogate(logp, old_logp, advantages, mask, **arrays)
    return numerics.masked_mean(losses, mask, axis=-1)


@dataclasses.dataclass(frozen=True)
class Gated(_Composed):
  """gate surrogate of each token, where both are part of a loss of rows.

  No gradient passes through the gate.
  """

  surrogate: Callable
  gate: Callable

  @property
  def pieces(self):
    return self.surrogate, self.gate

  def __call__(self, logp, old_logp, advantages, mask, **arrays):
    rest = old_logp, advantages, mask
    given = [chosen(piece, arrays) for piece in self.pieces]
    losses = self.surrogate(logp, *rest, **given[0])
    fixed = jax.lax.stop_gradient((logp, given[1]))
    return losses * self.gate(fixed[0], *rest, **fixed[1])


def mixed_preference(
  *,
  samples: int,
  weight: float = 0.1,
  preference_weight: float = 0.8,
  quality_weight: float = 0.2,
  imitation: float = 1.0,
  among: Callable = pairs.better,
) -> Total:
  """Which is better, how good each is, and how the better one is written.

      preference_weight -log sigmoid(weight (h_w - h_l))
      + quality_weight (-log sigmoid(weight h_w) - log sigmoid(-weight h_l))
      - imitation mean_t logp_w,t

  with h the log-ratio of a response to the reference.

  Args:
    weight: beta > 0, per nat. among: which rows of a group are pairs.

  Source: MPO, arXiv 2411.10442, without the running point of its quality loss.
  """
  parts = (
    (functools.partial(preference.logistic, weight=weight), to_reference),
    (functools.partial(preference.classify, weight=weight), to_reference),
    (preference.imitation, mean_likelihood),
  )
  losses = tuple(
    GroupLoss(Pairs(link, among), score, samples) for link, score in parts
  )
  return Total(losses, (preference_weight, quality_weight, imitation))


def group_losses(
  loss: Callable, score: Callable, *, samples: int, **parts: Any
) -> base.RowLosses:
  """The objective of a loss of groups of `samples` rows.

  Args:
    parts: costs by their names, and hyper-parameters of the loss.
  """
  loss, costs = base.bound(loss, parts)
  return base.row_losses(
    GroupLoss(loss, score, samples), samples=samples, **costs
  )


def pair_losses(
  link: Callable,
  score: Callable,
  *,
  samples: int,
  among: Callable = pairs.better,
  gap: Callable = of_rewards,
  **parts: Any,
) -> base.RowLosses:
  """The objective of a link over the pairs of groups of `samples` rows.

  Args:
    parts: costs by their names, and hyper-parameters of the link.
  """
  link, costs = base.bound(link, parts)
  return group_losses(Pairs(link, among, gap), score, samples=samples, **costs)
