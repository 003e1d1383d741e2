"""Folders of documents: *.txt and *.md files, whose passages blank lines part.

The standard library alone, because processes of tools import it.
"""

from __future__ import annotations

import functools
import pathlib
import re
from typing import NamedTuple


class Passage(NamedTuple):
  """A passage and the document it is in, by its path in the folder."""

  name: str
  text: str


@functools.cache
def passages(folder: str) -> tuple[Passage, ...]:
  """The passages of a folder and of those in it.

  Raises:
    FileNotFoundError: no such folder, or no documents in it.
    ValueError: a document that is no text in UTF-8.
  """
  paths = sorted(
    path
    for path in pathlib.Path(folder).rglob('*')
    if path.suffix in ('.txt', '.md') and path.is_file()
  )
  found = [
    Passage(str(path.relative_to(folder)), part.strip())
    for path in paths
    for part in re.split(r'\n\s*\n', _read(path))
    if part.strip()
  ]
  if not folder or not found:
    there = not folder or pathlib.Path(folder).is_dir()
    raise FileNotFoundError(
      f'no *.txt or *.md in documents={folder!r}'
      f'{"" if there else ", which is no folder"}; set it to a folder with some'
    )
  return tuple(found)


def _read(path: pathlib.Path) -> str:
  try:
    text = path.read_text('utf-8')
  except UnicodeDecodeError as error:
    raise ValueError(
      f'{path} is no text in UTF-8: {error.reason} at byte {error.start}; '
      'convert it, or take it out of the folder'
    ) from error
  if '\0' in text:
    raise ValueError(f'{path} is no text, it holds zeros; take it out')
  return text
