"""Processes that run verifiers and tools, each item under limits.

Not `multiprocessing`: its children import the main module again, and with it
JAX, and forking after JAX has started threads can deadlock. A worker here is a
fresh interpreter in a session of its own, so that Ctrl-C does not reach it and
one signal ends it with everything it started. Verifiers may do anything in
there, so what comes back is read as data of bounded length: outcomes as JSON,
and what they print as bytes, of which the first `SHOWN_BYTES` are shown.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import math
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

# Start of an interpreter and import of the verifier's module, which the limit
# of an item leaves out.
START_SECONDS = 120.0
# Of float32; rewards are added up in it.
LARGEST = float.fromhex('0x1.fffffep+127')
# Of all that the verifiers of a pool print; the rest is dropped.
SHOWN_BYTES = 1 << 20
_READ_BYTES = 1 << 16
# Of JSON, beside what a detail takes, of which a character may take six.
_MESSAGE_BYTES = 1 << 16

# Of it, what a score may take where there are several.
_SCORE_BYTES = 32

Job = tuple[str, Any, Mapping[str, Any]]
# Responses and rows that are judged in one call.
Batch = tuple[str, list[str], list[Mapping[str, Any]]]
Outcome = tuple[str, float, str]


class _Printed:
  """Passes on what workers print, until it has been enough."""

  def __init__(self):
    self._left = SHOWN_BYTES

  def pass_on(self, pipe: int) -> bool:
    """Whether there may be more to read, now or later."""
    try:
      data = os.read(pipe, _READ_BYTES)
    except BlockingIOError:
      return False
    shown = data[: self._left]
    if self._left and len(shown) == self._left:
      shown += b'\n... further output of verifiers is left out\n'
    self._left -= min(self._left, len(data))
    with contextlib.suppress(OSError):  # nobody reads our standard error
      os.write(2, shown)
    return bool(data)


@dataclasses.dataclass(eq=False)
class _Worker:
  process: subprocess.Popen
  connection: multiprocessing.connection.Connection
  output: IO[bytes]
  printed: _Printed
  job: int = -1
  started: bool = False
  prints: bool = True
  # Rows of a batch; 0: one row by itself.
  count: int = 0
  deadline: float = 0.0
  # A pool may be closed while another thread waits for its workers.
  ending: Any = dataclasses.field(default_factory=threading.RLock)
  code: int | None = None

  def kill(self) -> int:
    """Ends the worker and its children, once, and leaves no zombie."""
    with self.ending:
      if self.code is None:
        self.code = self._kill()
      return self.code

  def _kill(self) -> int:
    with contextlib.suppress(ProcessLookupError, PermissionError):
      os.killpg(self.process.pid, signal.SIGKILL)
    self.connection.close()
    code = self.process.wait()
    # Its last words say why it died. What it started may hold the pipe open.
    for _ in range(SHOWN_BYTES // _READ_BYTES):
      if not self.printed.pass_on(self.output.fileno()):
        break
    self.output.close()
    return code


def reward(what: str, value: float) -> float:
  """A number that float32 holds, in which rewards are added up.

  Raises:
    ValueError: it is not finite there.
  """
  if not abs(float(value)) <= LARGEST:
    raise ValueError(f'{what} {value}, which float32 does not hold')
  return float(value)


def _outcome(message: bytes, count: int) -> Any:
  """What a worker says of an item.

  Args:
    count: rows of a batch, 0 for one row by itself.

  Raises:
    ValueError, RecursionError: it is no outcome; a verifier got at the wire.
  """
  match json.loads(message):
    case ['ok' | 'errors' as kind, [*scores], str(text)] if count:
      numbers = all(type(score) in (int, float) for score in scores)
      if numbers and len(scores) == count * (kind == 'ok'):
        return kind, [float(score) for score in scores], text
    case ['ok' | 'errors' | 'nan' as kind, int() | float() as score, str(text)]:
      if math.isfinite(score) and not count:
        return kind, float(score), text
  raise ValueError(f'no outcome: {message[:80]!r}')


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
    runs: 'module:function' of what runs there, see `worker`.
    longest: characters of what an outcome says beside its score.

  Raises:
    ValueError: a limit or a number of workers that is not positive.
  """

  def __init__(
    self,
    workers: int = 2,
    seconds: float = 5.0,
    memory: int = 4 << 30,
    *,
    runs: str = 'jaxrl_llm.tasks.verifiers:score',
    longest: int = 2000,
  ):
    for name, value in (
      ('workers', workers),
      ('seconds', seconds),
      ('memory', memory),
    ):
      if not value > 0:
        raise ValueError(f'a verifier pool needs {name} > 0, got {value}')
    self._size, self._seconds, self._memory = workers, seconds, memory
    self._runs, self._longest = runs, longest
    self._printed = _Printed()
    self._workers: list[_Worker] = []
    # Also at interpreter exit, and without keeping the pool alive.
    self.close = weakref.finalize(self, _kill_all, self._workers)

  def map(
    self,
    jobs: Sequence[Job | Batch],
    ended: Callable[[int], None] = lambda job: None,
  ) -> list[Any]:
    """Outcomes of (verifier, response, row) jobs, in order.

    An outcome is (kind, score, detail); beside the kinds of
    `verifiers.score` it is 'timeouts' (killed at the limit) or 'crashes' (the
    worker died, or could not be started). Nothing a verifier does raises.

    Of a batch the score is a list of as many where the kind is 'ok'; they need
    not be finite.

    Args:
      ended: called with the number of each job when it has ended.
    """
    if not self.close.alive:
      raise ValueError('the verifier pool is closed')
    outcomes: list[Any] = [('crashes', 0.0, '')] * len(jobs)
    pending = collections.deque(range(len(jobs)))
    idle = self._alive()
    busy: dict[multiprocessing.connection.Connection, _Worker] = {}
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
            ended(job)
        for worker, outcome in self._finished(busy):
          outcomes[worker.job] = outcome
          ended(worker.job)
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
    limits = (self._seconds, self._memory, self._longest)
    words = [str(descriptor), *map(str, limits), self._runs]
    with theirs:
      try:
        process = subprocess.Popen(
          [sys.executable, '-P', '-m', 'jaxrl_llm.tasks.worker', *words],
          stdin=subprocess.DEVNULL,
          stdout=subprocess.PIPE,
          stderr=subprocess.STDOUT,
          env=environment,
          pass_fds=(descriptor,),
          start_new_session=True,
        )
      except OSError:
        ours.close()
        raise
    output = process.stdout
    assert output is not None  # a pipe, as asked for
    os.set_blocking(output.fileno(), False)
    worker = _Worker(process, ours, output, self._printed)
    self._workers.append(worker)
    return worker

  def _send(self, worker: _Worker, index: int, job: Job | Batch) -> None:
    worker.job, worker.started = index, False
    worker.count = len(job[2]) if isinstance(job[2], list) else 0
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

  def _limit(self, worker: _Worker) -> float:
    return self._seconds * max(worker.count, 1)

  def _finished(self, busy) -> list[tuple[_Worker, Any]]:
    """Waits for the next event; workers that are done, with outcomes."""
    now = time.monotonic()
    wait = max(0.0, min(w.deadline for w in busy.values()) - now)
    pipes = [w.output for w in busy.values() if w.prints]
    ready = multiprocessing.connection.wait([*busy, *pipes], wait)
    for worker in busy.values():
      if worker.output in ready:
        worker.prints = worker.printed.pass_on(worker.output.fileno())
    answered = [connection for connection in busy if connection in ready]
    finished: list[tuple[_Worker, Any]] = []
    for connection in answered:
      worker = busy[connection]
      try:
        longest = 6 * self._longest + _SCORE_BYTES * worker.count
        message = connection.recv_bytes(_MESSAGE_BYTES + longest)
        outcome = _outcome(message, worker.count) if worker.started else None
      except (EOFError, OSError, ValueError, RecursionError):
        code = self._end(worker)
        # The worker's own alarm may come first when this process is late.
        kind = 'timeouts' if code == -signal.SIGALRM else 'crashes'
        detail = f'the process ended with status {code}'
        finished.append((worker, (kind, 0.0, detail)))
        continue
      if outcome is not None:
        finished.append((worker, outcome))
      else:
        worker.started = True
        worker.deadline = time.monotonic() + self._limit(worker)
    now = time.monotonic()
    for connection, worker in busy.items():
      if connection not in answered and worker.deadline <= now:
        self._end(worker)
        limit = self._limit(worker) if worker.started else START_SECONDS
        detail = f'no answer within {limit:g} s'
        finished.append((worker, ('timeouts', 0.0, detail)))
    return finished

  def __enter__(self) -> Pool:
    return self

  def __exit__(self, *_) -> None:
    self.close()
