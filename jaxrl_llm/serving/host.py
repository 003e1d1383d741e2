"""Programs run beside a server that answers them."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import logging

from jaxrl_llm.serving import programs
from jaxrl_llm.serving.engine import Engine
from jaxrl_llm.serving.ledger import Ledger
from jaxrl_llm.serving.server import Server
from jaxrl_llm.tasks import pool as pool_lib


class Played(NamedTuple):
  """An episode of a program.

  Attributes:
    ledger: what it asked. stop: why it ended, a place of its name in
      `tasks.environments.STOPS`.
    reward: what the program returned, None for nothing.
    said: what it was told last. requests: that were answered.
    overruled: of them, how often something was asked for in vain.
  """

  ledger: Ledger
  stop: str
  reward: float | None
  said: str
  requests: int
  overruled: int


class Host:
  """Runs a program on records, each in a process that is killed when late.

  Attributes:
    compiled: whether what answers has been tried in all of its shapes.

  Args:
    spec: of the program, `package.module:function`.
    limits: of an episode.

  Raises:
    ValueError: no such program, or limits that mean nothing.
  """

  def __init__(self, spec: str, limits: programs.Limits):
    programs.resolve(spec)
    self._spec, self.limits = spec, limits.checked()
    self.compiled = False
    self._pool = pool_lib.Pool(
      limits.workers,
      limits.seconds,
      runs='jaxrl_llm.serving.programs:outcome',
    )
    self.close = self._pool.close

  def play(
    self,
    engine: Engine,
    ledgers: Sequence[Ledger],
    records: Sequence[Mapping[str, Any]],
  ) -> list[Played]:
    """An episode on each record, answered by an engine in this thread."""
    left = len(records)
    with (
      Server(engine, self.limits) as server,
      concurrent.futures.ThreadPoolExecutor(1) as thread,
    ):
      episodes = [server.begin(ledger) for ledger in ledgers]

      def ended(job):
        nonlocal left
        # What it left behind must not go on asking.
        server.end(episodes[job])
        left -= 1
        engine.wake()

      def run():
        nonlocal left
        try:
          return self._pool.map(
            [
              (self._spec, (server.url, episode.key), record)
              for episode, record in zip(episodes, records, strict=True)
            ],
            ended,
          )
        finally:
          left = 0
          engine.wake()

      running = thread.submit(run)
      try:
        engine.run(lambda: min(left, self.limits.workers))
      except BaseException:
        # Nobody answers those that still ask.
        self.close()
        raise
      outcomes = running.result()
    self._tell(episodes, outcomes)
    return [_played(*pair) for pair in zip(episodes, outcomes, strict=True)]

  def _tell(self, episodes, outcomes: Sequence[pool_lib.Outcome]) -> None:
    """Logs the first failure of a program, and what it had been refused."""
    failed = [
      f'{detail}; it was refused: {episode.refused}'
      if episode.refused
      else detail
      for episode, (kind, _, detail) in zip(episodes, outcomes)
      if kind != 'ok'
    ]
    if failed:
      logging.log_every_n_seconds(
        logging.WARNING,
        '%d of %d episodes of %s failed; the first: %s',
        programs.WARN_EVERY,
        len(failed),
        len(outcomes),
        self._spec,
        failed[0],
      )


def _played(episode, outcome: pool_lib.Outcome) -> Played:
  """What became of an episode.

  A program whose requests were refused because it had spent what it may, and
  which raises then, earned nothing, like one that gives up.
  """
  kind, reward, detail = outcome
  stop = episode.limit or 'done'
  earned: float | None = reward if detail == programs.REWARD else None
  if kind == 'timeouts':
    stop = 'seconds'
  elif kind == 'errors' and episode.limit:
    earned = 0.0
  elif kind != 'ok' or not episode.ledger.turns:
    stop = 'failed'
  return Played(
    episode.ledger,
    stop,
    earned,
    episode.said,
    episode.requests,
    episode.overruled.total(),
  )
