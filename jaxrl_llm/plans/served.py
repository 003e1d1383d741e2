"""Episodes of programs that ask the policy over HTTP.

Each episode is one run of a program on a record of the data. What it asks is
answered by the compiled sampler, and the tokens that were read and drawn become
rows: one, where every request goes on from the one before, and else as many as
there are conversations. What the program paid its answers, and returned, is in
the record that the verifiers get, as 'return', which the verifier `returned`
passes on; they judge the last thing that it was told. All rows of an episode
share its scores.

What is random in an answer is a function of the iteration's key, the episode,
the tokens before the answer, and how often these were asked there before. So
rows depend neither on when programs ask nor on what is answered beside them.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxrl_llm.plans import noted, requests
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.serving import ledger as ledger_lib
from jaxrl_llm.serving import programs
from jaxrl_llm.serving.engine import Room
from jaxrl_llm.types import Prompts, Rollouts

# Why episodes of programs end, and those that do not count.
_ENDS = ('done', 'requests', 'tokens', 'rows', 'seconds', 'failed')
_LOST = ('rows', 'seconds', 'failed')


class Log(NamedTuple):
  """What became of E episodes.

  Attributes:
    said: what each was told last. records: of the data, with what each program
      returned. stop: why each ended, a name of `STOPS`.
    requests: of each that were answered. overruled: of them, how often
      something was asked for in vain. rows: that they made.
  """

  said: list[str]
  records: list[dict[str, Any]]
  stop: list[str]
  requests: list[int]
  overruled: list[int]
  rows: list[int]


@dataclasses.dataclass(frozen=True)
class Served(Plan):
  """Episodes of a program, of one row each or several.

  Rows that an episode does not need are not valid, nor are those of episodes
  that failed, were late, or needed more. The extras are those of `noted`, and,
  where every request is a row, those of `by_turn.Steps`. A step is then the
  place of a request among those of its episode, by how much it reads; who
  acts is told by tools and system, and a state is the tokens before the answer.

  Attributes:
    samples: episodes of a prompt. rows: the most of an episode.
    columns: numeric fields of the data, provided as extras f32[N].
    apart: every request is a row, also one that goes on from another.
  """

  samples: int = 8
  rows: int = 1
  columns: tuple[str, ...] = ()
  apart: bool = False

  @property
  def contract(self):
    return Contract(
      self.samples * self.rows,
      asks={'program'},
      provides=noted.provided(self.apart) | {*self.columns},
      columns=self.columns,
      one_prompt=False,
    )

  def collect(self, tools, prompts, state, key):
    rollouts, log = play(
      tools,
      prompts,
      key,
      samples=self.samples,
      rows=self.rows,
      apart=self.apart,
    )
    _note(tools, log, self.rows)
    return *judged(tools, rollouts, log, self.rows), state


def play(
  tools,
  prompts: Prompts,
  key,
  *,
  samples: int,
  rows: int,
  first: bool = False,
  apart: bool = False,
):
  """`samples` episodes of the run's program from each prompt.

  Args:
    rows: of an episode. One that needs more does not count.
    first: it does, and keeps the first of them.
    apart: every request is a row.

  Returns:
    Rollouts of `rows` rows an episode, not verified, and the `Log`.
  """
  tasks = np.repeat(np.asarray(prompts.task), samples)
  records = [dict(record) for record in tools.rows(tasks)]
  host = tools.program
  room = Room(
    prompts.tokens.shape[1],
    tools.columns,
    min(host.limits.answer or tools.columns, tools.columns),
  )
  ledgers = [
    ledger_lib.Ledger(
      tools.chat, episode, anew=host.limits.history == 'template'
    )
    for episode in range(len(tasks))
  ]
  engine = requests.engine(tools, prompts, key, room)
  played = host.play(engine, ledgers, records)
  made = [_made(each.ledger.turns, room, apart) for each in played]
  stops = []
  for each, found in zip(played, made):
    many = not first and len(found) > rows and each.stop not in _LOST
    stops.append('rows' if many else each.stop)
  for record, each in zip(records, played):
    earned = sum(turn.earned for turn in each.ledger.turns)
    if each.reward is not None or earned:
      record['return'] = (each.reward or 0.0) + earned
  # One that does not count keeps the rows that there are places for.
  kept = [found[:rows] for found in made]
  rollouts = noted.rollouts(
    tools,
    prompts,
    kept,
    room,
    samples=samples,
    rows=rows,
    stops=stops,
    late=[stop != 'done' for stop in stops],
    lost=[stop in _LOST for stop in stops],
  )
  if apart:
    rollouts = rollouts.with_extras(**_steps(kept, samples, rows))
  return rollouts, Log(
    said=[each.said for each in played],
    records=records,
    stop=stops,
    requests=[each.requests for each in played],
    overruled=[each.overruled for each in played],
    rows=list(map(len, made)),
  )


def _made(turns, room: Room, apart: bool) -> list[ledger_lib.Row]:
  """The rows of an episode."""
  if not apart:
    return ledger_lib.rows(turns, room.fits)
  return noted.apart(ledger_lib.in_order(turns))


def _steps(made, samples: int, rows: int):
  """The extras of `by_turn.Steps`, of rows of one request each."""
  count = len(made) * rows
  names: dict[Any, int] = {}
  arrays = {
    'trajectory': np.repeat(np.arange(len(made)) % samples, rows),
    'step': np.tile(np.arange(rows), len(made)),
    **{name: np.zeros(count, int) for name in ('agent', 'anchor', 'node')},
  }
  earned = np.zeros(count, np.float32)
  for episode, found in enumerate(made):
    for number, row in enumerate(found, episode * rows):
      [(_, turn)] = row.turns
      earned[number] = turn.earned
      for name, what in (
        ('agent', turn.agent),
        ('anchor', turn.ids),
        ('node', (turn.ids, turn.said)),
      ):
        arrays[name][number] = names.setdefault((name, what), len(names))
  ids = {name: jnp.asarray(x, jnp.int32) for name, x in arrays.items()}
  return ids | {'step_reward': jnp.asarray(earned)}


def judged(tools, rollouts: Rollouts, log: Log, rows: int):
  """Verified episodes, every row of which has the scores of all."""
  texts = [said for said in log.said for _ in range(rows)]
  records = [record for record in log.records for _ in range(rows)]
  return tools.verify(rollouts, texts, records)


def _note(tools, log: Log, rows: int) -> None:
  """Metrics of episodes, and what to do where they need more rows."""
  for name in _ENDS:
    share = np.mean([stop == name for stop in log.stop])
    tools.note(f'stop/{name}', float(share))
  tools.note('programs/requests', float(np.mean(log.requests)))
  tools.note('programs/rows', float(np.mean(log.rows)))
  overruled = sum(log.overruled) / max(sum(log.requests), 1)
  tools.note('programs/overruled', overruled)
  if 'rows' in log.stop:
    logging.log_every_n_seconds(
      logging.WARNING,
      '%d of %d episodes made more than %d rows, up to %d, and do not count; '
      'raise serve.rows, or recipe.turns where every request is a row, or '
      'sample.max_response if one conversation is longer',
      programs.WARN_EVERY,
      log.stop.count('rows'),
      len(log.stop),
      rows,
      max(log.rows),
    )
