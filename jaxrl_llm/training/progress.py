"""How far a run is: a bar on a terminal, lines elsewhere, both on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import tqdm

_LINE_SECONDS = 10.0  # Between two lines without a terminal.


def bar(*iterable, **options) -> tqdm.tqdm:
  """A bar of steps as wide as the terminal; silent without a terminal."""
  if sys.stderr.isatty():
    # Some terminals say that they have no size, where nothing would be shown.
    unknown = 0 in os.get_terminal_size(sys.stderr.fileno())
    size = {'ncols': 80, 'nrows': 24} if unknown else {'dynamic_ncols': True}
    options |= size
  return tqdm.tqdm(*iterable, unit='step', disable=None, **options)


class Progress:
  """A bar on a terminal, now and then a line elsewhere."""

  def __init__(self, done: int, total: int):
    self._total, self._first = total, done + 1
    self._start, self._started = done, time.monotonic()
    self._seen = self._shown = self._started
    self._bar = None
    if sys.stderr.isatty():
      self._bar = bar(initial=done, total=total)

  def show(self, line: Mapping[str, Any]) -> None:
    now = time.monotonic()
    words = [
      f'{label} {line[name]:.3f}'
      for label, name in (('reward', 'reward/mean'), ('accuracy', 'accuracy'))
      if line.get(name) is not None
    ]
    if line.get('tokens/sampled'):
      rate = line['tokens/sampled'] / max(now - self._seen, 1e-9)
      words.append(f'{rate:,.0f} tokens/s')
    self._seen = now
    step = line['step']
    if step <= self._first:
      # What is compiled and evaluated before it says nothing of what is left.
      self._start, self._started = step, now
    if self._bar is not None:
      self._bar.set_postfix_str('  '.join(words), refresh=False)
      self._bar.update(step - self._bar.n)
    elif now - self._shown >= _LINE_SECONDS or step >= self._total:
      self._shown = now
      words = [f'step {step}/{self._total}', *words, self._left(step, now)]
      print('  '.join(words), file=sys.stderr, flush=True)

  def close(self) -> None:
    if self._bar is not None:
      self._bar.close()

  def _left(self, step: int, now: float) -> str:
    if step <= self._start:
      return 'time left unknown'
    pace = (now - self._started) / (step - self._start)
    left = round(max(self._total - step, 0) * pace)
    return f'{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left'
