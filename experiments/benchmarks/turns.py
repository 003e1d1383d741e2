"""Lets a trainer that owns its loop run one iteration at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from experiments.benchmarks import protocol


class Turns:
  """A trainer in a thread of its own, which waits before every iteration.

  The trainer calls `begin` where an iteration starts, `count` for what it
  sampled, and `end` where it has ended; `sampling` wraps what samples. The
  caller calls `iterate`.
  """

  def __init__(self):
    self._go: queue.Queue[None] = queue.Queue()
    self._done: queue.Queue[BaseException | None] = queue.Queue()
    self._sampled, self._tokens = (0.0, 0.0), 0.0

  def start(self, train: Callable[[], None]) -> Callable[[], dict[str, float]]:
    """Starts the trainer and returns `iterate`."""

    def run():
      try:
        train()
        self._done.put(RuntimeError('the trainer ended before it was asked to'))
      except BaseException as error:  # `iterate` raises it.
        self._done.put(error)

    # A daemon: the trainer waits for ever when nobody asks any more.
    threading.Thread(target=run, daemon=True).start()
    return self.iterate

  def begin(self) -> None:
    self._go.get()
    self._sampled, self._tokens = (0.0, 0.0), 0.0

  def end(self) -> None:
    self._done.put(None)

  def count(self, tokens: float) -> None:
    """Says that responses of so many tokens were sampled."""
    self._tokens += tokens

  def sampling(self, generate: Callable) -> Callable:
    """`generate` with its time measured; it must return what is finished."""

    def timed(*args, **kwargs):
      started = protocol.clocks()
      result = generate(*args, **kwargs)
      wall, processor = protocol.since(started)
      before = self._sampled
      self._sampled = before[0] + wall, before[1] + processor
      return result

    return timed

  def iterate(self) -> dict[str, float]:
    started = protocol.clocks()
    self._go.put(None)
    error = self._done.get()
    if error is not None:
      raise error
    return protocol.outcome(
      protocol.since(started), self._sampled, self._tokens
    )
