"""Requests that wait, answered several at once by a compiled sampler.

An answer is a function of the parameters, of its tokens and of its identity.
Programs of other shapes round otherwise, so the shape in which a request is
written is a function of its own length: every batch is filled up to one size,
and requests are batched with those that are as wide.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

# For how long the first of several requests waits for others.
LINGER = 0.02


class Drawn(NamedTuple):
  """Tokens behind a request.

  Attributes:
    ids: of the answer. facts: arrays with an entry for each, by name.
    cut: whether the budget ended it.
  """

  ids: tuple[int, ...]
  facts: Mapping[str, Any]
  cut: bool

  def shortened(self, count: int) -> Drawn:
    """Its first tokens: what a smaller budget would have drawn."""
    if count >= len(self.ids):
      return self
    facts = {name: x[:count] for name, x in self.facts.items()}
    return Drawn(self.ids[:count], facts, True)


class Room(NamedTuple):
  """The columns of a row.

  Attributes:
    prompt: P, of tokens before the first that was drawn.
    response: T, of the others, and of what of those does not fit.
    answer: that are drawn for a request at most.
  """

  prompt: int
  response: int
  answer: int

  def after(self, read: int) -> int:
    """Tokens that can be drawn behind so many; not positive: it is full."""
    left = self.response - max(read - self.prompt, 0)
    return min(left, self.answer)

  def fits(self, first: int, length: int) -> bool:
    """Whether a row holds `length` tokens, the first drawn one at `first`."""
    return length - min(first, self.prompt) <= self.response


class Completes(Protocol):
  """What answers requests. Attributes: room: of a row."""

  room: Room

  def submit(self, ids: Sequence[int], identity: int) -> Future[Drawn]:
    """What is drawn behind these tokens, by the key of that identity."""


class Ask(NamedTuple):
  """A request that waits. Attributes: since: when it came, in seconds."""

  ids: tuple[int, ...]
  identity: int
  answer: Future[Drawn]
  since: float


class Engine:
  """Answers requests of many threads in the one that calls `run`.

  Args:
    write: f(asks, width) -> what is drawn for each of up to `size` requests of
      at most `width` tokens, whatever the others are.
    room: of a row.
    widths: that requests are read in, ascending; the last holds any.
    size: requests of a batch.
  """

  def __init__(
    self,
    write: Callable[[Sequence[Ask], int], Sequence[Drawn]],
    room: Room,
    widths: Sequence[int],
    size: int,
  ):
    self.room, self._write = room, write
    self._widths, self._size = tuple(widths), size
    self._waiting: list[Ask] = []
    self._changed = threading.Condition()

  def submit(self, ids: Sequence[int], identity: int) -> Future[Drawn]:
    """The answer to come; from any thread."""
    ask = Ask(tuple(ids), identity, Future(), time.monotonic())
    with self._changed:
      self._waiting.append(ask)
      self._changed.notify()
    return ask.answer

  def wake(self) -> None:
    """Lets `run` look again who is alive."""
    with self._changed:
      self._changed.notify()

  def run(self, alive: Callable[[], int]) -> None:
    """Answers until nobody who asks is alive.

    Args:
      alive: how many there are.

    Raises:
      Exception: that of `write`, which all who wait get, too.
    """
    while True:
      with self._changed:
        self._changed.wait_for(lambda: self._waiting or not alive())
        if not alive():
          return
        self._gather(alive)
        batch, width = self._next()
      try:
        found = self._write(batch, width)
      except BaseException as error:
        for ask in (*batch, *self._waiting):
          ask.answer.set_exception(error)
        raise
      for ask, drawn in zip(batch, found, strict=True):
        ask.answer.set_result(drawn)

  def _gather(self, alive: Callable[[], int]) -> None:
    """Waits a little for others to ask, who are then answered together."""
    until = self._waiting[0].since + LINGER
    while len(self._waiting) < min(self._size, alive()):
      left = until - time.monotonic()
      if left <= 0 or not self._changed.wait(left):
        return

  def _next(self) -> tuple[list[Ask], int]:
    """The request that waits longest, and others that are as wide."""
    width = self._width(self._waiting[0])
    batch = [ask for ask in self._waiting if self._width(ask) == width]
    batch = batch[: self._size]
    self._waiting = [ask for ask in self._waiting if ask not in batch]
    return batch, width

  def _width(self, ask: Ask) -> int:
    return next(width for width in self._widths if len(ask.ids) <= width)
