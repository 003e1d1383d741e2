"""Records as people have them: files, folders, datasets of Hugging Face.

    FILE.jsonl       a JSON object a line; so is a file without an ending
    FILE.json        a list of objects, or an object a line
    FILE.csv         a line of names, and one of texts for each record
    FILE.parquet     a row a record, with the extra `data`
    FILE.arrow       likewise, as `save_to_disk` of datasets writes it
    FOLDER           its files, all of one kind and of one split, or a dataset
                     that was saved there
    OWNER/NAME       a dataset of the Hugging Face hub, with the extra `data`;
                     all of it, or, streamed, some of its rows

A split is train, validation or test. Of a folder it is what the names of its
files say: `dev.jsonl`, `gsm8k_test.csv`, `train-00000-of-00002.parquet`.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import hashlib
import itertools
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from absl import logging

from jaxrl_llm import hub

Row = dict[str, Any]
# What stands before a record, for messages: 'file:line', or the like.
Placed = tuple[str, Row]
SPLITS = {
  'train': ('train', 'training'),
  'validation': ('validation', 'valid', 'val', 'dev'),
  'test': ('test', 'testing', 'eval', 'evaluation'),
}
# Beside the folders of a saved `datasets.DatasetDict`, names their splits.
_SAVED = 'dataset_dict.json'
_SHARD = re.compile(r'-\d+-of-\d+$')
_HUB = re.compile(r'\w[\w.-]*/\w[\w.-]*')
# Characters of a cell; a worked solution is longer than what `csv` allows.
_LARGEST_CELL = 1 << 30


def exists(path: str | os.PathLike) -> bool:
  """Whether a path names a file or folder, be it there or not."""
  return os.path.exists(path) or pathlib.Path(path).suffix in _READERS


def on_hub(path: str | os.PathLike) -> bool:
  """Whether it names a dataset of the hub: OWNER/NAME, and nothing is there."""
  return not exists(path) and _HUB.fullmatch(str(path)) is not None


def read(
  path: str | os.PathLike,
  *,
  subset: str = '',
  split: str = '',
  rows: int = 0,
  stream: int = 0,
  seed: int = 0,
) -> Iterator[tuple[str, str, Row]]:
  """The records of a file, a folder or a dataset of the hub, in their order.

  Args:
    path: files of a folder are read in the order of their names.
    subset: of a dataset of the hub, such as main of openai/gsm8k.
    split: of a folder or of a dataset of the hub, which takes 'train[:100]',
      too. '' is train where there are several.
    rows: the first ones alone; 0: all.
    stream: of a dataset of the hub, of which no more is read than these rows
      need: they are drawn from a buffer of so many, each replaced by the next.
      1 is their order; 0 keeps the whole on disk.
    seed: of the draws from the buffer, and of the order of the files behind it.

  Yields:
    (place, source, record): where it stands, for messages; the name of the
    file, or of the dataset, without its ending; and the record.

  Raises:
    ValueError: it is not there, holds nothing to read, has no such split, or
      a record that cannot be read; naming place and reason.
    ModuleNotFoundError: the extra `data` is needed, and not installed.
  """
  limit = rows or None
  if subset and not on_hub(path):
    raise ValueError(
      f'{path} has no subset {subset!r}: of all sources datasets of the hub '
      'have some; leave it out'
    )
  if on_hub(path):
    name = str(path)
    source = name.partition('/')[2]
    rows_of_hub = _of_hub(name, subset, split, rows, stream, seed)
    for number, row in enumerate(itertools.islice(rows_of_hub, limit)):
      yield f'{name}, row {number}', source, _without_nulls(row)
    return
  if stream:
    raise ValueError(
      f'{path}:stream={stream} would do nothing: files are read up to rows= in '
      'any case, and of all sources only datasets of the hub are streamed; '
      'leave it out'
    )
  found = (
    (place, _SHARD.sub('', file.stem), record)
    for file in files(path, split)
    for place, record in _records(file)
  )
  yield from itertools.islice(found, limit)


def files(path: str | os.PathLike, split: str = '') -> list[pathlib.Path]:
  """The file itself, or those of a folder, in the order of their names.

  Args:
    split: which files of a folder; '' is train where they name several.

  Raises:
    ValueError: a folder without any, of several kinds, or without the split.
  """
  folder = pathlib.Path(path)
  if not folder.is_dir():
    if split:
      raise ValueError(
        f'{folder} is no folder, and has no split {split!r}; leave it out'
      )
    return [folder]
  if (folder / _SAVED).is_file():
    return _saved(folder, split)
  found = _of_one_kind(folder)
  of: dict[str, list[pathlib.Path]] = {}
  for file in found:
    of.setdefault(_split_of(file), []).append(file)
  named = sorted(of.keys() - {''})
  if split:
    if split not in named:
      known = f'those of {", ".join(named)}' if named else 'none of any'
      raise ValueError(
        f'{folder} holds no files of the split {split!r}, but {known}; name '
        'another, or leave it out'
      )
    return of[split]
  if len(named) < 2:
    return found
  if '' in of or 'train' not in of:
    listed = ', '.join(file.name for file in found)
    raise ValueError(
      f'{folder} holds files of the splits {", ".join(named)}, which are never '
      f'read as one ({listed}); say which with data.split={named[0]}, or name '
      'a file'
    )
  _say_train_is_read(folder, named)
  return of['train']


def _of_one_kind(folder: pathlib.Path) -> list[pathlib.Path]:
  """The files of a folder that hold records."""
  here = sorted(file for file in folder.iterdir() if file.suffix in _READERS)
  kinds = sorted({file.suffix for file in here})
  # Beside data, JSON describes them.
  if len(kinds) > 1 and '.json' in kinds:
    kinds.remove('.json')
  if len(kinds) == 1:
    return [file for file in here if file.suffix == kinds[0]]
  if kinds:
    raise ValueError(
      f'the folder {folder} holds files of several kinds ({", ".join(kinds)}), '
      'which may be the same twice; name one file, or keep one kind'
    )
  below = sorted(
    {
      str(file.parent)
      for suffix in _READERS
      for file in folder.glob(f'*/*{suffix}')
    }
  )
  raise ValueError(
    f'the folder {folder} holds no {", ".join("*" + x for x in _READERS)} file'
    + (f'; {below[0]} does' if below else '')
  )


def _saved(folder: pathlib.Path, split: str) -> list[pathlib.Path]:
  """The files of one split of a saved `DatasetDict`, a folder for each."""
  named = sorted(json.loads((folder / _SAVED).read_bytes())['splits'])
  chosen = split or (named[0] if len(named) == 1 else 'train')
  if chosen not in named:
    raise ValueError(
      f'{folder} holds the splits {", ".join(named)}; say which with '
      f'data.split={named[0]}'
    )
  if not split and len(named) > 1:
    _say_train_is_read(folder, named)
  return files(folder / chosen)


def _say_train_is_read(folder: pathlib.Path, named: list[str]) -> None:
  logging.warning(
    '%s holds the splits %s: train is read, and the others are not. Held-out '
    'questions may be data.held_out_path=%s:split=%s',
    folder,
    ', '.join(named),
    folder,
    next(name for name in named if name != 'train'),
  )


def _split_of(file: pathlib.Path) -> str:
  words = re.split(r'[^a-z]+', file.stem.lower())
  for split, names in SPLITS.items():
    if set(names) & set(words):
      return split
  return ''


def _records(file: pathlib.Path) -> Iterator[Placed]:
  if not file.is_file():
    raise ValueError(f'there is no file {file}')
  if file.suffix and file.suffix not in _READERS:
    raise ValueError(
      f'{file} is of a kind that is not read; give one of '
      f'{", ".join(_READERS)}, or a dataset of the hub'
    )
  return _READERS[file.suffix or '.jsonl'](file)


def _jsonl(file: pathlib.Path) -> Iterator[Placed]:
  with open(file, 'rb') as lines:
    for number, line in enumerate(lines, 1):
      if line.strip():
        place = f'{file}:{number}'
        yield place, _object(place, _parsed(place, line))


def _json(file: pathlib.Path) -> Iterator[Placed]:
  raw = file.read_bytes()
  first, _, rest = raw.strip().partition(b'\n')
  if first.startswith(b'{') and (not rest or first.rstrip().endswith(b'}')):
    yield from _jsonl(file)
    return
  values = _parsed(str(file), raw)
  if not isinstance(values, list):
    raise ValueError(
      f'{file}: a list of objects is needed, or an object a line; this is one '
      f'{type(values).__name__}'
      + (f' with {sorted(values)}' if isinstance(values, dict) else '')
    )
  for number, value in enumerate(values):
    place = f'{file}, record {number}'
    yield place, _object(place, value)


def _parsed(place: str, text: bytes) -> Any:
  try:
    return json.loads(text.decode('utf-8-sig'))
  except (ValueError, RecursionError) as error:
    raise ValueError(f'{place}: no JSON: {error}') from error


def _object(place: str, value: Any) -> Row:
  if not isinstance(value, dict):
    raise ValueError(
      f'{place}: a JSON object is needed, this is a {type(value).__name__}'
    )
  return value


def _csv(file: pathlib.Path) -> Iterator[Placed]:
  csv.field_size_limit(_LARGEST_CELL)
  with open(file, encoding='utf-8-sig', newline='') as lines:
    table = csv.reader(lines, strict=True)
    try:
      names = next(table, [])
      if len(set(names)) < len(names):
        raise ValueError(f'{file}:1: the names {names} are not all different')
      if len(names) == 1 and (other := re.search('[;\t|]', names[0])):
        raise ValueError(
          f'{file}:1: the one name {names[0]!r} has a {other[0]!r}, and cells '
          'are parted by commas; write them so'
        )
      for cells in table:
        place = f'{file}:{table.line_num}'
        if cells and len(cells) != len(names):
          raise ValueError(
            f'{place}: {len(cells)} cells under the {len(names)} names {names};'
            ' quote a cell that holds a comma'
          )
        if cells:
          yield place, dict(zip(names, cells))
    except (csv.Error, UnicodeDecodeError) as error:
      place = f'{file}:{table.line_num + 1}'
      raise ValueError(f'{place}: no CSV in UTF-8: {error}') from error


def _parquet(file: pathlib.Path) -> Iterator[Placed]:
  try:
    import pyarrow
    from pyarrow import parquet
  except ModuleNotFoundError as error:
    raise _missing(f'the file {file}', error) from error
  try:
    table = parquet.ParquetFile(file)
  except pyarrow.ArrowInvalid as error:
    raise ValueError(f'{file} is no Parquet file: {error}') from error
  number = itertools.count()
  with table:
    for batch in table.iter_batches():
      for row in batch.to_pylist():
        yield f'{file}, row {next(number)}', _without_nulls(row)


def _arrow(file: pathlib.Path) -> Iterator[Placed]:
  try:
    import pyarrow
  except ModuleNotFoundError as error:
    raise _missing(f'the file {file}', error) from error
  number = itertools.count()
  with pyarrow.OSFile(str(file)) as stored:
    try:
      for batch in pyarrow.ipc.open_stream(stored):
        for row in batch.to_pylist():
          yield f'{file}, row {next(number)}', _without_nulls(row)
    except pyarrow.ArrowInvalid as error:
      raise ValueError(f'{file} is no Arrow stream: {error}') from error


_READERS = {
  '.jsonl': _jsonl,
  '.parquet': _parquet,
  '.arrow': _arrow,
  '.csv': _csv,
  '.json': _json,
}


def _without_nulls(value: Any) -> Any:
  """A row of a table, which fills up absent fields with null."""
  if isinstance(value, dict):
    return {k: _without_nulls(v) for k, v in value.items() if v is not None}
  if isinstance(value, list):
    return [_without_nulls(each) for each in value]
  return value


def _missing(what: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
  return ModuleNotFoundError(
    f'{what} is read with the optional package {error.name}: pip install '
    "'jaxrl_llm[data]'",
    name=error.name,
  )


def _of_hub(name, subset='', split='', rows=0, stream=0, seed=0):
  """The rows of a dataset of the hub, as the library gives them."""
  if not stream:
    return _hub(name, subset, split)
  return _streamed(name, subset, split, rows, stream, seed)


@functools.lru_cache
def _hub(name: str, subset: str, split: str):
  """A dataset of the hub, which the library keeps on disk."""
  with _asking(name, subset, split) as load:
    return load()


@functools.lru_cache
def _streamed(
  name: str, subset: str, split: str, rows: int, buffer: int, seed: int
) -> list[Row]:
  """Rows of a dataset of the hub, of which nothing is kept on disk."""
  if not rows:
    raise ValueError(
      f'{name}:stream={buffer} does not say how many rows to read; say rows='
    )
  with _asking(name, subset, split) as load:
    found = load(streaming=True)
    if buffer > 1:
      found = found.shuffle(seed=seed, buffer_size=buffer)
    return list(found.take(rows))


@contextlib.contextmanager
def _asking(name: str, subset: str, split: str):
  """A way to load a dataset of the hub.

  Raises:
    ValueError: there is none, it cannot be reached, or has no such subset or
      split; the message names those that there are.
  """
  try:
    import datasets
  except ModuleNotFoundError as error:
    raise _missing(
      f'there is no file or folder {name}, and a dataset of the Hugging Face '
      f'hub of that name',
      error,
    ) from error
  absent = hub.absence()
  usual = datasets.config.HF_HUB_OFFLINE
  datasets.config.HF_HUB_OFFLINE = bool(absent) or usual
  load = functools.partial(
    datasets.load_dataset, name, subset or None, split=split or 'train'
  )
  try:
    yield load
  except ConnectionError as error:
    raise ValueError(
      f'the dataset {name} is not on this machine, neither as a file or folder '
      f'nor in the cache of the library datasets, and {absent or error}; '
      + (hub.remedy('dataset', name) if absent else 'check name and network')
    ) from error
  except (
    ValueError, OSError, datasets.exceptions.DatasetsError
  ) as error:  # fmt: skip
    said = ' '.join(str(error).partition('Example of usage')[0].split())
    raise ValueError(
      f'the dataset {name}: {said} (data.subset={subset or "nothing"}, '
      f'data.split={split or "train"})'
    ) from error
  finally:
    datasets.config.HF_HUB_OFFLINE = usual


def fingerprint(name: str, **which: Any) -> str:
  """A hash of the rows of a dataset of the hub; streamed, of those read.

  Args:
    which: as of `read`.

  Raises:
    ValueError, ModuleNotFoundError: as `read` does.
  """
  digest = hashlib.blake2b(digest_size=16)
  for row in _of_hub(name, **which):
    digest.update(json.dumps(row, default=str, sort_keys=True).encode())
  return digest.hexdigest()
