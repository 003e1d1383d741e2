"""Answers behind what was read for them, as rows of arrays.

Where every answer is drawn behind tokens of its own, of a program's request or
of a history that is written anew, rows are found when all is said: the fewest
in which every answer stands behind what it was drawn behind. Their extras are

    episode          i32[N], which one a row is of, in [0, N)
    stop             i32[N], why it ended, a place in `environments.STOPS`
    turn             i32[N, T], the answer of its row that was begun last
    action_end       bool[N, T], the last tokens of answers
    decision_reward  f32[N, T], what was paid for them, on their tokens
    tool_calls       i32[N], answers of its episode that called tools whose
                     results came back
    tool_start       i32[N], the column where the first of its row begins, or -1
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import by_turn, given
from jaxrl_llm.plans import turns as turns_lib
from jaxrl_llm.serving.engine import Drawn, Room
from jaxrl_llm.serving.ledger import Row, Turn
from jaxrl_llm.tasks.environments import STOPS
from jaxrl_llm.types import Array, Prompts, Rollouts

# Where answers are in a row, and what they earned.
_PLACES = ('turn', 'action_end', 'decision_reward')
_FACTS = ('logp', 'log_mass', 'support')


def provided(apart: bool) -> frozenset[str]:
  """The extras; where every answer is a row, with those of `by_turn.Steps`."""
  own = {'episode', 'stop', *_PLACES, 'tool_calls', 'tool_start'}
  return by_turn.Steps().contract.provides | own if apart else frozenset(own)


def apart(turns: Iterable[Turn]) -> list[Row]:
  """Every turn as a row of its own."""
  return [
    Row((*turn.ids, *turn.said), ((len(turn.ids), turn),)) for turn in turns
  ]


def prompts(
  contexts: Sequence[Sequence[int]], width: int, task: Array, domain: Array
) -> Prompts:
  """Tokens to answer behind, in rows of one width."""
  tokens = np.zeros((len(contexts), width), np.int32)
  mask = np.zeros((len(contexts), width), bool)
  for row, ids in enumerate(contexts):
    tokens[row, width - len(ids) :] = ids
    mask[row, width - len(ids) :] = True
  return Prompts(
    tokens=jnp.asarray(tokens),
    mask=jnp.asarray(mask),
    task=task,
    domain=domain,
  )


def drawn(rollouts: Rollouts, count: int) -> list[Drawn]:
  """What was drawn in the first `count` rows."""
  known = {'logp': rollouts.logp, **rollouts.extras}
  facts = {name: np.asarray(known[name]) for name in _FACTS if name in known}
  ids, length, cut = (
    np.asarray(x)
    for x in (rollouts.content.response, rollouts.length, rollouts.truncated)
  )
  return [
    Drawn(
      tuple(ids[row, : length[row]].tolist()),
      {name: x[row, : length[row]] for name, x in facts.items()},
      bool(cut[row]),
    )
    for row in range(count)
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
  _fill(blank, numbered, room)
  said = _answers(blank, numbered, room)
  filled = blank.replace(
    logp=said.pop('logp'),
    valid=blank.valid & ~np.repeat(np.asarray(lost, bool), rows),
    paid=np.where(said['action_end'], said['decision_reward'], 0.0),
    truncated=np.repeat(np.asarray(late, bool), rows),
  ).with_extras(
    **said,
    episode=np.repeat(np.arange(len(made), dtype=np.int32), rows),
    stop=np.repeat([STOPS.index(x) for x in stops], rows).astype(np.int32),
  )
  return _with_calls(tools, jax.tree.map(jnp.asarray, filled), made, rows, room)


def _fill(blank, numbered, room: Room) -> None:
  """Puts the tokens of rows into empty ones, in place."""
  content = blank.content
  content.prompt[:], content.prompt_mask[:] = 0, False
  for number, row in numbered:
    cut = min(row.first, room.prompt)
    content.prompt[number, room.prompt - cut :] = row.ids[:cut]
    content.prompt_mask[number, room.prompt - cut :] = True
    rest = len(row.ids) - cut
    content.response[number, :rest] = row.ids[cut:]
    blank.response_mask[number, :rest] = True


def _answers(blank, numbered, room: Room) -> dict[str, np.ndarray]:
  """[N, T, ...] by name: where answers are, and what is known of them.

  Their tokens become actions of the rows, in place.
  """
  shape = blank.action_mask.shape
  turns = np.zeros(shape, np.int32)
  ends, earned = np.zeros(shape, bool), np.zeros(shape, np.float32)
  facts = {name: np.zeros(shape, np.float32) for name in ('logp', 'log_mass')}
  for number, row in numbered:
    cut = min(row.first, room.prompt)
    for at, (begins, turn) in enumerate(row.turns):
      own = slice(begins - cut, begins - cut + len(turn.said))
      blank.action_mask[number, own] = True
      turns[number, own.start :] = at
      ends[number, own.stop - 1] = True
      earned[number, own] = turn.earned
      for name, x in turn.facts.items():
        if name not in facts:
          wide = (*shape, *np.shape(x)[1:])
          empty = given.EMPTY[name]
          facts[name] = np.full(wide, empty, np.asarray(x).dtype)
        facts[name][number, own] = x
  return facts | dict(zip(_PLACES, (turns, ends, earned)))


def _with_calls(tools, rollouts: Rollouts, made, rows, room) -> Rollouts:
  """The rows with the extras that say where tools were called."""
  count = len(made) * rows
  calls, at, start, end = np.zeros((4, count), np.int32) - [[0], [1], [1], [1]]
  for episode, found in enumerate(made):
    calls[episode * rows : (episode + 1) * rows] = sum(
      turn.call >= 0 for row in found for _, turn in row.turns
    )
    for number, row in enumerate(found, episode * rows):
      called = [pair for pair in row.turns if pair[1].call >= 0]
      if called:
        begins, turn = called[0]
        begins -= min(row.first, room.prompt)
        at[number], start[number] = turn.call, begins
        end[number] = begins + len(turn.said)
  found = {
    'tool_calls': jnp.asarray(calls, jnp.int32),
    'tool_start': turns_lib.begun(tools, rollouts, at, start, end),
  }
  return rollouts.with_extras(**found)
