"""The files that a run reads, by fingerprint.

A run that goes on with other questions or other weights is another run. What
it read first stands in its `config.json`, see `workdir.check_files`.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Iterator, Sequence

from ml_collections import ConfigDict

from jaxrl_llm.policies.language import hf
from jaxrl_llm.tasks import addresses, records, verifiers

# Weights up to this size are read whole, larger ones in this many places.
_WHOLE = 1 << 26
_PLACES = 64
_PIECE = 1 << 20


def fingerprints(config: ConfigDict) -> dict[str, str]:
  """The fingerprint of every file that the settings name, by its path.

  Data are read whole. Of weights beyond 64 MiB it is the size, and 64 pieces of
  1 MiB at even distances: training moves all of them.

  Raises:
    ValueError, FileNotFoundError: a folder that cannot be read, as loading it
      would say.
  """
  found = {}
  data = config.data
  for address in (*addresses.training(data), *addresses.held_out(data)):
    if address.kind == 'hub':
      which = address.which
      name = ':'.join([address.path, *map(str, filter(None, which.values()))])
      found[name] = records.fingerprint(address.path, **which)
    # What is not there is left to who reads it.
    elif os.path.exists(address.path):
      for file in records.files(address.path, address.keys.get('split', '')):
        found[str(file)] = fingerprint(file, os.path.getsize(file))
  for path in _models(config):
    for file in hf.files(hf.resolve(path)):
      found[f'{path}/{file.name}'] = fingerprint(file)
  return found


def _models(config: ConfigDict) -> Iterator[str]:
  """The model folders that the settings name."""
  model = config.model
  beside = *config.teacher.paths, *config.reference.paths
  yield from filter(None, (model.path, model.adapter, *beside))
  judges = [config.verify.preference, *config.verify.names]
  for name in filter(verifiers.is_model, judges):
    yield from verifiers.folders_of(name)[0]


def fingerprint(path: pathlib.Path, whole: int = _WHOLE) -> str:
  """A hash of a file up to `whole` bytes, or of pieces of a larger one."""
  size = path.stat().st_size
  digest = hashlib.blake2b(str(size).encode(), digest_size=16)
  places: Sequence[int] = range(0, size, _PIECE)
  if size > whole:
    # From the first bytes to the last.
    places = [(size - _PIECE) * i // (_PLACES - 1) for i in range(_PLACES)]
  with open(path, 'rb') as file:
    for place in places:
      file.seek(place)
      digest.update(file.read(_PIECE))
  return digest.hexdigest()
