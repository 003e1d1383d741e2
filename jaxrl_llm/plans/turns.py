"""The turns of episodes: what happened in them, and where they are in rows."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import prefixes, spans
from jaxrl_llm.types import Array, Rollouts


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


def located(log: Turns, columns: int):
  """Where the turns of episodes are in rows of T columns.

  Returns:
    `turn`, `action_end` and `decision_reward` of `episodes.MultiTurn`.
  """
  column = np.arange(columns)[:, None]
  inside = (column >= log.start[:, None]) & (column < log.end[:, None])
  inside &= log.taken[:, None]
  begun = (column >= log.start[:, None]) & log.taken[:, None]
  arrays = {
    'turn': np.maximum(begun.sum(axis=2) - 1, 0).astype(np.int32),
    'action_end': (inside & (column == log.end[:, None] - 1)).any(axis=2),
    'decision_reward': (inside * log.reward[:, None]).sum(axis=2),
  }
  return jax.tree.map(jnp.asarray, arrays)


def calls(tools, rollouts: Rollouts, log: Turns):
  """`tool_calls` and `tool_start` of `episodes.MultiTurn`."""
  first = np.full(len(log.call), -1, np.int32)
  at, start, end = first.copy(), first.copy(), first.copy()
  called = log.call >= 0
  some, turn = np.flatnonzero(called.any(axis=1)), called.argmax(axis=1)
  for mine, every in ((at, log.call), (start, log.start), (end, log.end)):
    mine[some] = every[some, turn[some]]
  return {
    'tool_calls': jnp.asarray(called.sum(axis=1), jnp.int32),
    'tool_start': begun(tools, rollouts, at, start, end),
  }


def begun(tools, rollouts: Rollouts, at, start, end) -> Array:
  """i32[N]: the columns where calls begin, -1 in rows without one.

  A call begins in the token that holds its first character.

  Args:
    at: i32[N], in characters of the turn, -1 without a call.
    start, end: i32[N], the columns of the turn.
  """
  first = np.where(at < 0, -1, start).astype(np.int32)
  inside = np.flatnonzero(at > 0)
  pieces = tools.pieces(rollouts) if inside.size else []
  for row in inside:
    own = pieces[row][start[row] : end[row]]
    first[row] += spans.holding(own, at[row])
  return jnp.asarray(first)


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
