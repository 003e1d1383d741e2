"""Answers behind what was read for them, as rows of arrays.

Where every answer is drawn behind tokens of its own, of a program's request or
of a history that is written anew, rows are found when all is said: the fewest
in which every answer stands behind what it was drawn behind. Their extras are
those of `episodes.MultiTurn`, where `turn` counts the answers of a row and
`tool_calls` those of its whole episode, and `episode` i32[N], in [0, N).
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import by_turn, episodes, given, turn_places
from jaxrl_llm.plans.turns import Turns, empty
from jaxrl_llm.serving import ledger
from jaxrl_llm.serving.engine import Room
from jaxrl_llm.serving.ledger import Row, Turn
from jaxrl_llm.tasks.environments import STOPS
from jaxrl_llm.types import Prompts, Rollouts


def provided(apart: bool) -> frozenset[str]:
  """The extras; where every answer is a row, with those of `by_turn.Steps`."""
  own = episodes.MultiTurn().contract.provides | {'episode'}
  return own | by_turn.Steps().contract.provides if apart else own


def rows_of(turns: Sequence[Turn], room: Room, apart: bool) -> list[Row]:
  """The rows of an episode, of which each turn is one where they are apart."""
  if not apart:
    return ledger.rows(turns, room.fits)
  return [
    Row((*turn.ids, *turn.said), ((len(turn.ids), turn),)) for turn in turns
  ]


def rollouts(
  tools,
  prompts: Prompts,
  made: Sequence[Sequence[Row]],
  room: Room,
  *,
  samples: int,
  rows: int,
  stops: Sequence[str],
  late: Sequence[bool],
  lost: Sequence[bool],
) -> Rollouts:
  """Rows of E episodes as arrays, `rows` of them an episode.

  Args:
    made: the rows of each episode, as many at most. room: of a row.
    samples: episodes of a prompt.
    stops: why each episode ended, a name of `environments.STOPS`.
    late: those that a budget ended. lost: those that do not count.
  """
  blank = jax.tree.map(
    np.array, given.blank(prompts, samples * rows, room.response)
  )
  numbered: list[tuple[int, Row]] = []
  for episode, found in enumerate(made):
    first = episode * rows
    numbered += enumerate(found, first)
    # A row without tokens is no response.
    blank.valid[first + len(found) : first + rows] = False
  log = _logged(len(blank.valid), numbered, room)
  facts = _filled(blank, numbered, log, room)
  filled = blank.replace(
    logp=facts.pop('logp'),
    valid=blank.valid & ~np.repeat(np.asarray(lost, bool), rows),
    paid=turn_places.paid(log, room.response),
    truncated=np.repeat(np.asarray(late, bool), rows),
  ).with_extras(
    **facts,
    **turn_places.located(log, room.response),
    episode=np.repeat(np.arange(len(made), dtype=np.int32), rows),
    stop=np.repeat([STOPS.index(x) for x in stops], rows).astype(np.int32),
  )
  filled = jax.tree.map(jnp.asarray, filled)
  calls = turn_places.calls(tools, filled, log)
  count = calls['tool_calls'].reshape(-1, rows).sum(axis=1)
  return filled.with_extras(**calls | {'tool_calls': jnp.repeat(count, rows)})


def _logged(count: int, numbered, room: Room) -> Turns:
  """Where the answers of rows are, what they earned, and which called."""
  most = max((len(row.turns) for _, row in numbered), default=1)
  log = empty(count, most)
  for number, row in numbered:
    cut = min(row.first, room.prompt)
    for at, (begins, turn) in enumerate(row.turns):
      here = number, at
      log.taken[here], log.reward[here] = True, turn.earned
      log.start[here] = begins - cut
      log.end[here] = begins - cut + len(turn.said)
      log.call[here] = turn.call
  return log


def _filled(blank, numbered, log: Turns, room: Room) -> dict[str, np.ndarray]:
  """Puts the tokens of rows into empty ones, in place.

  Returns:
    By name, what is known of each token of an answer, [N, T, ...].
  """
  content, shape = blank.content, blank.action_mask.shape
  content.prompt[:], content.prompt_mask[:] = 0, False
  facts = {name: np.zeros(shape, np.float32) for name in ('logp', 'log_mass')}
  for number, row in numbered:
    cut = min(row.first, room.prompt)
    content.prompt[number, room.prompt - cut :] = row.ids[:cut]
    content.prompt_mask[number, room.prompt - cut :] = True
    rest = len(row.ids) - cut
    content.response[number, :rest] = row.ids[cut:]
    blank.response_mask[number, :rest] = True
    for at, (_, turn) in enumerate(row.turns):
      own = number, slice(log.start[number, at], log.end[number, at])
      blank.action_mask[own] = True
      for name, x in turn.facts.items():
        if name not in facts:
          wide = (*shape, *np.shape(x)[1:])
          facts[name] = np.full(wide, given.EMPTY[name], np.asarray(x).dtype)
        facts[name][own] = x
  return facts
