"""How many programs this process has loaded, and how many it compiled.

Every function has a program for each shape of its arguments. A run that keeps
loading them after its first iterations lets a shape vary, and a second start
that compiles what the first one did has lost its cache: `time/compile` in the
metrics shows the one, the last line of a run the other.

What a compiler frees, the process keeps unless it is asked; see `give_back`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax

_LOWERED = '/jax/core/compile/jaxpr_to_mlir_module_duration'
_LOADED = '/jax/core/compile/backend_compile_duration'
_FOUND = '/jax/compilation_cache/cache_hits'

# Seconds from which a program was large enough to leave something behind.
_LARGE = 1.0


class Count(NamedTuple):
  """What was loaded up to some moment; `later - earlier` is what since.

  Attributes:
    loaded: programs. found: of which in the cache on disk.
    seconds: that compiling them, or reading them from there, took.
  """

  loaded: int = 0
  found: int = 0
  seconds: float = 0.0

  def __sub__(self, earlier: Count) -> Count:
    return Count(
      self.loaded - earlier.loaded,
      self.found - earlier.found,
      self.seconds - earlier.seconds,
    )

  @property
  def compiled(self) -> int:
    """Programs that no cache held."""
    return self.loaded - self.found


def count() -> Count:
  """Since the first call, which begins to count."""
  return _watch()[0]


def watched(busy: Callable[[bool], None]) -> Callable[[], None]:
  """Calls `busy` as XLA begins and ends to make a program; returns an end."""
  _watch()
  _WATCHERS.append(busy)
  return lambda: _WATCHERS.remove(busy)


def give_back() -> None:
  """Gives freed memory back to the system, where the C library can.

  glibc keeps it in pieces, from which the large arrays of a run are not made:
  0.7 GB after the sampler and the learner of a model of 30 layers.
  """
  # Not every C library has this function, nor every system a C library.
  with contextlib.suppress(AttributeError, OSError, TypeError):
    ctypes.CDLL(None).malloc_trim(0)


_WATCHERS: list[Callable[[bool], None]] = []


@functools.cache
def _watch() -> list[Count]:
  """The one count of the process: listeners are never taken away."""
  total = [Count()]

  def loaded(event, duration_secs, **_):
    if event in (_LOWERED, _LOADED):
      for busy in _WATCHERS:
        busy(event == _LOWERED)
    if event == _LOADED:
      if duration_secs > _LARGE:
        give_back()
      n = total[0]
      seconds = n.seconds + duration_secs
      total[0] = n._replace(loaded=n.loaded + 1, seconds=seconds)

  def found(event, **_):
    if event == _FOUND:
      total[0] = total[0]._replace(found=total[0].found + 1)

  jax.monitoring.register_event_duration_secs_listener(loaded)
  jax.monitoring.register_event_listener(found)
  return total
