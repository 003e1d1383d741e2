"""What happened in the turns of episodes."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import prefixes
from jaxrl_llm.types import Rollouts


class Turns(NamedTuple):
  """What happened in the H turns of N episodes.

  Attributes:
    taken: bool[N, H]. answered: bool[N, H], and the environment went on.
    call: i32[N, H], where in an answered action a tool was called, in
      characters; -1 where none was.
    start, end: i32[N, H], the first column of each turn's action and the one
      after its last; equal where it was not taken.
    reward: f64[N, H], of the environment, so that in float32 they add up to the
      same in any order. agent: i32[N, H].
    state, anchor: [N, H], the states that were acted in, and their names.
    talk: [N, H], the conversations before each turn. action: [N, H], what was
      said.
    stop: i32[N, H], why the episode ended with a turn, a place in
      `tasks.environments.STOPS`; -1 where it did not.
  """

  taken: np.ndarray
  answered: np.ndarray
  call: np.ndarray
  start: np.ndarray
  end: np.ndarray
  reward: np.ndarray
  agent: np.ndarray
  anchor: np.ndarray
  action: np.ndarray
  state: np.ndarray
  talk: np.ndarray
  stop: np.ndarray

  def of(self, rows) -> Turns:
    """Those of some rows, i[M]."""
    return Turns(*(x[rows] for x in self))

  @property
  def last(self) -> list[str]:
    """N texts: what each episode ended with."""
    count = self.taken.sum(axis=1)
    return [str(row[max(n - 1, 0)]) for row, n in zip(self.action, count)]

  @property
  def ended(self) -> np.ndarray:
    """i32[N], why each episode ended."""
    return self.stop.max(axis=1)


def empty(rows: int, turns: int) -> Turns:
  """Those of episodes of which nothing was said."""
  shape = (rows, turns)
  return Turns(
    taken=np.zeros(shape, bool),
    answered=np.zeros(shape, bool),
    call=np.full(shape, -1, np.int32),
    start=np.zeros(shape, np.int32),
    end=np.zeros(shape, np.int32),
    reward=np.zeros(shape, np.float64),
    agent=np.zeros(shape, np.int32),
    anchor=np.full(shape, '', object),
    action=np.full(shape, '', object),
    state=np.full(shape, None, object),
    talk=np.full(shape, None, object),
    stop=np.full(shape, -1, np.int32),
  )


def parted(rollouts: Rollouts, log: Turns, first: np.ndarray):
  """Episodes and their log, up to but not including one turn of each."""
  start = log.start[np.arange(len(first)), first]
  rollouts = prefixes.shortened(rollouts, jnp.asarray(start))
  gone = np.arange(log.taken.shape[1]) >= first[:, None]
  fresh = empty(*log.taken.shape)
  kept = Turns(*(np.where(gone, new, old) for new, old in zip(fresh, log)))
  # The state that the turn is taken in was known before it.
  here = np.arange(len(first)), first
  for name in ('state', 'anchor', 'agent', 'talk'):
    getattr(kept, name)[here] = getattr(log, name)[here]
  return rollouts, kept


def beside(prompts: int, *logs: Turns) -> Turns:
  """Those of each prompt, of one log after those of the one before."""

  def joint(*arrays):
    split = [x.reshape(prompts, -1, x.shape[1]) for x in arrays]
    return np.concatenate(split, axis=1).reshape(-1, arrays[0].shape[1])

  return Turns(*(joint(*each) for each in zip(*logs)))
