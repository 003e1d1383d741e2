"""The process that runs verifiers for `Pool`, one item at a time.

It imports no JAX, takes items from a connection until that closes, and for
each sends ["started"] once the verifier is loaded, then its outcome, as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from multiprocessing.connection import Connection

from jaxrl_llm.tasks import verifiers

# Beyond the limit at which the pool kills: this alarm only ends a worker whose
# pool is gone and whose verifier hangs.
ORPHAN_SECONDS = 1.0
# Characters of an error message that are told.
DETAIL = 2000


def _load(spec: str) -> None:
  try:
    verifiers.resolve(spec)
  except (Exception, SystemExit):
    # Not lost: `score` meets the same error and reports it with its row.
    return


def _send(connection: Connection, message: list) -> None:
  connection.send_bytes(json.dumps(message).encode())


def main(descriptor: int, seconds: float, memory: int) -> None:
  """Serves until the pool closes the connection.

  Args:
    descriptor: of the connection, inherited from the pool.
    seconds: time limit of one item.
    memory: bytes of private memory that a verifier may take.
  """
  os.set_inheritable(descriptor, False)
  _, hard = resource.getrlimit(resource.RLIMIT_DATA)
  soft = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
  resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
  with Connection(descriptor) as connection:
    while True:
      try:
        spec, response, row = connection.recv()
      except EOFError:
        return
      _load(spec)
      _send(connection, ['started'])
      # Left at its default action, the alarm ends the process even where the
      # verifier hangs outside the interpreter.
      signal.setitimer(signal.ITIMER_REAL, seconds + ORPHAN_SECONDS)
      kind, score, detail = verifiers.score(spec, response, row)
      signal.setitimer(signal.ITIMER_REAL, 0)
      try:
        _send(connection, [kind, score, detail[:DETAIL]])
      except BrokenPipeError:
        return


if __name__ == '__main__':
  main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
