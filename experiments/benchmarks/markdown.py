"""Tables, and the part of a page that a measurement writes."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Sequence

# What is written by hand on a page stays; this lies between the marks.
BEGIN, END = '<!-- measured: begin -->', '<!-- measured: end -->'


def table(head: Sequence, rows: Iterable[Sequence]) -> str:
  """A row a line, under its head."""
  grid = [head, ['---'] * len(head), *rows]
  return '\n'.join('| ' + ' | '.join(map(str, row)) + ' |' for row in grid)


def put(path: pathlib.Path, sections: Iterable[str]) -> pathlib.Path:
  """Writes sections between the marks of a page, and returns its path."""
  text = path.read_text()
  before, after = text.partition(BEGIN)[0], text.partition(END)[2]
  path.write_text(before + '\n\n'.join([BEGIN, *sections, END]) + after)
  return path
