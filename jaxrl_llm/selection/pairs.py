"""Which rows of a group are compared, and how much each comparison counts.

    f(scores f32[B, G], rewards f32[B, G], live bool[B, G]) -> f32[B, G, G]

Entry [b, i, j] >= 0 is the weight of "row i is better than row j". Constant:
no gradient passes through it. Weights do not depend on the order of rows, and
of rows whose rewards are equal neither is better.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.objectives.base import takes


def _outer(left, right):
  return left[..., :, None] & right[..., None, :]


def _above(x):
  return x[..., :, None] > x[..., None, :]


def _shared(pair):
  """The weight 1 of a group, shared by its pairs; 0 without a pair."""
  count = jnp.sum(pair, axis=(-2, -1), keepdims=True)
  return numerics.safe_divide(pair * 1.0, count * 1.0)


def _extremes(rewards, live):
  """bool[B, G]: rows of the highest and of the lowest reward."""
  high = jnp.max(rewards, axis=-1, where=live, initial=-jnp.inf, keepdims=True)
  low = jnp.min(rewards, axis=-1, where=live, initial=jnp.inf, keepdims=True)
  return live & (rewards == high), live & (rewards == low)


def better(scores, rewards, live):
  """Every better row against every worse one: the mean over pairs."""
  del scores
  return _shared(_outer(live, live) & _above(rewards))


def each_better(scores, rewards, live):
  """Every better row against every worse one: the sum over pairs."""
  del scores
  return (_outer(live, live) & _above(rewards)) * 1.0


def best_and_worst(scores, rewards, live):
  """The best row against the worst one; rows that tie share the weight."""
  del scores
  best, worst = _extremes(rewards, live)
  return _shared(_outer(best, worst) & _above(rewards))


def every(scores, rewards, live):
  """Every row against every other one, both ways: the mean over pairs.

  For links that are even, link(a, b, gap) = link(b, a, -gap), this is the
  mean over unordered pairs. Rows of equal reward are compared too.
  """
  del scores, rewards
  apart = ~jnp.eye(live.shape[-1], dtype=bool)
  return _shared(_outer(live, live) & apart)


def by_rank(scores, rewards, live):
  """LambdaRank: pairs count by what swapping them would do to the list.

      |2^r_i - 2^r_j| |1 / D(i) - 1 / D(j)|   for r_i > r_j
      D(i) = log(1 + rank_i), rank 1 for the highest score

  Rows of equal score rank in their order, or a policy that has not moved yet
  would have no gradient.

  Source: LiPO-lambda, arXiv 2402.01878, equations 8 and 9.
  """
  scores = jax.lax.stop_gradient(scores)
  index = jnp.arange(live.shape[-1])
  tied = scores[..., :, None] == scores[..., None, :]
  ahead = _above(scores) | (tied & (index[:, None] < index))
  ahead = ahead & _outer(live, live)
  rank = 1.0 + jnp.sum(ahead, axis=-2)
  discount = 1 / jnp.log1p(rank)
  gain = jnp.exp2(jnp.where(live, rewards, 0.0))
  weight = jnp.abs(gain[..., :, None] - gain[..., None, :])
  weight = weight * jnp.abs(discount[..., :, None] - discount[..., None, :])
  return jnp.where(_outer(live, live) & _above(rewards), weight, 0.0)


@takes('extras:dataset')
def in_dataset(scores, rewards, live, *, dataset):
  """`better` among the rows of a fixed data set.

  Args:
    dataset: bool[B, G], rows that were not sampled by the policy.
  """
  return better(scores, rewards, live & dataset)


@takes('extras:node')
def siblings(scores, rewards, live, *, node, gap=0.0):
  """The best child of a node against its worst, where they differ enough.

  The mean over the nodes of a group that have such a pair.

  Args:
    node: i32[B, G], the parent of a row in a search tree.
    gap: the least difference of rewards.

  Source: iTool, arXiv 2501.09766, section 3.3, with the value of a child as
    its reward; read in a summary.
  """
  del scores
  same = (node[..., :, None] == node[..., None, :]) & _outer(live, live)
  low = jnp.where(same, rewards[..., None, :], jnp.inf).min(axis=-1)
  high = jnp.where(same, rewards[..., None, :], -jnp.inf).max(axis=-1)
  best, worst = live & (rewards == high), live & (rewards == low)
  far = rewards[..., :, None] - rewards[..., None, :] > gap
  pair = same & _outer(best, worst) & far
  # Rows that tie share the weight of their node.
  of_node = jnp.where(same, jnp.sum(pair, axis=-1)[..., None, :], 0)
  share = numerics.safe_divide(pair * 1.0, 1.0 * of_node.sum(-1)[..., None])
  return numerics.safe_divide(share, share.sum((-2, -1), keepdims=True))


@takes('extras:accepted')
def constrained(scores, rewards, live, *, accepted):
  """The best accepted row against the worst refused one.

  The worst of all, where every row is accepted; no pair where none is. Rows
  that tie share the weight.

  Args:
    accepted: bool[B, G], all judges of a row agree that it may be said.

  Source: CGPO's CODPO, arXiv 2409.20370, algorithm 4, as in a third party's
    code.
  """
  del scores
  accepted = accepted & live
  refused = live & ~accepted
  others = jnp.where(jnp.any(refused, -1, keepdims=True), refused, live)
  best, _ = _extremes(rewards, accepted)
  _, worst = _extremes(rewards, others)
  apart = ~jnp.eye(live.shape[-1], dtype=bool)
  refused_pair = _outer(best, worst) & apart
  all_pass = ~jnp.any(refused, -1)[..., None, None]
  return _shared(refused_pair & (_above(rewards) | ~all_pass))
