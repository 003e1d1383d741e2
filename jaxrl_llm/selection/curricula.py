"""Curricula: which tasks are drawn next.

    init(spec) -> state
    sample(state, key, n) -> (i32[n] tasks, state)
    update(state, tasks, rewards, valid) -> state

The state is checkpointed, so a resumed run draws the tasks it would have. A
run compiles `sample`, with n static, and `update`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm import grouping, numerics
from jaxrl_llm.environments import base as environments
from jaxrl_llm.learners.base import Learner
from jaxrl_llm.selection import bandits
from jaxrl_llm.types import Array, Spec


class Curriculum(Protocol):
  """What decides the next tasks."""

  def init(self, spec: Spec):
    """The state before the first draw."""

  def sample(self, state, key: Array, n: int):
    """i32[n] tasks, and the state after they were drawn."""

  def update(self, state, tasks: Array, rewards: Array, valid: Array):
    """The state that knows what the rows of these tasks, all [N], earned."""


@dataclasses.dataclass(frozen=True)
class Shuffled:
  """Every task once per epoch, in a new order each epoch.

  The state is the order of the present epoch and how much of it is used. A
  draw that crosses the end takes the rest from a fresh order; no other draw
  pays for one.
  """

  def init(self, spec):
    order = jnp.arange(spec.tasks, dtype=jnp.int32)
    # Used up, so that the first draw shuffles with its own key.
    return {'order': order, 'used': jnp.int32(spec.tasks)}

  def sample(self, state, key, n):
    size = state['order'].shape[0]
    _check(n, size)
    end = state['used'] + n
    place = state['used'] + jnp.arange(n)

    def crossing(order):
      fresh = jax.random.permutation(key, size).astype(jnp.int32)
      return jnp.concatenate([order, fresh])[place], fresh, end - size

    def within(order):
      return order[place], order, end

    drawn, order, used = jax.lax.cond(
      end > size, crossing, within, state['order']
    )
    return drawn, {'order': order, 'used': used}

  def update(self, state, tasks, rewards, valid):
    del tasks, rewards, valid
    return state


def _check(n, size):
  """Refuses a draw of more tasks than there are."""
  if n > size:
    raise ValueError(
      f'an iteration draws {n} prompts but the dataset has {size}; set '
      f'sample.prompts to at most {size}'
    )


@dataclasses.dataclass(frozen=True)
class Unsolved:
  """Every task once per epoch, until it is solved.

  Tasks come in a new order each epoch. One whose rows earned `solved` in the
  mean when it last came is not drawn again, unless the others are too few to
  fill a draw.

  Attributes:
    solved: a mean reward; none above all rewards.

  Source: ScaleRL, arXiv 2510.13786, "No-Positive-Resampling".
  """

  solved: float = 0.9

  def init(self, spec):
    return {
      'drawn': jnp.zeros(spec.tasks, jnp.int32),
      'solved': jnp.zeros(spec.tasks, bool),
    }

  def sample(self, state, key, n):
    size = state['drawn'].shape[0]
    _check(n, size)
    # Those that came least often are what is left of the epoch.
    random = jax.random.uniform(key, (size,))
    order = jnp.lexsort((random, state['drawn'], state['solved']))
    tasks = order[:n].astype(jnp.int32)
    return tasks, state | {'drawn': state['drawn'].at[tasks].add(1)}

  def update(self, state, tasks, rewards, valid):
    mean, seen = _means(tasks, rewards, valid, state['drawn'].shape[0])
    solved = state['solved'] | (seen & (mean >= self.solved))
    return state | {'solved': solved}


def _means(tasks, rewards, valid, size):
  """f32[size], what the rows of each task earned, and bool[size], if any."""
  rows = jnp.zeros(size).at[tasks].add(jnp.where(valid, 1.0, 0.0))
  total = jnp.zeros(size).at[tasks].add(jnp.where(valid, rewards, 0.0))
  return numerics.safe_divide(total, rows), rows > 0


@dataclasses.dataclass(frozen=True)
class Mixed:
  """Every domain as often as its share says, its tasks one after the other.

  Of the n prompts of a draw, those of domain d are n w_d in the mean and differ
  from that by less than 1. Each task of a domain comes once before any comes
  again, so that a small domain of much weight has many epochs. A draw that
  takes more than a whole epoch of a domain repeats its order.

  Attributes:
    shares: w_d of every domain, adding up to 1.
  """

  shares: tuple[float, ...]

  def init(self, spec):
    domain = np.asarray(spec.task_domains or [0] * spec.tasks, np.int32)
    count = np.bincount(domain, minlength=len(self.shares))
    empty = np.flatnonzero((count == 0) & (np.asarray(self.shares) > 0))
    if len(empty) or len(count) > len(self.shares):
      raise ValueError(
        f'sources {empty.tolist()} of {len(self.shares)} have a weight and no '
        'question to train on: all of them are held out, or too long. Leave '
        'such a source out, or hold out fewer'
      )
    return {
      'domain': jnp.asarray(domain),
      'order': jnp.asarray(np.argsort(domain, kind='stable'), jnp.int32),
      'count': jnp.asarray(count, jnp.int32),
      # Used up, so that the first draw shuffles with its own key.
      'used': jnp.asarray(count, jnp.int32),
    }

  def sample(self, state, key, n):
    offset, places, shuffle = jax.random.split(key, 3)
    # Evenly spaced from a random start: no domain is far from its share.
    spaced = (jnp.arange(n) + jax.random.uniform(offset)) / n
    edges = jnp.cumsum(jnp.asarray(self.shares))[:-1]
    drawn = jnp.searchsorted(edges, spaced, side='right')
    drawn = jax.random.permutation(places, drawn)
    before = jnp.tril(drawn[:, None] == drawn, -1).sum(axis=1)
    count, used, order = state['count'], state['used'], state['order']
    place = used[drawn] + before
    end = used + jnp.zeros_like(count).at[drawn].add(1)
    over = end > count

    def shuffled():
      random = jax.random.uniform(shuffle, order.shape)
      return jnp.lexsort((random, state['domain'])).astype(order.dtype)

    # Only a draw that ends an epoch pays for a new order.
    fresh = jax.lax.cond(over.any(), shuffled, lambda: order)
    first = jnp.cumsum(count) - count
    late = place >= count[drawn]
    place = first[drawn] + place % count[drawn]
    tasks = jnp.where(late, fresh[place], order[place])
    slot = jnp.sort(state['domain'])
    order = jnp.where(over[slot], fresh, order)
    # A domain without tasks is never drawn.
    used = jnp.where(over, (end - 1) % jnp.maximum(count, 1) + 1, end)
    return tasks, state | {'order': order, 'used': used}

  def update(self, state, tasks, rewards, valid):
    del tasks, rewards, valid
    return state


@dataclasses.dataclass(frozen=True)
class Phases:
  """Short prompts first, then longer ones, and the hard ones of before again.

      phase k of K         the k-th part of the tasks by prompt length
      chance of a draw     (1 - share) / |part k|        in part k
                           share d_a / sum d             in parts before k
      d_a                  1 / max(mean reward of task a, 1 / G), 0 if unseen

  Parts are of equal size but for one task; equal lengths go by place in the
  data. Draws are each on their own, so a task may come twice. The last phase
  lasts.

  Attributes:
    phases: K. iterations: of each phase but the last.
    share: of draws from earlier parts, in [0, 1); 0 of them while none was
      seen. mixed: the last phase draws from all parts alike.

  Source: QwenLong-L1, arXiv 2505.17667, section 3.2, whose share is not
    given.
  """

  phases: int = 2
  iterations: int = 50
  share: float = 0.0
  mixed: bool = False

  def __post_init__(self):
    if self.phases < 1 or self.iterations < 1 or not 0 <= self.share < 1:
      raise ValueError(
        f'{self.phases} phases of {self.iterations} iterations with a share of '
        f'{self.share:g} from before; use 1 or more of both, and a share in '
        '[0, 1)'
      )

  def init(self, spec):
    lengths = np.asarray(spec.task_lengths, np.int32)
    if len(set(lengths.tolist())) < min(2, self.phases):
      raise ValueError(
        f'{self.phases} phases go by the lengths of prompts, and those of this '
        'data are all equal; mix lengths, as --config.data.level=0 does in a '
        'generated task'
      )
    if len(lengths) < self.phases:
      raise ValueError(
        f'{len(lengths)} tasks do not fill {self.phases} phases; use fewer'
      )
    rank = np.argsort(np.argsort(lengths, kind='stable'))
    return {
      'part': jnp.asarray(rank * self.phases // len(rank), jnp.int32),
      'mean': jnp.zeros(len(rank), jnp.float32),
      'seen': jnp.zeros(len(rank), bool),
      'least': jnp.float32(1 / spec.samples),
      'iteration': jnp.int32(0),
    }

  def chances(self, state):
    """f32[A]: of each task to be the next draw."""
    last = self.phases - 1
    phase = jnp.minimum(state['iteration'] // self.iterations, last)
    own, before = state['part'] == phase, state['part'] < phase
    hard = 1 / jnp.maximum(state['mean'], state['least'])
    hard = jnp.where(before & state['seen'], hard, 0.0)
    share = jnp.where(jnp.any(hard > 0), self.share, 0.0)
    now = (1 - share) * own / jnp.sum(own)
    chance = now + share * numerics.safe_divide(hard, jnp.sum(hard))
    everyone = jnp.full_like(chance, 1 / chance.shape[0])
    return jnp.where(self.mixed & (phase == last), everyone, chance)

  def sample(self, state, key, n):
    return bandits.with_replacement(key, self.chances(state), n), state

  def update(self, state, tasks, rewards, valid):
    mean, seen = _means(tasks, rewards, valid, state['mean'].shape[0])
    return state | {
      'mean': jnp.where(seen, mean, state['mean']),
      'seen': state['seen'] | seen,
      'iteration': state['iteration'] + 1,
    }


def each_task(spec):
  """i32[A]: every task is an arm."""
  return np.arange(spec.tasks)


def each_domain(spec):
  """i32[A]: every domain that has tasks is an arm.

  Raises:
    ValueError: there is one.
  """
  return np.unique(bandits.domains_of(spec), return_inverse=True)[1]


@dataclasses.dataclass(frozen=True)
class OfBandit:
  """A bandit whose arms are tasks, or sets of them; see `of_bandit`."""

  learner: Learner
  arms: Callable
  signal: Callable

  def init(self, spec):
    arm = self.arms(spec)
    count = int(arm.max()) + 1
    order = np.argsort(arm, kind='stable')
    facts = {
      'arm': arm,
      'order': order,
      'first': np.searchsorted(arm[order], np.arange(count + 1)),
    }
    one = environments.Discrete(1)
    world = environments.Spec(1, 1, one, environments.Discrete(count))
    return {
      'learner': self.learner.init(world, jax.random.key(spec.seed)),
      **{name: jnp.asarray(x, jnp.int32) for name, x in facts.items()},
    }

  def sample(self, state, key, n):
    choose, pick = jax.random.split(key)
    nothing = jnp.zeros(n, jnp.int32)
    arm, learner = self.learner.act(state['learner'], nothing, choose)
    first = state['first']
    place = jax.random.randint(pick, (n,), first[arm], first[arm + 1])
    return state['order'][place], state | {'learner': learner}

  def update(self, state, tasks, rewards, valid):
    key = grouping.joint(tasks)
    signal = self.signal(tasks, rewards, valid)
    nobody = state['first'].shape[0] - 1
    pulled = grouping.representatives(key, valid)
    nothing = jnp.zeros_like(tasks)
    learner = self.learner.update(
      state['learner'],
      nothing,
      jnp.where(pulled, state['arm'][tasks], nobody),
      environments.Outcome(
        reward=numerics.group_mean(signal, key, valid),
        terminated=jnp.ones_like(valid),
        truncated=jnp.zeros_like(valid),
        agent=nothing,
      ),
    )
    return state | {'learner': learner}


def of_bandit(
  learner: Learner, *, arms=each_task, signal=bandits.signal
) -> OfBandit:
  """The curriculum that a learner of bandits makes.

  It pulls an arm for every prompt and draws one of the arm's tasks, all alike,
  so a task may come twice in an iteration. A task drawn is one pull, however
  many rows it has, and pays the mean signal of its rows that count. A draw
  looks at every arm for every prompt: of many tasks, make domains the arms.

  Args:
    learner: see `jaxrl_llm.learners`.
    arms: f(spec) -> int[A], the arm of each task, from 0 on without gaps.
    signal: f(tasks, rewards, valid) -> f32[N]. The mean |advantage| of GRPO,
      in [0, 1), unless another is given.
  """
  return OfBandit(learner, arms, signal)
