"""Where the turns of episodes are in rows, and the calls of tools in turns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import spans
from jaxrl_llm.plans.turns import Turns
from jaxrl_llm.types import Array, Rollouts


def located(log: Turns, columns: int):
  """Where the turns of episodes are in rows of T columns.

  Returns:
    `turn`, `action_end` and `decision_reward` of `episodes.MultiTurn`.
  """
  column, shape = np.arange(columns), (len(log.taken), columns)
  turn, earned = np.zeros(shape, np.int32), np.zeros(shape)
  ends = np.zeros(shape, bool)
  every = log.taken.T, log.start.T, log.end.T, log.reward.T
  for taken, start, end, reward in zip(*every):
    begun = taken[:, None] & (column >= start[:, None])
    inside = begun & (column < end[:, None])
    turn += begun
    ends |= inside & (column == end[:, None] - 1)
    earned += inside * reward[:, None]
  arrays = {
    'turn': np.maximum(turn - 1, 0),
    'action_end': ends,
    'decision_reward': earned,
  }
  return jax.tree.map(jnp.asarray, arrays)


def paid(log: Turns, columns: int) -> Array:
  """f32[N, T]: what each turn was paid, with the last token of its action."""
  found = located(log, columns)
  return jnp.where(found['action_end'], found['decision_reward'], 0.0)


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
    'tool_start': _begun(tools, rollouts, at, start, end),
  }


def _begun(tools, rollouts: Rollouts, at, start, end) -> Array:
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
