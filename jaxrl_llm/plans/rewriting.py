"""How episodes are played whose history the template writes before every turn.

So a server without memory shows it, which leaves out what the template does,
as Qwen 3 earlier thoughts. A turn that is not behind the tokens of the one
before begins another row, and all rows of an episode count as one.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import contexts, ending, noted, opening, replies
from jaxrl_llm.serving import ledger
from jaxrl_llm.serving.engine import Room
from jaxrl_llm.tasks.environments import STOPS


def play(
  tools,
  prompts,
  key,
  *,
  samples: int,
  turns: int,
  rows: int,
  first: bool = False,
  apart: bool = False,
):
  """`samples` episodes of at most `turns` turns from each prompt.

  An episode also ends where its history leaves no room for a turn.

  Args:
    rows: of an episode. One that needs more does not count.
    first: it does, and keeps the first of them.
    apart: every turn is a row.

  Returns:
    Rollouts of `rows` rows an episode, not verified, and `turns.Turns`,
    whose columns are none.
  """
  prompts, log = opening.begin(tools, prompts, samples=samples, turns=turns)
  room = Room(prompts.tokens.shape[1], tools.columns, tools.columns // turns)
  said, last = _spoken(tools, prompts, log, room, key, samples)
  late, failed = ending.settled(tools, log, last)
  made = [_made(log, row, own, room, apart) for row, own in enumerate(said)]
  many = [not first and len(found) > rows for found in made]
  rollouts = noted.rollouts(
    tools,
    prompts,
    [found[:rows] for found in made],
    room,
    samples=samples,
    rows=rows,
    stops=[
      'rows' if more else STOPS[stop] for more, stop in zip(many, log.ended)
    ],
    late=late,
    lost=failed | many,
  )
  tools.note('episodes/rows', float(np.mean(list(map(len, made)))))
  return rollouts, log


def _spoken(tools, prompts, log, room: Room, key, samples: int):
  """What each episode says, turn by turn, and the states after it.

  Args:
    log: up to the first turn; it is filled in place.
  """
  rows, turns = log.taken.shape
  going, last = np.ones(rows, bool), [None] * rows
  said: list[list[ledger.Turn]] = [[] for _ in last]
  for turn in range(turns):
    read = {
      row: tools.written(log.talk[row, turn]) for row in np.flatnonzero(going)
    }
    for row, ids in read.items():
      if room.after(len(ids)) < room.answer:
        log.stop[row, max(turn - 1, 0)] = STOPS.index('tokens')
        going[row] = False
    if not going.any():
      break
    more = _drawn(tools, prompts, read, log, going, samples, room, key, turn)
    acting = np.flatnonzero(going)
    words = tools.read(more, {row: log.talk[row, turn] for row in acting})
    drawn = contexts.drawn(more, rows)
    for row in acting:
      each, ids = drawn[row], tuple(read[row])
      said[row].append(ledger.Turn(ids, each.ids, each.facts))
    replies.answered(tools, log, np.full(rows, turn), words, last)
    going &= log.stop[:, turn] < 0
  return said, last


def _drawn(tools, prompts, read, log, going, samples, room, key, turn):
  """The next words of all episodes; nobody reads those of ended ones."""
  first = np.flatnonzero(going)[0]
  agents = log.agent[:, turn]
  return tools.generate(
    contexts.prompts(
      [read[row if go else first] for row, go in enumerate(going)],
      room.prompt + room.response,
      jnp.repeat(prompts.task, samples),
      jnp.repeat(prompts.domain, samples),
    ),
    jax.random.fold_in(key, turn),
    1,
    most=room.answer,
    agents=np.where(going, agents, agents[first]),
  )


def _made(log, row: int, said, room: Room, apart: bool) -> list[ledger.Row]:
  """The rows of an episode, whose turns know now what they earned."""
  turns = [
    turn._replace(
      agent=int(log.agent[row, number]),
      earned=float(log.reward[row, number]),
      call=int(log.call[row, number]),
    )
    for number, turn in enumerate(said)
  ]
  return noted.rows_of(turns, room, apart)
