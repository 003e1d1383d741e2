"""How episodes are played: the policy's turns, and the environment's between.

The sampler writes a turn, the environment reads it, and what it says is put
behind it, through the chat template where the prompt went through it: part of
`response_mask`, which the policy reads, but not of `action_mask`, which it
learns. A turn ends with the sampler's end token or stop strings, or after its
share of the token budget.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import (
  ending,
  given,
  opening,
  prefixes,
  replies,
  turn_places,
)
from jaxrl_llm.plans.turns import Turns
from jaxrl_llm.tasks.environments import STOPS
from jaxrl_llm.types import Rollouts


def play(
  tools, prompts, key, *, samples: int, turns: int, rows=None, agent=None
):
  """`samples` episodes of at most `turns` turns from each prompt.

  An episode also ends where the token budget has no room for what the
  environment says and one more token; it then counts as truncated, as one
  does that uses up its turns.

  Args:
    rows: a record for each prompt, in place of that of its task, which is also
      what is asked.
    agent: who acts in every turn, in place of whom the environment names.

  Returns:
    Rollouts of whole episodes, not verified, and their `Turns`.

  Raises:
    ValueError: fewer tokens than turns.
  """
  prompts, log = opening.begin(
    tools, prompts, samples=samples, turns=turns, rows=rows
  )
  rollouts = given.blank(prompts, samples, tools.columns)
  first = np.zeros(len(log.taken), int)
  return go_on(tools, rollouts, log, first, key, agent=agent)


def go_on(
  tools,
  rollouts: Rollouts,
  log: Turns,
  first: np.ndarray,
  key,
  *,
  agent: int | None = None,
):
  """Episodes played from some turn to their end.

  Args:
    rollouts: N rows, up to that turn.
    log: of the turns before; `state`, `anchor`, `agent` and `talk` of that
      turn. It is filled in place.
    first: i32[N], the turn of each row that is taken next.
    agent: as of `play`.

  Returns:
    Rollouts of whole episodes, not verified, and their `Turns`.
  """
  rows, turns = log.taken.shape
  going, last, kept = np.ones(rows, bool), [None] * rows, None
  for turn in range(turns):
    at = first + turn
    named = log.agent[np.arange(rows), np.minimum(at, turns - 1)]
    agents = named if agent is None else np.full(rows, agent)
    cut = rollouts.length
    more, kept = tools.turn(
      rollouts,
      kept,
      jax.random.fold_in(key, turn),
      most=tools.columns // turns,
      going=going,
      agents=agents,
    )
    rollouts = prefixes.joined(rollouts, cut, more, jnp.asarray(going))
    acting = np.flatnonzero(going)
    here = acting, at[acting]
    log.start[here] = np.asarray(cut)[acting]
    log.end[here] = np.asarray(rollouts.length)[acting]
    told: list[Sequence[int]] = [()] * rows
    said = tools.read(more, {row: log.talk[row, at[row]] for row in acting})
    for row, ids in replies.answered(tools, log, at, said, last).items():
      told[row] = ids
    going &= log.stop[np.arange(rows), np.minimum(at, turns - 1)] < 0
    rollouts, late = _told(tools, rollouts, told, going)
    log.stop[late, at[late]] = STOPS.index('tokens')
    going[late] = False
    if not going.any():
      break
  late, failed = ending.settled(tools, log, last)
  rollouts = rollouts.replace(
    truncated=jnp.asarray(late),
    valid=rollouts.valid & ~jnp.asarray(failed),
    paid=turn_places.paid(log, tools.columns),
  )
  return rollouts, log


def _told(tools, rollouts, told, going):
  """Rows with what stands before their next turns, and those without room."""
  room = tools.columns - np.asarray(rollouts.length)
  fits = np.array([len(ids) for ids in told]) < room
  ids = [ids if go else () for ids, go in zip(told, going & fits)]
  if any(ids):
    heard = given.written(rollouts, ids)
    here = jnp.asarray(going & fits)
    rollouts = prefixes.joined(rollouts, rollouts.length, heard, here)
  return rollouts, np.flatnonzero(going & ~fits)
