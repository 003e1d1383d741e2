"""The run folder: whose it is, and the right to write to it.

<workdir>/lock          held by the process that trains
<workdir>/config.json   whose run this is
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import pathlib
import shutil
import socket
from collections.abc import Collection, Mapping
from typing import Any

# What a run writes to its folder, by name.
MADE = (
  'config.json',
  'metrics.jsonl',
  'samples.jsonl',
  'eval_samples.jsonl',
  'curve.png',
  'report.html',
  'tensorboard',
  'trackers.json',
  'wandb',
  'checkpoints',
  'model',
  'warm_start',
  'export',
)
ANEW = 'give --fresh to delete this run and start anew'


class WorkdirError(ValueError):
  """The run folder cannot be used as asked; the message says the way out."""


class Lock:
  """Exclusive use of a run folder, until closed or the process ends."""

  def __init__(self, workdir: str | os.PathLike):
    """Takes the lock, making the folder if needed.

    Raises:
      WorkdirError: another run has it, or nobody may write to it.
    """
    path = pathlib.Path(workdir) / 'lock'
    self._alone = not path.parent.exists()
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      self._file = open(path, 'a+')  # noqa: SIM115, held until `close`
    except IsADirectoryError:
      raise WorkdirError(
        f'{path} is a folder, and a run keeps a file of that name; move it, or'
        ' choose another workdir'
      ) from None
    except OSError as error:
      raise WorkdirError(
        f'{workdir} cannot be written to ({error.strerror}); make it writable, '
        'or choose another workdir'
      ) from error
    try:
      fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      self._file.seek(0)
      holder = self._file.read().strip() or 'an unnamed process'
      self._file.close()
      raise WorkdirError(
        f'{workdir} is in use by {holder}; wait for it, stop it, or choose'
        ' another workdir'
      ) from None
    self._file.truncate(0)
    self._file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
    self._file.flush()
    # A forked worker shares the lock and would hold it after we are killed.
    os.register_at_fork(after_in_child=self._file.close)

  def close(self) -> None:
    """Gives the folder back."""
    self._file.close()

  def withdraw(self) -> None:
    """Gives it back and removes it, if it was made for this and is empty."""
    folder = pathlib.Path(self._file.name).parent
    if self._alone and [path.name for path in folder.iterdir()] == ['lock']:
      (folder / 'lock').unlink()
      folder.rmdir()
    self.close()

  def __enter__(self) -> Lock:
    return self

  def __exit__(self, *_) -> None:
    self.close()


def checkpoints(workdir: str | os.PathLike) -> str:
  """Where the checkpoints of a run are: in its folder, or where it says."""
  elsewhere = (_recorded(workdir) or {}).get('checkpoints')
  return elsewhere or str(pathlib.Path(workdir) / 'checkpoints')


def forked(workdir: str | os.PathLike) -> dict[str, Any] | None:
  """What a run began from, if that was another run: its folder, and more."""
  return (_recorded(workdir) or {}).get('from')


def clear(workdir: str | os.PathLike) -> None:
  """Deletes what a run has written; other files of the folder stay.

  Args:
    workdir: its `Lock` is held. One without a `config.json` is no run's, and
      keeps all it has.
  """
  folder = pathlib.Path(workdir)
  if not (folder / 'config.json').exists():
    return
  # The record last: an interrupted call can be repeated.
  for name in reversed(MADE):
    path = folder / name
    if path.is_dir():
      shutil.rmtree(path)
    else:
      path.unlink(missing_ok=True)


def check_config(
  workdir: str | os.PathLike,
  config: Mapping[str, Any],
  *,
  allowed: Collection[str] = (),
) -> None:
  """Refuses a run folder that belongs to another config.

  Args:
    workdir: the folder; one without a `config.json` belongs to nobody yet.
    config: nested mapping of what JSON can hold.
    allowed: dotted names of fields that may differ, as in
      'checkpoint.every'.

  Raises:
    WorkdirError: names the fields that differ, with both values.
  """
  record = _recorded(workdir)
  if record is None:
    return
  there = _fields(record['config'])
  here = _fields(json.loads(json.dumps(config)))
  names = sorted(
    name
    for name in {*there, *here}
    if name not in allowed and there.get(name, ...) != here.get(name, ...)
  )
  if names:
    listed = '; '.join(
      f'{name} is {_shown(there, name)} there and {_shown(here, name)} here'
      for name in names
    )
    raise WorkdirError(
      f'{workdir} belongs to another config: {listed}. Use the same config,'
      f' choose another workdir, or {ANEW}'
    )


def check_files(
  workdir: str | os.PathLike, files: Mapping[str, str], *, kind: str = 'files'
) -> None:
  """Refuses a run folder whose run began with other files.

  Args:
    workdir: as in `check_config`.
    files: the fingerprint of every file that is read, by path.
    kind: the entry of the record that holds those of the run.

  Raises:
    WorkdirError: names the files that changed, came or went.
  """
  there = (_recorded(workdir) or {}).get(kind)
  if there is None:  # Nobody's folder yet, or that of an older version.
    return
  differ = []
  for name in sorted({*there, *files}):
    if name not in there:
      differ.append(f'{name} is new')
    elif name not in files:
      differ.append(f'{name} is gone')
    elif there[name] != files[name]:
      differ.append(f'{name} has changed')
  if differ:
    raise WorkdirError(
      f'{workdir} began with other {kind}: {"; ".join(differ)}. Put back what'
      f' was there, choose another workdir, or {ANEW}'
    )


def _recorded(workdir: str | os.PathLike) -> dict[str, Any] | None:
  """What `config.json` says of a run; None where there is no such file."""
  path = pathlib.Path(workdir) / 'config.json'
  if not path.exists():
    return None
  try:
    record = json.loads(path.read_text())
    names = 'files', 'code', 'checkpoints', 'from'
    return {'config': record['config'], **{k: record.get(k) for k in names}}
  except (
    ValueError, RecursionError, KeyError, TypeError, AttributeError
  ) as error:  # fmt: skip
    raise WorkdirError(
      f'{path} cannot be read ({summary(error)}); choose another workdir'
    ) from None


def _fields(tree: Any, prefix: str = '') -> dict[str, Any]:
  """Leaves of nested dicts by dotted name; NaN as a word, to equal itself."""
  if isinstance(tree, dict) and (tree or not prefix):
    return {
      name: leaf
      for key, value in tree.items()
      for name, leaf in _fields(value, f'{prefix}{key}.').items()
    }
  if isinstance(tree, float) and math.isnan(tree):
    tree = 'nan'
  return {prefix.removesuffix('.'): tree}


def _shown(fields: Mapping[str, Any], name: str) -> str:
  return json.dumps(fields[name]) if name in fields else 'absent'


def summary(error: Exception) -> str:
  """The first words of what may be a page of tensorstore."""
  lines = str(error).strip().splitlines() or ['']
  return f'{type(error).__name__}: {lines[0][:160]}'.removesuffix(': ')
