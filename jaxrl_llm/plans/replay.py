"""A plan that keeps what taught something and shows it again.

Replayed rows carry the log-probs of the policy that sampled them, so an
objective that weighs by `sampler_logp` corrects for their age.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm import numerics
from jaxrl_llm.advantages import group as group_lib
from jaxrl_llm.plans import kept as kept_lib
from jaxrl_llm.plans.base import Contract, Plan


@functools.partial(jax.jit, static_argnames=('most', 'power'))
def _mix(buffer, rows, magnitude, key, *, most, power):
  """Dead groups replaced by drawn ones, and live ones remembered.

  Args:
    buffer: {'rows': [C, G, ...], 'magnitude': f32[C], 'place': i32[]}.
    rows: [B, G, ...]. magnitude: f32[B], sum of |A| of each group.
    most: groups replaced at most. power: of the weights.

  Returns:
    rows with replays in place of dead groups, the new buffer, and the number
    of replays.
  """
  size = buffer['magnitude'].shape[0]
  held = buffer['magnitude'] > 0
  weight = power * jnp.log(jnp.where(held, buffer['magnitude'], 1.0))
  noisy = jnp.where(held, weight + jax.random.gumbel(key, (size,)), -jnp.inf)
  order = jnp.argsort(-noisy)
  dead = magnitude == 0
  turn = jnp.cumsum(dead) - 1
  replayed = dead & (turn < jnp.minimum(most, jnp.sum(held)))
  source = order[jnp.clip(turn, 0, size - 1)]

  def choose(kept, fresh):
    where = replayed.reshape((-1,) + (1,) * (fresh.ndim - 1))
    return jnp.where(where, kept[source], fresh)

  mixed = jax.tree.map(choose, buffer['rows'], rows)
  live = ~dead
  before = jnp.cumsum(live) - 1
  stays = live & (before >= jnp.sum(live) - size)
  place = jnp.where(stays, (buffer['place'] + before) % size, size)

  def remember(kept, fresh):
    return kept.at[place].set(fresh, mode='drop')

  buffer = {
    'rows': jax.tree.map(remember, buffer['rows'], rows),
    'magnitude': remember(buffer['magnitude'], magnitude),
    'place': (buffer['place'] + jnp.sum(live)) % size,
  }
  return mixed, buffer, jnp.sum(replayed)


@dataclasses.dataclass(frozen=True)
class SelectiveBuffer(Plan):
  """Plan: groups without a signal give way to earlier ones that had one.

  Groups are drawn without replacement from a first-in-first-out buffer, with
  probability in proportion to (sum of their GRPO |advantages|)^power.

  Attributes:
    samples: rows of a group. capacity: groups remembered.
    share: of an iteration's groups that may be replays. power: tau.

  Raises:
    ValueError: the sampler gives extras whose shape is not known beforehand.

  Source: Selective Sample Buffer, Skywork R1V2, arXiv 2504.16656, section
    3.3, reconstructed from the abstract: sizes are ours, and whole groups are
    kept, for single rows have nothing to be compared with.
  """

  samples: int = 8
  capacity: int = 64
  share: float = 0.5
  power: float = 1.0

  @property
  def contract(self):
    return Contract(self.samples, may_lag=True)

  def init(self, spec):
    rows = kept_lib.blank(spec, self.capacity, self.samples)
    return {
      'rows': rows,
      'magnitude': jnp.zeros(self.capacity),
      'place': jnp.int32(0),
    }

  def collect(self, tools, prompts, state, key):
    sample_key, draw_key = jax.random.split(key)
    rollouts = tools.generate(prompts, sample_key, self.samples)
    rollouts, scores = tools.verify(rollouts)
    kept_lib.check(rollouts, state['rows'])
    rewards = scores.total
    advantages = group_lib.norm(rewards, rollouts.group, rollouts.valid)
    magnitude = numerics.group_sum(
      jnp.abs(advantages), rollouts.group, rollouts.valid
    )[:: self.samples]
    groups = magnitude.shape[0]
    rows = jax.tree.map(
      lambda x: x.reshape(groups, self.samples, *x.shape[1:]),
      kept_lib.columns(rollouts, scores.components),
    )
    mixed, state, count = _mix(
      state,
      rows,
      magnitude,
      draw_key,
      most=int(self.share * groups),
      power=self.power,
    )
    mixed = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), mixed)
    tools.note('plan/replayed', int(count))
    scores = scores.replace(components=mixed['components'])
    return kept_lib.rows(rollouts, mixed), scores, state


@dataclasses.dataclass(frozen=True)
class Successes(Plan):
  """Plan: a group that fails gets an earlier success with its own question.

  Where all rewards of a group are low and alike, one of the rows that are kept
  of its question, drawn evenly, replaces its first. Then fresh rows that earned
  something are kept, the oldest leaving first. The extra `replayed` bool[N]
  marks rows of earlier iterations, whose log-probs are those of their sampler.

  Attributes:
    samples: rows of a group. each: rows kept of a question. capacity: of all.
    spread, low: a group fails whose rewards have a smaller standard deviation
      and a smaller mean.
    earned: rows above it are kept.

  Raises:
    ValueError: the sampler gives extras whose shape is not known beforehand.

  Source: ARPO for GUI agents, arXiv 2505.16282, and its code.
  """

  samples: int = 8
  each: int = 8
  capacity: int = 1024
  spread: float = 0.05
  low: float = 0.2
  earned: float = 0.1

  @property
  def contract(self):
    return Contract(self.samples, provides={'replayed'})

  def init(self, spec):
    return {
      'rows': kept_lib.blank(spec, self.capacity),
      'task': jnp.full(self.capacity, -1),
      'number': jnp.full(self.capacity, -1),
      'count': jnp.int32(0),
    }

  def collect(self, tools, prompts, state, key):
    sample_key, draw_key = jax.random.split(key)
    rollouts = tools.generate(prompts, sample_key, self.samples)
    rollouts, scores = tools.verify(rollouts)
    kept_lib.check(rollouts, state['rows'])
    rewards, valid, task = (
      np.asarray(x)
      for x in (
        scores.total,
        rollouts.valid,
        rollouts.task,
      )
    )
    index = np.arange(len(task))
    chance = np.asarray(jax.random.uniform(draw_key, task.shape))
    for first in range(0, len(task), self.samples):
      own = slice(first, first + self.samples)
      kept = np.flatnonzero(np.asarray(state['task']) == task[first])
      if len(kept) and self._fails(rewards[own][valid[own]]):
        index[first] = len(task) + kept[int(chance[first] * len(kept))]
    place, memory = self._places(state, task, valid & (rewards > self.earned))
    fresh = kept_lib.columns(rollouts, scores.components)
    mixed, rows = _exchanged(fresh, state['rows'], index, place)
    replayed = index >= len(task)
    tools.note('plan/replayed', int(replayed.sum()))
    rollouts = kept_lib.rows(rollouts, mixed)
    scores = scores.replace(components=mixed['components'])
    rollouts = rollouts.with_extras(replayed=jnp.asarray(replayed))
    return rollouts, scores, memory | {'rows': rows}

  def _fails(self, rewards):
    if not len(rewards):
      return False
    return rewards.std() < self.spread and rewards.mean() < self.low

  def _places(self, state, task, good):
    """i[N], where each row is kept, C for nowhere, and the memory after it."""
    held, number = np.array(state['task']), np.array(state['number'])
    count = int(state['count'])
    place = np.full(len(task), self.capacity)
    for row in np.flatnonzero(good):
      own = np.flatnonzero(held == task[row])
      others = own if len(own) >= self.each else np.arange(self.capacity)
      slot = others[np.argmin(number[others])]
      place[place == slot] = self.capacity
      place[row], held[slot], number[slot] = slot, task[row], count
      count += 1
    return place, {
      'task': jnp.asarray(held),
      'number': jnp.asarray(number),
      'count': jnp.int32(count),
    }


@jax.jit
def _exchanged(fresh, kept, index, place):
  """Rows by index into fresh ones and kept ones, and what is kept then."""
  mixed = jax.tree.map(lambda a, b: jnp.concatenate([a, b])[index], fresh, kept)
  kept = jax.tree.map(lambda a, b: b.at[place].set(a, mode='drop'), fresh, kept)
  return mixed, kept
