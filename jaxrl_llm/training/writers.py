"""What a run leaves behind for people and other programs to read.

The run folder is a contract:

    config.json      what was run; written whole or not at all
    metrics.jsonl    one object per step, keys sorted, numbers that round-trip;
                     null where a number was not finite
    samples.jsonl    one object per logged response, with its `step`
    eval_samples.jsonl   likewise, of answers in evaluation
    tensorboard/     the metrics again, as TensorBoard events
    curve.png        the learning curve so far

Equal inputs give equal bytes in the `.jsonl` files, but for the metrics
named `time/*`, which read a clock. Lines are flushed one by one. A run that
resumes at step s drops what its predecessor logged after s, so its files end
as those of an uninterrupted run.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import pathlib
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from jaxrl_llm.training import curve, progress
from jaxrl_llm.training import trackers as trackers_lib

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_CURVE_SECONDS = 30.0  # Between two drawings, which take about half a second.


class DiskFull(OSError):
  """The file system has no room; what was complete before still is."""


class Run:
  """Writes the run folder, one step after the other, and shows progress."""

  def __init__(
    self,
    workdir: str | os.PathLike,
    *,
    total_steps: int,
    resume_step: int | None = None,
    quiet: bool = False,
    trackers: trackers_lib.All | None = None,
  ):
    """Opens the files of a run.

    Args:
      workdir: the run folder; made if absent.
      total_steps: iterations of the whole run, for the time left.
      resume_step: the step of the checkpoint the run goes on from; what was
        logged later is dropped. None starts anew and drops everything.
      quiet: shows no progress.
      trackers: dashboards that get the same.

    Raises:
      DiskFull: there is no room for the files.
    """
    self._workdir = pathlib.Path(workdir)
    self._last = -1 if resume_step is None else resume_step
    with says_disk_full(self._workdir):
      self._workdir.mkdir(parents=True, exist_ok=True)
      self._metrics = _Lines(self._workdir / 'metrics.jsonl', self._last)
      self._samples = _Lines(self._workdir / 'samples.jsonl', self._last)
      self._answers = _Lines(self._workdir / 'eval_samples.jsonl', self._last)
      self._events = _Events(self._workdir / 'tensorboard', self._last + 1)
    self._history = read(self._workdir / 'metrics.jsonl')
    self._trackers = trackers or trackers_lib.All({})
    self._progress = None
    if not quiet:
      self._progress = progress.Progress(max(self._last, 0), total_steps)
    self._drawn = time.monotonic()

  def log(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Writes the metrics of one step and moves the progress bar.

    Args:
      step: finished iterations; 0 is before training. It grows.
      metrics: scalars by name. The bar shows `reward/mean` and `accuracy`,
        and counts `tokens/sampled` by the clock.

    Raises:
      ValueError: the step was logged before.
      TypeError: a metric is no scalar.
      DiskFull: no room; the files end with the step before.
    """
    if step <= self._last:
      raise ValueError(
        f'step {step} was logged before: the last one was {self._last}; log'
        ' all metrics of a step in one call'
      )
    line: dict[str, int | float | None] = {'step': int(step)}
    for name, value in metrics.items():
      line[name] = _scalar(name, value)
    with says_disk_full(self._workdir):
      self._metrics.append([line])
      self._events.append(line)
    self._last = step
    self._history.append(line)
    self._trackers.log(step, line)
    if self._progress is not None:
      self._progress.show(line)
    if time.monotonic() - self._drawn > _CURVE_SECONDS:
      self.draw()

  def samples(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes responses to look at, one line each, before their step's `log`.

    Args:
      step: the step they belong to.
      rows: what JSON can hold, arrays and NumPy scalars included.

    Raises:
      DiskFull: no room; none of the rows is in the file.
    """
    self._show(self._samples, 'samples', step, rows)

  def answers(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
    """Likewise, answers in evaluation."""
    self._show(self._answers, 'eval_samples', step, rows)

  def _show(self, lines: _Lines, name: str, step: int, rows) -> None:
    shown = [{'step': int(step), **_jsonable(row)} for row in rows]
    with says_disk_full(self._workdir):
      lines.append(shown)
    self._trackers.table(step, name, shown)

  def draw(self) -> None:
    """Draws the learning curve of all steps so far to `curve.png`."""
    with says_disk_full(self._workdir):
      picture = curve.png(self._history, self._workdir.resolve().name)
      _replace(self._workdir / 'curve.png', picture)
    self._drawn = time.monotonic()

  def sync(self) -> None:
    """Returns when all lines are on disk; call it before a checkpoint."""
    with says_disk_full(self._workdir):
      self._metrics.sync()
      self._samples.sync()
      self._answers.sync()
      self._events.flush()

  def close(self) -> None:
    """Draws the last curve and closes the files."""
    if self._progress is not None:
      self._progress.close()
    self.sync()
    self.draw()
    self._metrics.close()
    self._samples.close()
    self._answers.close()
    self._events.close()
    self._trackers.close()


def write_config(workdir: str | os.PathLike, record: Mapping[str, Any]) -> None:
  """Writes `config.json`, whole or not at all.

  Args:
    workdir: the run folder; made if absent.
    record: what JSON can hold. Its field 'config' is what a later run in the
      same folder is compared with. Infinity is written as Python's json does.

  Raises:
    DiskFull: there is no room.
  """
  text = json.dumps(dict(record), indent=2, sort_keys=True) + '\n'
  folder = pathlib.Path(workdir)
  with says_disk_full(folder):
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / 'config.json', text.encode())


def write_lines(
  path: str | os.PathLike, rows: Iterable[Mapping[str, Any]]
) -> None:
  """Writes a `.jsonl` file of rows, whole or not at all.

  Args:
    rows: what JSON can hold, arrays and NumPy scalars included.

  Raises:
    DiskFull: there is no room.
  """
  file = pathlib.Path(path)
  with says_disk_full(file.parent):
    _replace(file, _text([_jsonable(row) for row in rows]))


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
  """The objects of a `.jsonl` file; a torn last line is left out."""
  with open(path, 'rb') as file:
    lines = (_parsed(line) for line in file)
    return [line for line in lines if line is not None]


class _Lines:
  """A file of JSON objects that ends with a whole line, come what may."""

  def __init__(self, path: pathlib.Path, last: int):
    self._path = path
    _drop_after(path, last)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    self._file = os.open(path, flags, 0o666)

  def append(self, objects: Sequence[Mapping[str, Any]]) -> None:
    data = memoryview(_text(objects))
    status = os.fstat(self._file)
    if not status.st_nlink:
      # Lines of a file without a name would be lost without a word.
      raise FileNotFoundError(
        errno.ENOENT,
        f'{self._path} was deleted while the run wrote to it. Put the folder '
        'back, or run the same command again: it goes on from the newest '
        'checkpoint that is left',
      )
    end = status.st_size
    try:
      while data:
        data = data[os.write(self._file, data) :]
    except OSError:
      os.ftruncate(self._file, end)
      raise

  def sync(self) -> None:
    os.fsync(self._file)

  def close(self) -> None:
    os.close(self._file)


def _text(objects: Iterable[Mapping[str, Any]]) -> bytes:
  text = ''.join(
    json.dumps(each, sort_keys=True, ensure_ascii=False, allow_nan=False) + '\n'
    for each in objects
  )
  # A sampled byte sequence may decode to a lone surrogate, which UTF-8 lacks;
  # the backslash form is how JSON spells it.
  return text.encode(errors='backslashreplace')


def _drop_after(path: pathlib.Path, last: int) -> None:
  """Removes lines of later steps, and torn ones, from a file."""
  if not path.exists():
    return
  kept, dropped = [], 0
  with open(path, 'rb') as file:
    for raw in file:
      line = _parsed(raw)
      if line is not None and line['step'] <= last:
        kept.append(raw)
      else:
        dropped += 1
  if dropped:
    logging.info('dropped %d lines after step %d of %s', dropped, last, path)
    _replace(path, b''.join(kept))


def _parsed(raw: bytes) -> dict[str, Any] | None:
  """The object of a whole line, None for one that a crash has torn."""
  try:
    line = json.loads(raw) if raw.endswith(b'\n') else None
  except (ValueError, RecursionError):
    return None
  known = isinstance(line, dict) and isinstance(line.get('step'), int)
  return line if known else None


def _replace(path: pathlib.Path, data: bytes) -> None:
  """Writes a file so that a reader, or a crash, sees the old or the new."""
  fresh = path.with_name(f'.{path.name}.tmp')
  try:
    with open(fresh, 'wb') as file:
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    os.replace(fresh, path)
  except OSError:
    fresh.unlink(missing_ok=True)
    raise


class _Events:
  """TensorBoard events, written where they are made.

  The usual writer of tensorboardX queues them for a thread, which dies of a
  full disk and leaves the queue to block the run.
  """

  def __init__(self, folder: pathlib.Path, purge_step: int):
    from tensorboardX import event_file_writer
    from tensorboardX.proto import event_pb2, summary_pb2

    folder.mkdir(exist_ok=True)
    self._event, self._summary = event_pb2.Event, summary_pb2.Summary
    # Names hold the second, and are read in their order. A number before it
    # keeps that order when the clock is set back, and a quick restart from
    # writing over its predecessor. What `purge_step` drops from older files is
    # hidden.
    count = len(list(folder.iterdir()))
    self._writer = event_file_writer.EventsWriter(
      str(folder / f'events.{count:04}')
    )
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._write(session_log=start, step=purge_step)
    self.flush()

  def append(self, line: Mapping[str, Any]) -> None:
    values = [
      self._summary.Value(tag=name, simple_value=value)
      for name, value in sorted(line.items())
      if name != 'step' and value is not None
    ]
    self._write(summary=self._summary(value=values), step=line['step'])
    self.flush()

  def flush(self) -> None:
    self._writer.flush()

  def close(self) -> None:
    self._writer.close()

  def _write(self, **fields) -> None:
    self._writer.write_event(self._event(wall_time=time.time(), **fields))


def _scalar(name: str, value: Any) -> int | float | None:
  """A Python number that reads back equal; None where it is not finite."""
  array = np.asarray(value)
  number = array.item() if not array.shape else array
  if not isinstance(number, (int, float)):
    raise TypeError(
      f'metric {name!r} is {array.dtype}{list(array.shape)}; metrics are'
      ' scalar numbers'
    )
  return _jsonable(number)


def _jsonable(value: Any) -> Any:
  """The value as plain Python; numbers that are not finite become None."""
  if isinstance(value, Mapping):
    return {str(name): _jsonable(item) for name, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [_jsonable(item) for item in value]
  if hasattr(value, 'tolist'):
    return _jsonable(np.asarray(value).tolist())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def check_room(folder: str | os.PathLike, size: int) -> None:
  """Refuses to begin what would not fit.

  Args:
    folder: on the disk in question; while it is absent nothing is known.
    size: bytes to be written.

  Raises:
    OSError: there are fewer, as the disk itself would say it.
  """
  try:
    free = shutil.disk_usage(folder).free
  except FileNotFoundError:
    return
  if free < size:
    raise OSError(errno.ENOSPC, f'{size} bytes are needed and {free} free')


@contextlib.contextmanager
def says_disk_full(folder: str | os.PathLike) -> Iterator[None]:
  """Turns whatever a full disk raises into one sentence, `DiskFull`."""
  try:
    yield
  except Exception as error:
    # Array storage reports the condition by its text alone.
    no_room = getattr(error, 'errno', None) in _NO_ROOM or any(
      os.strerror(code) in str(error) for code in _NO_ROOM
    )
    if not no_room or isinstance(error, DiskFull):
      raise
    raise DiskFull(
      errno.ENOSPC,
      f'no room left on the disk of {folder}: free some and run the same'
      ' command again, it goes on from the newest checkpoint',
    ) from error
