"""Groups that fail, with an earlier success with their question among them."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import choices
from jaxrl_llm.plans import kept as kept_lib
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Successes(Plan):
  """A group that fails gets an earlier success with its own question.

  Where all of a group are about as wrong, by the first score alone, one of the
  rows that are kept of its question, drawn evenly, replaces its first. Then
  fresh rows that are right are kept, the oldest leaving first.

  Attributes:
    samples: rows of a group. each: rows kept of a question. capacity: of all.
    spread, low: a group fails whose first scores have a smaller standard
      deviation and a smaller mean.
    earned: rows whose first score is above it are kept.

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
    return Contract(self.samples)

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
    right, valid, task = (
      np.asarray(x)
      for x in (choices.correctness(scores), rollouts.valid, rollouts.task)
    )
    index = np.arange(len(task))
    chance = np.asarray(jax.random.uniform(draw_key, task.shape))
    for first in range(0, len(task), self.samples):
      own = slice(first, first + self.samples)
      kept = np.flatnonzero(np.asarray(state['task']) == task[first])
      if len(kept) and self._fails(right[own][valid[own]]):
        index[first] = len(task) + kept[int(chance[first] * len(kept))]
    place, memory = self._places(state, task, valid & (right > self.earned))
    rollouts, scores, rows = kept_lib.mixed(
      rollouts, scores, state['rows'], index, place
    )
    tools.note('plan/replayed', int((index >= len(task)).sum()))
    return rollouts, scores, memory | {'rows': rows}

  def _fails(self, right):
    if not len(right):
      return False
    return right.std() < self.spread and right.mean() < self.low

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
