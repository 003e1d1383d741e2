"""Programs that nobody has read, run where they can reach nothing.

What holds for a program, on Linux 5.12 or newer (x86_64, aarch64) where an
unprivileged user may make namespaces; elsewhere `Sandbox` refuses to start,
for there is no weaker level to fall back to:

    network     none, not even loopback: its own namespace, `socket` denied
    files       the interpreter and the C library, read-only; its own empty
                directory of 16 MiB in memory, gone when it ends. No /etc,
                /home, /proc, data or packages: the standard library alone
    processes   it sees none but its own and the first of its namespace, which
                its signals do not reach; it may start threads, no process
    rights      user nobody, no capability, none to be gained; the calls of
                `syscalls` are denied
    secrets     empty environment (but for a fixed hash seed), no descriptor
                but its standard three, errors to /dev/null
    limits      address space, wall time, CPU time, 1 MiB of output or of any
                file, 64 open files, about 60 threads (for the root of a
                container that has no second user, what memory holds)
    its end     everything it started is killed before the next program, or
                when this process dies, however that dies

What is not prevented: use of a hole in the kernel or in the processor, and
reading the clock, the kernel's version, and the libraries in /usr/lib.
"""

from __future__ import annotations

import functools
import json
import math
import os
import pathlib
import select
import subprocess
import sys
import time
from typing import NamedTuple

MEMORY = 256 << 20
# To set the jail up, and beyond a program's limit to clear it away.
_START_SECONDS, _GRACE_SECONDS = 60.0, 60.0
# 1 MiB of output, each byte six characters of JSON at most.
_LONGEST_ANSWER = 8 << 20
_PACKAGE = pathlib.Path(__file__).parents[2]

_PROBE = """
import os, socket
def denied(act, *arguments):
  try:
    act(*arguments)
  except OSError:
    return True
print(*[
  os.getpid() < 10 and os.getuid() == 65534,
  not any(map(os.path.lexists, ('/etc', '/proc', '/sys', '/usr/bin/env'))),
  set(os.environ) <= {'PYTHONHASHSEED', 'LC_CTYPE'},
  denied(socket.socket),
  denied(os.fork),
  denied(os.chroot, '.'),
  denied(os.mkdir, '/new'),
  denied(open, 3),
])
"""


class Unavailable(OSError):
  """There is no sandbox here; the message says what is missing."""


class Finished(NamedTuple):
  """A program that has ended.

  Attributes:
    code: exit status, negative for a signal, None at the time limit.
    output: what it printed, 1 MiB at most. Bytes that are not UTF-8 are
      U+FFFD.
    seconds: of wall time, start and clean-up included.
  """

  code: int | None
  output: str
  seconds: float


class Sandbox:
  """A jail for any number of programs, one after the other.

  Use it as a context, or call `close`.

  Args:
    memory: bytes of address space of a program.

  Raises:
    Unavailable: the kernel, or who runs it, does not allow the isolation.
  """

  def __init__(self, *, memory: int = MEMORY):
    if sys.platform != 'linux':
      raise _unavailable(f'{sys.platform} has no namespaces')
    self._memory = memory
    # Not the interpreter of a virtual environment: the jail has no such path.
    words = [os.path.realpath(sys.executable), '-S', '-P', '-B']
    self._process = subprocess.Popen(
      [*words, '-m', 'jaxrl_llm.tasks.jail'],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env={'PYTHONPATH': str(_PACKAGE)},
    )
    stdin, stdout = self._process.stdin, self._process.stdout
    assert stdin is not None and stdout is not None  # pipes, as asked for
    self._stdin, self._stdout = stdin, stdout
    try:
      self._answer(_START_SECONDS)
    except BaseException:
      self.close()
      raise

  def run(
    self, program: str, stdin: str = '', *, seconds: float = 2.0
  ) -> Finished:
    """Runs a Python program, and ends whatever is left of it.

    Args:
      program: its text; it is the file `program.py` of its directory.
      stdin: what it reads.
      seconds: of wall time; also of CPU time, rounded up.

    Raises:
      ValueError: no time.
      Unavailable: the jail itself has failed; it is closed.
    """
    if not 0 < seconds < math.inf:
      raise ValueError(f'a program needs seconds > 0 and finite, got {seconds}')
    request = {
      'program': program,
      'stdin': stdin,
      'seconds': seconds,
      'memory': self._memory,
    }
    try:
      self._stdin.write(json.dumps(request).encode() + b'\n')
      self._stdin.flush()
      return Finished(**self._answer(seconds + _GRACE_SECONDS))
    except BrokenPipeError:
      self.close()
      raise _unavailable('the jail has ended') from None
    except BaseException:
      self.close()  # An answer still to come would be taken for the next.
      raise

  def _answer(self, seconds: float) -> dict:
    """The next line, of bounded length, within bounded time."""
    end, data = time.monotonic() + seconds, bytearray()
    descriptor = self._stdout.fileno()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while not data.endswith(b'\n'):
      if not poll.poll(max(0.0, 1000 * (end - time.monotonic()))):
        raise _unavailable(f'the jail did not answer within {seconds:g} s')
      new = os.read(descriptor, 1 << 16)
      if not new or len(data) > _LONGEST_ANSWER:
        raise _unavailable('the jail has ended, or talks without end')
      data += new
    answer = json.loads(data)
    if 'error' in answer:
      raise _unavailable(answer['error'])
    return answer

  def close(self) -> None:
    """Ends the jail, with all that is in it."""
    self._process.kill()
    for pipe in (self._stdin, self._stdout):
      # What was still to be written is for nobody.
      try:
        pipe.close()
      except BrokenPipeError:
        continue
    self._process.wait()

  def __enter__(self) -> Sandbox:
    return self

  def __exit__(self, *_) -> None:
    self.close()


def _unavailable(reason: str) -> Unavailable:
  return Unavailable(
    f'no sandbox for programs: {reason}. It needs Linux 5.12 or newer, and '
    'the right to make user namespaces (sysctl user.max_user_namespaces above '
    '0, kernel.apparmor_restrict_unprivileged_userns=0 where there is such a '
    'setting, or a container whose seccomp profile allows unshare and mount)'
  )


@functools.cache
def require() -> None:
  """Asks, from the inside, whether the isolation is what it should be.

  Raises:
    Unavailable: it is not.
  """
  with Sandbox() as sandbox:
    finished = sandbox.run(_PROBE, seconds=_START_SECONDS)
  told = finished.output.split()
  if finished.code or len(told) != 8 or set(told) != {'True'}:
    raise _unavailable(f'the probe ended with {finished.code} and said {told}')
