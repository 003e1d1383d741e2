"""How `experiments.bench` talks to the process of a system it measures.

The process gets its request as one JSON argument, prepares and warms up, and
answers with one line. Then it runs one iteration for every line it reads, and
answers each with what it measured, in seconds and tokens sampled:

    {"sample": 1.2, "learn": 3.4, "step": 4.6, "tokens": 8192,
     "sample cpu": 2.1, "learn cpu": 6.5, "step cpu": 8.6}

At the end of its input it says its peak memory and ends. One process per
system, so that memory is its own; iterations on demand, so that those of two
systems alternate on a machine whose speed drifts.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any


def serve(
  prepare: Callable[[dict[str, Any]], Callable[[], dict[str, float]]],
  packages: tuple[str, ...],
) -> None:
  """The process's side.

  Args:
    prepare: from the request to a function that runs one iteration.
    packages: whose versions are reported.
  """
  answers = os.fdopen(os.dup(1), 'w')
  # Libraries print what they like; only answers may reach the caller.
  os.dup2(2, 1)

  def answer(content):
    print(json.dumps(content), file=answers, flush=True)

  iteration = prepare(json.loads(sys.argv[1]))
  started = time.perf_counter()
  iteration()
  first = time.perf_counter() - started
  # The second call may still compile: its arrays are those of the first.
  iteration()
  versions = {name: importlib.metadata.version(name) for name in packages}
  versions['python'] = platform.python_version()
  answer({'first': first, 'versions': versions})
  for _ in sys.stdin:
    answer(iteration())
  answer({'peak_bytes': peak_bytes()})


def clocks() -> tuple[float, float]:
  """Seconds by the clock, and of processors that this process has used."""
  return time.perf_counter(), time.process_time()


def since(started: tuple[float, float]) -> tuple[float, float]:
  """What has gone by since `clocks` said so."""
  wall, processor = clocks()
  return wall - started[0], processor - started[1]


def outcome(step, sample, tokens: float) -> dict[str, float]:
  """What an iteration answers; learning is all of it beside sampling.

  Args:
    step, sample: seconds by both clocks.
    tokens: sampled.
  """
  found = {'tokens': tokens}
  for unit, whole, part in zip(('', ' cpu'), step, sample):
    found[f'sample{unit}'] = part
    found[f'learn{unit}'] = whole - part
    found[f'step{unit}'] = whole
  return found


def peak_bytes() -> int:
  """The most memory that this process ever held.

  Not `ru_maxrss`, which a child takes over from its parent.
  """
  with open('/proc/self/status') as status:
    for line in status:
      if line.startswith('VmHWM:'):
        return int(line.split()[1]) * 1024
  raise OSError('/proc/self/status has no VmHWM')


def busy_seconds() -> float:
  """Processor time that the whole machine has spent so far, on anything."""
  with open('/proc/stat') as stat:
    # user, nice, system; then idle and waiting, which do not count.
    fields = stat.readline().split()[1:4]
  return sum(map(int, fields)) / os.sysconf('SC_CLK_TCK')


# Long enough to end processes of its own, such as those that verify.
_SECONDS_TO_END = 10.0


class System:
  """The caller's side: a process that is being measured."""

  def __init__(self, python: str, module: str, request: dict[str, Any]):
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    self._name = module
    self._process = subprocess.Popen(
      [python, '-m', module, json.dumps(request)],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env=os.environ | {'PYTHONPATH': root, 'JAX_PLATFORMS': 'cpu'},
    )
    stdin, stdout = self._process.stdin, self._process.stdout
    assert stdin is not None and stdout is not None  # pipes, as asked for
    self._stdin, self._stdout = stdin, stdout
    self.ready = self._answer()

  def iterate(self) -> dict[str, float]:
    self._stdin.write('\n')
    self._stdin.flush()
    return self._answer()

  def seconds(self) -> float:
    """Processor time so far, of the process and its ended children."""
    with open(f'/proc/{self._process.pid}/stat') as stat:
      # The name, in brackets, may hold blanks.
      fields = stat.read().rpartition(')')[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf('SC_CLK_TCK')

  def close(self) -> dict[str, Any]:
    """Ends the process and returns what it says last."""
    self._stdin.close()
    last = self._answer()
    with contextlib.suppress(subprocess.TimeoutExpired):
      self._process.wait(_SECONDS_TO_END)
    # Threads of a trainer may keep its process from ending.
    self.kill()
    return last

  def kill(self) -> None:
    """Ends the process, whatever it does; nothing if it has ended."""
    if self._process.poll() is None:
      self._process.kill()
      self._process.wait()

  def _answer(self):
    line = self._stdout.readline()
    if not line:
      code = self._process.wait()
      raise ChildProcessError(f'{self._name} ended with exit status {code}')
    return json.loads(line)
