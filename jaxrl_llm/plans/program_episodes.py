"""How episodes of programs that ask the policy over HTTP are played.

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

from typing import Any, NamedTuple

import numpy as np

from jaxrl_llm.plans import noted, requests
from jaxrl_llm.serving import ledger
from jaxrl_llm.serving.engine import Room
from jaxrl_llm.types import Prompts, Rollouts

# Why episodes of programs end, and those that do not count.
ENDS = ('done', 'requests', 'tokens', 'rows', 'seconds', 'failed')
_LOST = ('rows', 'seconds', 'failed')


class Log(NamedTuple):
  """What became of E episodes.

  Attributes:
    said: what each was told last. records: of the data, with what each program
      returned. stop: why each ended, one of `ENDS`.
    requests: of each that were answered. overruled: of them, how often
      something was asked for in vain. rows: that they made, and kept: those
      that there are places for.
  """

  said: list[str]
  records: list[dict[str, Any]]
  stop: list[str]
  requests: list[int]
  overruled: list[int]
  rows: list[int]
  kept: list[list[ledger.Row]]


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
    ledger.Ledger(tools.chat, episode, anew=host.limits.history == 'template')
    for episode in range(len(tasks))
  ]
  engine = requests.engine(tools, prompts, key, room)
  played = host.play(engine, ledgers, records)
  made = [
    noted.rows_of(ledger.in_order(each.ledger.turns), room, apart)
    for each in played
  ]
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
  return rollouts, Log(
    said=[each.said for each in played],
    records=records,
    stop=stops,
    requests=[each.requests for each in played],
    overruled=[each.overruled for each in played],
    rows=list(map(len, made)),
    kept=kept,
  )


def judged(tools, rollouts: Rollouts, log: Log, rows: int):
  """Verified episodes, every row of which has the scores of all."""
  texts = [said for said in log.said for _ in range(rows)]
  records = [record for record in log.records for _ in range(rows)]
  return tools.verify(rollouts, texts, records)
