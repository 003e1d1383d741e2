"""Processes that run verifiers, each item under a limit of time and memory.

Not `multiprocessing`: its children import the main module again, and with it
JAX, and forking after JAX has started threads can deadlock. A worker here is a
fresh interpreter in a session of its own, so that Ctrl-C does not reach it and
one signal ends it with everything it started.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

# Start of an interpreter and import of the verifier's module, which the limit
# of an item leaves out.
START_SECONDS = 120.0

Job = tuple[str, str, Mapping[str, Any]]
Outcome = tuple[str, float, str]


@dataclasses.dataclass(eq=False)
class _Worker:
  process: subprocess.Popen
  connection: multiprocessing.connection.Connection
  job: int = -1
  started: bool = False
  deadline: float = 0.0

  def kill(self) -> int:
    """Ends the worker and its children, and leaves no zombie."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
      os.killpg(self.process.pid, signal.SIGKILL)
    self.connection.close()
    return self.process.wait()


def _kill_all(workers: list[_Worker]) -> None:
  while workers:
    workers.pop().kill()


class Pool:
  """Workers that are started when first needed, and replaced when killed.

  Args:
    workers: processes.
    seconds: time limit of one item.
    memory: bytes of private memory of one worker; what needs more raises
      MemoryError there.

  Raises:
    ValueError: a limit or a number of workers that is not positive.
  """

  def __init__(
    self, workers: int = 2, seconds: float = 5.0, memory: int = 4 << 30
  ):
    for name, value in (
      ('workers', workers),
      ('seconds', seconds),
      ('memory', memory),
    ):
      if not value > 0:
        raise ValueError(f'a verifier pool needs {name} > 0, got {value}')
    self._size, self._seconds, self._memory = workers, seconds, memory
    self._workers: list[_Worker] = []
    # Also at interpreter exit, and without keeping the pool alive.
    self.close = weakref.finalize(self, _kill_all, self._workers)

  def map(self, jobs: Sequence[Job]) -> list[Outcome]:
    """Outcomes of (verifier, response, row) jobs, in order.

    An outcome is (kind, score, detail); beside the kinds of
    `verifiers.score` it is 'timeouts' (killed at the limit) or 'crashes' (the
    worker died, or could not be started). Nothing a verifier does raises.
    """
    if not self.close.alive:
      raise ValueError('the verifier pool is closed')
    outcomes: list[Outcome] = [('crashes', 0.0, '')] * len(jobs)
    pending = collections.deque(range(len(jobs)))
    idle, busy = self._alive(), {}
    try:
      while pending or busy:
        while pending and len(busy) < self._size:
          job = pending.popleft()
          try:
            worker = idle.pop() if idle else self._start()
            self._send(worker, job, jobs[job])
            busy[worker.connection] = worker
          except Exception as error:  # no memory, or a row without a pickle
            outcomes[job] = 'crashes', 0.0, f'not sent: {error}'
        for worker, outcome in self._finished(busy):
          outcomes[worker.job] = outcome
          del busy[worker.connection]
          if worker in self._workers:
            idle.append(worker)
    finally:
      # Interrupted: an answer still to come would be taken for the next one.
      for worker in busy.values():
        self._end(worker)
    return outcomes

  def _alive(self) -> list[_Worker]:
    """Idle workers, without those that something else has killed."""
    for worker in list(self._workers):
      if worker.process.poll() is not None:
        self._end(worker)
    return list(self._workers)

  def _start(self) -> _Worker:
    ours, theirs = multiprocessing.connection.Pipe()
    # A verifier that imports JAX must not take the accelerator's memory.
    environment = os.environ | {
      'PYTHONPATH': os.pathsep.join(sys.path),
      'JAX_PLATFORMS': 'cpu',
    }
    descriptor = theirs.fileno()
    limits = (str(descriptor), str(self._seconds), str(self._memory))
    with theirs:
      try:
        process = subprocess.Popen(
          [sys.executable, '-P', '-m', 'jaxrl_llm.tasks.worker', *limits],
          stdin=subprocess.DEVNULL,
          stdout=2,  # what verifiers print must not mix with results
          env=environment,
          pass_fds=(descriptor,),
          start_new_session=True,
        )
      except OSError:
        ours.close()
        raise
    worker = _Worker(process, ours)
    self._workers.append(worker)
    return worker

  def _send(self, worker: _Worker, index: int, job: Job) -> None:
    worker.job, worker.started = index, False
    worker.deadline = time.monotonic() + START_SECONDS
    try:
      worker.connection.send(job)
    except BaseException:
      self._end(worker)
      raise

  def _end(self, worker: _Worker) -> int:
    if worker in self._workers:
      self._workers.remove(worker)
    return worker.kill()

  def _finished(self, busy) -> list[tuple[_Worker, Outcome]]:
    """Waits for the next event; workers that are done, with outcomes."""
    now = time.monotonic()
    wait = max(0.0, min(w.deadline for w in busy.values()) - now)
    ready = multiprocessing.connection.wait(list(busy), wait)
    finished = []
    for connection in ready:
      worker = busy[connection]
      try:
        message = connection.recv()
      except (EOFError, OSError):
        code = self._end(worker)
        # The worker's own alarm may come first when this process is late.
        kind = 'timeouts' if code == -signal.SIGALRM else 'crashes'
        detail = f'the verifier process ended with status {code}'
        finished.append((worker, (kind, 0.0, detail)))
        continue
      if worker.started:
        finished.append((worker, message))
      else:
        worker.started = True
        worker.deadline = time.monotonic() + self._seconds
    now = time.monotonic()
    for connection, worker in busy.items():
      if connection not in ready and worker.deadline <= now:
        self._end(worker)
        limit = self._seconds if worker.started else START_SECONDS
        detail = f'no answer within {limit:g} s'
        finished.append((worker, ('timeouts', 0.0, detail)))
    return finished

  def __enter__(self) -> Pool:
    return self

  def __exit__(self, *_) -> None:
    self.close()
