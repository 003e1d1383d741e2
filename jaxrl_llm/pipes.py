"""Commands whose output somebody stops to read, as `| head` does."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from collections.abc import Iterator

# What a shell says of a program that ended so.
UNREAD = 141


@contextlib.contextmanager
def unread() -> Iterator[None]:
  """Ends the process without a word once nobody reads what it prints.

  The exit code is `UNREAD`, since what came after the last line read may not
  have been done. A broken pipe to anybody else is raised as usual.
  """
  try:
    yield
  except BrokenPipeError:
    if not _gone():
      raise
    sys.exit(UNREAD)
  except SystemExit:
    if _gone():
      sys.exit(UNREAD)
    raise
  if _gone():
    sys.exit(UNREAD)


def _gone() -> bool:
  """Whether what was printed reaches nobody."""
  try:
    number = sys.stdout.fileno()
  except (AttributeError, io.UnsupportedOperation):
    return False  # Closed from the start, or no file.
  with contextlib.suppress(BrokenPipeError):
    sys.stdout.flush()
  # What was too long for the buffer is no longer in it: a flush may succeed.
  asked = select.poll()
  asked.register(number, 0)
  gone = any(event & select.POLLERR for _, event in asked.poll(0))
  if gone:
    # Python flushes once more at its end, and complains if that fails.
    with open(os.devnull, 'w') as nothing:
      os.dup2(nothing.fileno(), number)
  return gone
