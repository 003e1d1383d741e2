"""Which process of a run has fallen silent, said by those that wait for it.

Where a process ends, its connections close and the others know. One that is
stopped, or whose host is frozen, keeps them open: the others would wait in a
collective for ever. So each says every now and then that it lives, in the
store that JAX keeps on the first process.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Protocol

# What a process ends with where another fell silent: EX_TEMPFAIL of
# sysexits.h, since the same command may succeed.
STATUS = 75
_ALIVE, _VERDICT = 'jaxrl_llm/alive/', 'jaxrl_llm/silent/'
_LEFT = 'left'


class Store(Protocol):
  """Text by key, the same for all; what a client of JAX's service can do."""

  def key_value_set(self, key: str, value: str, allow_overwrite: bool):
    """Keeps a text by its key."""

  def key_value_dir_get(self, prefix: str) -> list[tuple[str, str]]:
    """Keys that begin so, and their texts."""


class Watch:
  """Tells where another process says nothing for too long.

  The first process reads of all others whether they live, and writes down who
  does not. The others read that, and whether the first one answers.

  Args:
    store: of the run. index: of this process. count: of all.
    seconds: of silence that end the run. Time in which this process itself was
      stopped is not counted.
    end: called once, with the index of the silent one and with the seconds
      that the rest may need to hear of it too.
  """

  def __init__(
    self,
    store: Store,
    index: int,
    count: int,
    seconds: float,
    end: Callable[[int, float], None],
  ):
    self._store, self._index, self._end = store, index, end
    self._seconds = seconds
    self._pause = min(seconds / 20, 5.0)
    watched = range(1, count) if index == 0 else (0,)
    self._silence = dict.fromkeys(watched, 0.0)
    self._last: dict[int, str] = {}
    self._verdict: int | None = None
    self._over = threading.Event()
    self._talking = threading.Thread(target=self._talk, daemon=True)
    self._judging = threading.Thread(target=self._judge, daemon=True)

  def start(self) -> None:
    """Watches until `stop`, or the end of the interpreter."""
    # A thread inside JAX while the interpreter ends would abort the process.
    atexit.register(self.stop)
    self._talking.start()
    self._judging.start()

  def stop(self) -> None:
    """No longer watches, and is not watched."""
    self._over.set()
    for thread in (self._talking, self._judging):
      if thread is not threading.current_thread():
        thread.join(timeout=2 * self._pause + 1)

  def _talk(self):
    """Says that this process lives and reads of the others; may hang."""
    spoken = 0
    try:
      while not self._over.is_set():
        spoken += 1
        self._say(str(spoken))
        if self._index == 0:
          for key, value in self._store.key_value_dir_get(_ALIVE):
            self._heard(int(key.rpartition('/')[2]), value)
        else:
          said = self._store.key_value_dir_get(_VERDICT)
          self._heard(0, str(spoken))
          if said:
            self._verdict = int(said[0][1])
        self._over.wait(self._pause)
      self._say(_LEFT)
    except Exception:
      # The service is gone, of which JAX itself tells.
      self._over.set()

  def _say(self, text):
    self._store.key_value_set(f'{_ALIVE}{self._index}', text, True)

  def _heard(self, index, value):
    if index in self._silence and self._last.get(index) != value:
      self._last[index] = value
      self._silence[index] = 0.0

  def _judge(self):
    """Counts its own turns, not the clock: it may have been stopped itself."""
    while not self._over.wait(self._pause):
      for index in self._silence:
        if self._last.get(index) != _LEFT:
          self._silence[index] += self._pause
      longest = max(self._silence, key=self._silence.__getitem__)
      if self._verdict is None and self._silence[longest] >= self._seconds:
        self._verdict = longest
        if self._index == 0:
          self._store.key_value_set(f'{_VERDICT}0', str(longest), True)
      if self._verdict is not None:
        # The first stays longest: without its store JAX ends the others.
        self._end(self._verdict, self._pause * (3 if self._index == 0 else 1))
        return


def sentence(silent: int, count: int, seconds: float) -> str:
  """What a user is told of a process that fell silent."""
  return (
    f'error: process {silent + 1} of {count} has been silent for {seconds:g} '
    's, as one that is stopped or whose host is frozen; once it is gone, the '
    'same command goes on from the newest checkpoint'
  )


def ending(count: int, seconds: float) -> Callable[[int, float], None]:
  """An `end` that prints the sentence and ends this process with STATUS."""

  def end(silent, wait):
    print(sentence(silent, count, seconds), file=sys.stderr, flush=True)
    threading.Event().wait(wait)
    sys.stdout.flush()
    os._exit(STATUS)

  return end
