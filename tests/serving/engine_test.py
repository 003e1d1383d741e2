"""Requests that wait, in batches."""

import random
import threading
import time

import pytest

from jaxrl_llm.serving import engine as engine_lib

ROOM = engine_lib.Room(4, 8, 6)


def drawn(ask):
  return engine_lib.Drawn(ask.ids[:2], {'logp': [0.0, -1.0]}, False)


def answered(asks, size=2, widths=(4, 11)):
  """Answers to many threads, and the batches in which they were written."""
  batches, left = [], len(asks)

  def write(batch, width):
    batches.append((width, [len(ask.ids) for ask in batch]))
    return [drawn(ask) for ask in batch]

  engine = engine_lib.Engine(write, ROOM, widths, size)
  found = {}

  def ask(number):
    nonlocal left
    time.sleep(random.random() / 50)
    found[number] = engine.submit(asks[number], number).result(9)
    left -= 1
    engine.wake()

  threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(asks))]
  for thread in threads:
    thread.start()
  engine.run(lambda: left)
  for thread in threads:
    thread.join()
  return found, batches


def test_all_are_answered_in_batches_of_one_width():
  asks = [tuple(range(n, 2 * n)) for n in (2, 3, 4, 5, 6, 7, 8, 9, 10)]
  found, batches = answered(asks)
  assert {n: d.ids for n, d in found.items()} == {
    n: ids[:2] for n, ids in enumerate(asks)
  }
  for width, lengths in batches:
    assert len(lengths) <= 2
    assert {4 if n <= 4 else 11 for n in lengths} == {width}


def test_who_asks_together_is_answered_together():
  engine = engine_lib.Engine(
    lambda batch, width: [drawn(ask) for ask in batch], ROOM, (11,), 4
  )
  futures = [engine.submit((1, 2), n) for n in range(4)]
  sizes = []
  write = engine._write
  engine._write = lambda batch, width: (
    sizes.append(len(batch)) or write(batch, width)
  )
  engine.run(lambda: sum(not each.done() for each in futures))
  assert sizes == [4]


def test_what_goes_wrong_reaches_all_who_wait():
  def write(batch, width):
    raise MemoryError('no room')

  engine = engine_lib.Engine(write, ROOM, (4, 11), 1)
  futures = [engine.submit(tuple(range(n)), n) for n in (2, 9)]
  with pytest.raises(MemoryError):
    engine.run(lambda: 2)
  for future in futures:
    with pytest.raises(MemoryError):
      future.result(0)


def test_nobody_alive_ends_it():
  engine_lib.Engine(None, ROOM, (11,), 1).run(lambda: 0)


def test_room_is_of_rows():
  assert [ROOM.after(n) for n in (1, 4, 5, 6, 7, 11, 12)] == [
    *(6, 6, 6, 6, 5, 1, 0)
  ]
  assert ROOM.fits(2, 10) and not ROOM.fits(2, 11)
  assert ROOM.fits(9, 12) and not ROOM.fits(9, 13)
  # What may be drawn behind a request alone fits a row.
  for read in range(1, 12):
    assert ROOM.fits(read, read + ROOM.after(read))


def test_shortened_is_what_a_smaller_budget_draws():
  whole = engine_lib.Drawn((1, 2, 3), {'logp': [0.1, 0.2, 0.3]}, False)
  assert whole.shortened(3) is whole
  assert whole.shortened(2) == ((1, 2), {'logp': [0.1, 0.2]}, True)
