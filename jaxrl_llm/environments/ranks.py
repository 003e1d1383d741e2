"""How many dimensions an attention keeps, chosen segment by segment.

    O_r = softmax(Q_r K_r' / sqrt(d)) V      Q_r, K_r: the r largest of an SVD
    reward = fidelity mean_rows cos(O, O_r) - price operations_r
             - change |A_r' - A_r|_F

of a head's queries, keys and values f64[S, d] in a segment, where r' was kept
before. A = softmax(Q K' / sqrt(d)) has the singular values sigma, so that what
a change of its rank changes is known without an attention:

    |A_r' - A_r|_F^2 = sum_{min(r, r') < k <= max(r, r')} sigma_k^2
    |(A_r' - A_r) V|_F <= sigma_{min(r, r') + 1} |V|_F

Changes beyond a tolerance, which tightens from segment to segment, are not
legal. Segments are drawn once, by `seed`, and their dimensions go up and down.

Source: Dynamic Rank Reinforcement Learning, arXiv 2512.15973, by its published
  code. There operations are in units of 1e9, the state has convolved inputs and
  statistics of weights as well, and the policy is a transformer that learns
  with its language model, from rewards in which the training script stands
  random numbers for attention. Energies are its NER, here in logs; the bound
  has the spectral norm of the paper's equation 9.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl_llm.environments.base import Box, Discrete, Outcome, Spec, uids_of
from jaxrl_llm.types import Array


class State(struct.PyTreeNode):
  """Where each row is.

  Attributes:
    rank: i32[N], number of the rank kept before. task: i32[N].
    time: i32[N], segments done. uid: i32[N].
  """

  rank: Array
  task: Array
  time: Array
  uid: Array


def truncated(x, rank: int) -> np.ndarray:
  """f64[..., S, d]: the nearest matrices of that rank."""
  u, s, v = np.linalg.svd(x, full_matrices=False)
  return (u[..., :rank] * s[..., None, :rank]) @ v[..., :rank, :]


def attention(q, k) -> np.ndarray:
  """f64[..., S, S]: softmax(q k' / sqrt(d)) over the last axis."""
  scores = q @ np.swapaxes(k, -1, -2) / q.shape[-1] ** 0.5
  weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
  return weights / weights.sum(axis=-1, keepdims=True)


def changed(sigma, before: int, after: int) -> np.ndarray:
  """f64[...]: |A_after - A_before|_F of descending sigma f64[..., S]."""
  low, high = sorted((before, after))
  return np.sqrt(np.sum(sigma[..., low:high] ** 2, axis=-1))


def bound(sigma, before: int, after: int, norm) -> np.ndarray:
  """f64[...]: the most by which an output can change, of |V|_F f64[...]."""
  if before == after:
    return 0.0 * norm
  return sigma[..., min(before, after)] * norm


def operations(length: int, width: int, rank: int) -> float:
  """Of the scores, in shares of those of full rank; 1 from `width` on."""
  return 1.0 if rank >= width else rank / length


@dataclasses.dataclass(frozen=True)
class Ranks:
  """Sequences of segments, in each of which one of a few ranks is kept.

  The observation is f32[N, 3 R]: of queries and of keys the share of their
  squares that each rank leaves out, as -log10(share + 1e-4) / 4, and which rank
  was kept before. A row begins with the last of the ranks.

  Attributes:
    sequences: the number of tasks. horizon: segments of each, T.
    length: S, tokens of a segment. width: d.
    intrinsic: dimensions that segments have but for noise; the next segment has
      the last one's in half of the cases.
    noise: spread of what is beside them. sharpness: of queries and keys.
    ranks: to choose among, R of them, ascending.
    fidelity, price, change: alpha, beta and gamma of the reward; price is of
      full attention, ours, where 0.05 is that of 1e9 operations.
    tolerance: epsilon_0, of the bound, math.inf for none. decay: of it, a
      segment. seed: of the segments.
  """

  sequences: int = 64
  horizon: int = 8
  length: int = 24
  width: int = 16
  intrinsic: tuple[int, ...] = (2, 14)
  noise: float = 0.05
  sharpness: float = 1.5
  ranks: tuple[int, ...] = (2, 4, 6, 8, 10, 12, 14, 16)
  fidelity: float = 1.0
  price: float = 0.5
  change: float = 0.1
  tolerance: float = math.inf
  decay: float = 0.995
  seed: int = 0

  def __post_init__(self):
    least, *_, most = sorted(self.ranks)
    if tuple(sorted(set(self.ranks))) != self.ranks or least < 1:
      raise ValueError(f'ranks {self.ranks} do not ascend from 1 or more')
    if most > self.width:
      raise ValueError(
        f'a rank of {most} in a head of {self.width}; {self.width} keeps all'
      )

  @property
  def spec(self) -> Spec:
    count = len(self.ranks)
    return Spec(
      self.horizon, self.sequences, Box((3 * count,), 0.0, 1.0), Discrete(count)
    )

  @functools.cached_property
  def segments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries, keys and values f64[tasks, T, S, d]."""
    rng = np.random.default_rng(self.seed)
    shape = self.sequences, self.horizon
    drawn = rng.integers(len(self.intrinsic), size=shape)
    stays = rng.random(shape) < 0.5
    for t in range(1, self.horizon):
      drawn[:, t] = np.where(stays[:, t], drawn[:, t - 1], drawn[:, t])
    found = np.zeros((3, *shape, self.length, self.width))
    for place in np.ndindex(shape):
      size = self.intrinsic[drawn[place]]
      tokens = rng.normal(size=(self.length, size)) / size**0.5
      for number in range(3):
        mixed = tokens @ rng.normal(size=(size, self.width))
        mixed += self.noise * rng.normal(size=mixed.shape)
        found[number][place] = mixed
    found[:2] *= self.sharpness
    return found[0], found[1], found[2]

  @functools.cached_property
  def energies(self) -> np.ndarray:
    """f64[tasks, T, 2 R]: shares of the squares of queries, then of keys."""
    shares = []
    for x in self.segments[:2]:
      squares = np.linalg.svd(x, compute_uv=False) ** 2
      kept = np.cumsum(squares, axis=-1) / squares.sum(axis=-1, keepdims=True)
      shares.append(kept[..., np.array(self.ranks) - 1])
    return np.concatenate(shares, axis=-1)

  @functools.cached_property
  def likeness(self) -> np.ndarray:
    """f64[tasks, T, R]: mean_rows cos(O, O_r) of each rank."""
    q, k, v = self.segments
    whole, found = attention(q, k) @ v, []
    for rank in self.ranks:
      part = attention(truncated(q, rank), truncated(k, rank)) @ v
      along = np.sum(whole * part, axis=-1)
      along /= np.linalg.norm(whole, axis=-1) * np.linalg.norm(part, axis=-1)
      found.append(along.mean(axis=-1))
    return np.stack(found, axis=-1)

  @functools.cached_property
  def changes(self) -> tuple[np.ndarray, np.ndarray]:
    """f64[tasks, T, R, R] from and to each rank: what it changes, its bound."""
    q, k, v = self.segments
    sigma = np.linalg.svd(attention(q, k), compute_uv=False)
    norm = np.linalg.norm(v, axis=(-2, -1))
    pairs = [(a, b) for a in self.ranks for b in self.ranks]
    shape = *norm.shape, len(self.ranks), len(self.ranks)
    moved = [changed(sigma, a, b) for a, b in pairs]
    most = [bound(sigma, a, b, norm) for a, b in pairs]
    return (
      np.stack(moved, axis=-1).reshape(shape),
      np.stack(most, axis=-1).reshape(shape),
    )

  @functools.cached_property
  def rewards(self) -> np.ndarray:
    """f64[tasks, T, R, R]: of keeping the last rank where the first was."""
    cost = [operations(self.length, self.width, rank) for rank in self.ranks]
    worth = self.fidelity * self.likeness - self.price * np.array(cost)
    return worth[:, :, None, :] - self.change * self.changes[0]

  @functools.cached_property
  def allowed(self) -> np.ndarray:
    """bool[tasks, T, R, R]: changes that are within the tolerance."""
    times = np.arange(self.horizon)[:, None, None]
    same = np.eye(len(self.ranks), dtype=bool)
    return (self.changes[1] <= self.tolerance * self.decay**times) | same

  def reset(self, tasks, key, uids=None):
    del key
    return State(
      rank=jnp.full(tasks.shape, len(self.ranks) - 1, jnp.int32),
      task=tasks,
      time=jnp.zeros(tasks.shape, jnp.int32),
      uid=uids_of(tasks, uids),
    )

  def _at(self, table, state):
    time = jnp.minimum(state.time, self.horizon - 1)
    return jnp.asarray(table)[state.task, time]

  def observe(self, state):
    before = state.rank[:, None] == jnp.arange(len(self.ranks))
    left = -np.log10(np.maximum(1 - self.energies, 0) + 1e-4) / 4
    shares = self._at(left.astype(np.float32), state)
    return jnp.concatenate([shares, before.astype(jnp.float32)], axis=1)

  def legal(self, state):
    if math.isinf(self.tolerance):
      return None
    rows = jnp.arange(state.rank.shape[0])
    return self._at(self.allowed, state)[rows, state.rank]

  def step(self, state, action, key):
    del key
    rows = jnp.arange(state.rank.shape[0])
    paid = self._at(self.rewards.astype(np.float32), state)
    time = state.time + 1
    last = time >= self.horizon
    outcome = Outcome(
      reward=paid[rows, state.rank, action],
      terminated=last,
      truncated=jnp.zeros_like(last),
      agent=jnp.zeros_like(time),
    )
    state = state.replace(rank=action.astype(jnp.int32), time=time)
    return state, outcome.replace(legal=self.legal(state))

  @functools.cached_property
  def optimal_return(self) -> np.ndarray:
    """f64[tasks]: the largest return, with every segment known beforehand."""
    value = np.zeros((self.sequences, len(self.ranks)))
    paid = np.where(self.allowed, self.rewards, -np.inf)
    for t in range(self.horizon - 1, -1, -1):
      value = np.max(paid[:, t] + value[:, None, :], axis=-1)
    return value[:, -1]

  def fixed_return(self, rank: int) -> np.ndarray:
    """f64[tasks]: with that one of the ranks throughout, legal or not."""
    place = self.ranks.index(rank)
    first = self.rewards[:, 0, -1, place]
    return first + self.rewards[:, 1:, place, place].sum(axis=1)
