"""Which rows of a group are compared, and how much each comparison counts.

    f(scores f32[B, G], rewards f32[B, G], live bool[B, G]) -> f32[B, G, G]

Entry [b, i, j] >= 0 is the weight of "row i is better than row j". Constant:
no gradient passes through it. Weights do not depend on the order of rows, and
of rows whose rewards are equal neither is better.
"""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm import numerics
from jaxrl_llm.reads import reads


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


def below_best(scores, rewards, live):
  """`better`, of the rows that are not their group's best."""
  best, _ = _extremes(rewards, live)
  return better(scores, rewards, live & ~best)


def well_apart(scores, rewards, live, *, threshold=0.0):
  """`better`, of rows whose rewards are `threshold` apart, or more.

  Args:
    threshold: reward units, >= 0; below it a reward model is not trusted.

  Source: the calibrated reward thresholds of Skywork R1V2, arXiv 2504.16656,
    reconstructed from the abstract.
  """
  del scores
  gap = rewards[..., :, None] - rewards[..., None, :]
  # Of rewards in tenths differences are equal only to rounding.
  far = _above(rewards) & (gap > threshold - 1e-5)
  return _shared(_outer(live, live) & far)


def each_better(scores, rewards, live):
  """Every better row against every worse one: the sum over pairs."""
  del scores
  return (_outer(live, live) & _above(rewards)) * 1.0


def best_and_worst(scores, rewards, live):
  """The best row against the worst one; rows that tie share the weight."""
  del scores
  best, worst = _extremes(rewards, live)
  return _shared(_outer(best, worst) & _above(rewards))


@functools.cache
def _brackets(size):
  """i32[K, size], all knock-outs of so many rows: 1, 3 or 315 for 2, 4 or 8.

  Adjacent rows meet, then the winners of adjacent matches.
  """

  def of(rows):
    if len(rows) == 1:
      return [rows]
    first, *others = rows
    found = []
    for half in itertools.combinations(others, len(rows) // 2 - 1):
      rest = [row for row in others if row not in half]
      found += [a + b for a in of([first, *half]) for b in of(rest)]
    return found

  return np.array(of(list(range(size))), np.int32)


def _last_standing(beats):
  """f32[..., m], the chance of each of m rows, of beats f32[..., m, m]."""
  half = beats.shape[-1] // 2
  if half == 0:
    return jnp.ones(beats.shape[:-1])
  left = _last_standing(beats[..., :half, :half])
  right = _last_standing(beats[..., half:, half:])
  across = beats[..., :half, half:]
  stays = left * jnp.einsum('...ij,...j->...i', across, right)
  other = right * jnp.einsum('...ij,...i->...j', 1 - across, left)
  return jnp.concatenate([stays, other], axis=-1)


@reads('preference')
def knocked_out(scores, rewards, live, *, preference):
  """The winner of a knock-out against who lost one, if it also beats that.

  Rows of a group meet in twos; the winners go on until one is left, and so do
  the losers until one has lost to all of theirs. For 8 rows that is 11
  comparisons, the last between the two. Weights are the chances over all ways
  to draw up the matches; a match is won by who wins it more often, and by
  either where that is even. A group with a row that is not live has no
  knock-out and no pair, as the published code passes over a question that lacks
  a response.

  Args:
    preference: f32[B, G, G], P(i beats j); G is 2, 4 or 8.

  Raises:
    ValueError: groups of another size.

  Source: INPO, arXiv 2407.00617, its experiments with a preference model, and
    its code as a third party took it over.
  """
  del scores, rewards
  size = live.shape[-1]
  if size not in (2, 4, 8):
    raise ValueError(
      f'a knock-out of groups of {size} cannot be drawn up; use samples=2, 4 '
      'or 8'
    )
  wins = (1 + jnp.sign(preference - 0.5)) / 2
  # Who wins the first matches: the left or the right one of each.
  side = np.array(list(itertools.product((0, 1), repeat=size // 2)))
  match = 2 * np.arange(size // 2)
  # [K, outcomes, G / 2], rows.
  up, down = (_brackets(size)[:, match + x] for x in (side, 1 - side))
  chance = jnp.prod(wins[:, up, down], axis=-1)
  best = _last_standing(wins[:, up[..., :, None], up[..., None, :]])
  worst = _last_standing(1 - wins[:, down[..., :, None], down[..., None, :]])
  both = chance[..., None, None] * best[..., :, None] * worst[..., None, :]
  drawn = jnp.zeros(preference.shape)
  drawn = drawn.at[:, up[..., :, None], down[..., None, :]].add(both)
  whole = jnp.all(live, axis=-1)[:, None, None]
  kept = whole & (preference > 0.5)
  return jnp.where(kept, drawn / len(up), 0.0)


@functools.cache
def _meetings(size):
  """f32[size + 1, size, size], [n, a, b]: the chance that a beats b, of n.

  Rows count from the best; n of them are drawn into a knock-out.
  """

  def games(n):
    if n < 2:
      return []
    left, right = n // 2, n - n // 2
    return [(left, right), (right, left), *games(left), *games(right)]

  found = np.zeros((size + 1, size, size), np.float32)
  for n in range(size + 1):
    for (p, q), b in itertools.product(games(n), range(n)):
      # The q - 1 on the side of b are worse than b, the p - 1 on that of a
      # worse than a.
      first = math.comb(n - 1 - b, q - 1) / math.comb(n - 2, q - 1)
      for a in range(b if first else 0):
        second = math.comb(n - 1 - a - q, p - 1) / math.comb(n - 1 - q, p - 1)
        found[n, a, b] += p * q / (n * (n - 1)) * first * second
  return found


def by_tournament(scores, rewards, live):
  """Who wins a game of a knock-out against who loses it: the mean over games.

  n rows are drawn into two halves, whose winners meet, and so on: n - 1 games,
  each of which puts one row out; where n is no power of 2 some rows go without
  a game in the first round. Weights are the chances over all draws. Rows of
  equal reward win by chance, and are no pair.

  `better` is the same of the first round alone, where every two rows are as
  likely to meet.

  Source: tournament-rank and first-round-rank of RSO, arXiv 2309.06657,
    section 5.2.
  """
  del scores
  above = _above(rewards) & _outer(live, live)
  count = jnp.sum(live, axis=-1)
  first = jnp.sum(above, axis=-2)[..., None]
  tied = _outer(live, live) & (rewards[..., :, None] == rewards[..., None, :])
  size = jnp.sum(tied, axis=-1)[..., None]
  place = jnp.arange(live.shape[-1])
  held = (place >= first) & (place < first + size)
  share = numerics.safe_divide(held * 1.0, size * 1.0)
  meet = jnp.asarray(_meetings(live.shape[-1]))[count]
  weight = jnp.einsum('...ia,...ab,...jb->...ij', share, meet, share)
  weight = jnp.where(above, weight, 0.0)
  total = jnp.sum(weight, axis=(-2, -1), keepdims=True)
  return numerics.safe_divide(weight, total)


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

  Source: LiPO-lambda, arXiv 2402.01878.
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


@reads('offline')
def demonstrated(scores, rewards, live, *, offline):
  """Each demonstration against every other row, whatever they earn: the mean.

  Args:
    offline: bool[B, G], the demonstrations.
  """
  del scores, rewards
  return _shared(_outer(live & offline, live & ~offline))


@reads('recorded')
def better_recorded(scores, rewards, live, *, recorded):
  """`better` among the rows that the data holds.

  Args:
    recorded: bool[B, G].
  """
  return better(scores, rewards, live & recorded)


@reads('node_path', 'overlap')
def siblings(
  scores,
  rewards,
  live,
  *,
  node_path,
  overlap,
  gap=0.0,
  least=-math.inf,
  limit=1.0,
):
  """The best child of a node against its worst, where they differ enough.

  The mean over the nodes of a group that have such a pair. Children of a node
  are rows that part at the last level.

  Args:
    node_path: i32[B, G, L], the child taken at each level.
    overlap: f32[B, G, C], how alike each child of the same node is.
    gap: rewards differ by more than this.
    least: reward of the best. limit: how alike the two are at most.

  Source: iTool, arXiv 2501.09766, and its code, with the value of a child as
    its reward.
  """
  del scores
  parent = node_path[..., :-1]
  same = jnp.all(parent[..., :, None, :] == parent[..., None, :, :], axis=-1)
  same = same & _outer(live, live)
  low = jnp.where(same, rewards[..., None, :], jnp.inf).min(axis=-1)
  high = jnp.where(same, rewards[..., None, :], -jnp.inf).max(axis=-1)
  best, worst = live & (rewards == high), live & (rewards == low)
  best = best & (rewards >= least)
  far = rewards[..., :, None] - rewards[..., None, :] > gap
  child = jnp.broadcast_to(node_path[..., None, :, -1], same.shape)
  other = jnp.take_along_axis(overlap, child, axis=-1) <= limit
  pair = same & _outer(best, worst) & far & other
  # Rows that tie share the weight of their node.
  of_node = jnp.where(same, jnp.sum(pair, axis=-1)[..., None, :], 0)
  share = numerics.safe_divide(pair * 1.0, 1.0 * of_node.sum(-1)[..., None])
  return numerics.safe_divide(share, share.sum((-2, -1), keepdims=True))


def accepted(components, *, mark=0.5):
  """bool[...]: all judges pass, those being the components but the first."""
  return jnp.all(components[..., 1:] > mark, axis=-1)


@reads('components')
def constrained(scores, rewards, live, *, components):
  """The best accepted row against the worst refused one.

  By the first component; see `accepted` for the others. The worst of all,
  where every row is accepted; no pair where none is. Rows that tie share the
  weight.

  Source: CGPO's CODPO, arXiv 2409.20370, as in a third party's
    code.
  """
  del scores, rewards
  value = components[..., 0]
  passed = accepted(components) & live
  refused = live & ~passed
  others = jnp.where(jnp.any(refused, -1, keepdims=True), refused, live)
  best, _ = _extremes(value, passed)
  _, worst = _extremes(value, others)
  pair = _outer(best, worst)
  none_refused = ~jnp.any(refused, -1)[..., None, None]
  return _shared(pair & (_above(value) | ~none_refused))
