"""How far a run is: a bar on a terminal, lines elsewhere, both on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import tqdm

from jaxrl_llm.training import programs

_LINE_SECONDS = 10.0  # Between two lines without a terminal.

# What is said of an iteration, of each the first that it has.
_SAID = (
  ('reward', ('reward/mean',)),
  ('wins', ('eval/win_rate',)),
  ('accuracy', ('accuracy', 'preference/accuracy')),
  ('KL', ('reference/kl', 'policy/kl')),
  ('entropy', ('policy/entropy',)),
  ('len', ('response/length',)),
)


def bar(*iterable, **options) -> tqdm.tqdm:
  """A bar of steps as wide as the terminal; silent without a terminal."""
  if sys.stderr.isatty():
    # Some terminals say that they have no size, where nothing would be shown.
    unknown = 0 in os.get_terminal_size(sys.stderr.fileno())
    size = {'ncols': 80, 'nrows': 24} if unknown else {'dynamic_ncols': True}
    options |= size
  return tqdm.tqdm(*iterable, unit='step', disable=None, **options)


class Progress:
  """On a terminal a bar and below it what the last iteration was like.

  Elsewhere a line now and then. While XLA compiles it says so.
  """

  def __init__(self, done: int, total: int):
    self._total, self._first = total, done + 1
    self._start, self._started = done, time.monotonic()
    self._seen = self._shown = self._started
    self._said = ''
    self._terminal = sys.stderr.isatty()
    self._bar = bar(initial=done, total=total)
    self._below = bar(bar_format='{desc}', position=1)
    self._unwatch = programs.watched(self._busy)

  def show(self, line: Mapping[str, Any]) -> None:
    now = time.monotonic()
    words = [
      f'{label} {_short(line[name])}'
      for label, names in _SAID
      for name in [next((n for n in names if line.get(n) is not None), '')]
      if name
    ]
    if line.get('tokens/sampled'):
      rate = line['tokens/sampled'] / max(now - self._seen, 1e-9)
      words.append(f'{_short(rate)} tok/s')
    self._seen = now
    step = line['step']
    if step <= self._first:
      # What is compiled and evaluated before it says nothing of what is left.
      self._start, self._started = step, now
    if self._terminal:
      self._said = '  '.join(words)
      self._below.set_description_str(self._said)
      self._bar.update(step - self._bar.n)
    elif now - self._shown >= _LINE_SECONDS or step >= self._total:
      self._shown = now
      words = [f'step {step}/{self._total}', *words, self._left(step, now)]
      print('  '.join(words), file=sys.stderr, flush=True)

  def close(self) -> None:
    self._unwatch()
    self._bar.close()
    self._below.close()

  def _busy(self, compiling: bool) -> None:
    self._below.set_description_str('compiling' if compiling else self._said)

  def _left(self, step: int, now: float) -> str:
    if step <= self._start:
      return 'time left unknown'
    pace = (now - self._started) / (step - self._start)
    left = round(max(self._total - step, 0) * pace)
    return f'{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left'


def _short(value: float) -> str:
  """In five characters or so, however large."""
  if abs(value) < 10:
    return f'{value:.3f}'
  return f'{value:.3g}' if abs(value) < 1000 else f'{value / 1000:.3g}k'
