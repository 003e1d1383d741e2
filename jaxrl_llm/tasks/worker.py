"""The process that runs what a `Pool` runs, one item at a time.

It imports no JAX, takes items from a connection until that closes, and for
each sends ["started"] once the verifier is loaded, then its outcome, as JSON.
What runs is a function f(spec, given, row) -> (kind, score, detail), beside a
function `resolve(spec)` that loads what it needs. Where `row` is a list of
several, so is the score, and it has the time of all of them.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

# Beyond the limit at which the pool kills: this alarm only ends a worker whose
# pool is gone and whose verifier hangs.
ORPHAN_SECONDS = 1.0


def _load(resolve: Callable[[str], Any], spec: str) -> None:
  try:
    resolve(spec)
  except (Exception, SystemExit):
    # Not lost: what runs meets the same error and reports it with its row.
    return


def _send(connection: Connection, message: list) -> None:
  connection.send_bytes(json.dumps(message).encode())


def main(
  descriptor: int, seconds: float, memory: int, longest: int, runs: str
) -> None:
  """Serves until the pool closes the connection.

  Args:
    descriptor: of the connection, inherited from the pool.
    seconds: time limit of one item.
    memory: bytes of private memory that it may take.
    longest: characters of a detail that are told.
    runs: 'module:function'.
  """
  module, _, name = runs.partition(':')
  runner = importlib.import_module(module)
  os.set_inheritable(descriptor, False)
  _, hard = resource.getrlimit(resource.RLIMIT_DATA)
  soft = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
  resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
  with Connection(descriptor) as connection:
    while True:
      try:
        spec, given, row = connection.recv()
      except EOFError:
        return
      _load(runner.resolve, spec)
      _send(connection, ['started'])
      # Left at its default action, the alarm ends the process even where the
      # verifier hangs outside the interpreter.
      count = len(row) if isinstance(row, list) else 1
      signal.setitimer(signal.ITIMER_REAL, seconds * count + ORPHAN_SECONDS)
      kind, score, detail = getattr(runner, name)(spec, given, row)
      signal.setitimer(signal.ITIMER_REAL, 0)
      try:
        _send(connection, [kind, score, detail[:longest]])
      except BrokenPipeError:
        return


if __name__ == '__main__':
  _, descriptor, seconds, memory, longest, runs = sys.argv
  main(int(descriptor), float(seconds), int(memory), int(longest), runs)
