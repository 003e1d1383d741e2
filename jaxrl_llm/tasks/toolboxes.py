"""Tools to use, or to build on: prices to ask for, programs, documents."""

from __future__ import annotations

import functools
import re
import sqlite3

from jaxrl_llm.tasks import folders, sandbox
from jaxrl_llm.tasks.toolbox import Toolbox


class Prices(Toolbox):
  """Prices of things, which `toys.prices` asks for."""

  def reset(self, row):
    self.prices = row['prices']

  def price(self, item: str) -> int:
    """The price of an item.

    Args:
      item: its name.
    """
    return self.prices[item]


class Python(Toolbox):
  """Python programs, run where they can reach nothing, see `sandbox`.

  Attributes:
    python_seconds: time limit of a program, less than `tools.seconds`.
  """

  python_seconds: float = 2.0

  def reset(self, row):
    sandbox.require()

  def python(self, code: str) -> str:
    """Runs a Python program and shows what it prints, and its errors.

    Args:
      code: the whole program, with the standard library alone; nothing is left
        of earlier ones.
    """
    try:
      done = _jail().run(_SHOWN.format(code), seconds=self.python_seconds)
    except sandbox.Unavailable:
      _jail.cache_clear()
      raise
    if done.code is None:
      return f'{done.output}\nno end within {self.python_seconds:g} s'.strip()
    return done.output or 'nothing was printed'


# The errors of a program are shown as well, those of its syntax too.
_SHOWN = (
  'import sys\nsys.stderr = sys.stdout\n'
  "exec(compile({!r}, 'program', 'exec'), {{'__name__': '__main__'}})\n"
)


@functools.cache
def _jail() -> sandbox.Sandbox:
  """The sandbox of this process, which ends with it."""
  return sandbox.Sandbox()


class Search(Toolbox):
  """Passages of documents, found by their words.

  Passages are ranked by BM25 over word stems, as SQLite's FTS5 computes it.

  Attributes:
    documents: folder of *.txt and *.md files; a record may name another.
    passages: shown at most.
  """

  documents: str = ''
  passages: int = 3

  def reset(self, row):
    self.documents = row.get('documents', self.documents)
    _index(self.documents)

  def search(self, query: str) -> str:
    """Finds passages in the documents.

    Args:
      query: words to look for.
    """
    words = re.findall(r'\w+', query)
    if not words:
      return 'a query needs words'
    found = _index(self.documents).execute(
      'SELECT name, text FROM passages WHERE passages MATCH ? '
      'ORDER BY bm25(passages), rowid LIMIT ?',
      (' OR '.join(f'"{word}"' for word in words), self.passages),
    )
    shown = [f'{name}: {text}' for name, text in found]
    return '\n\n'.join(shown) or 'nothing was found'


@functools.cache
def _index(folder: str) -> sqlite3.Connection:
  """The passages of a folder, in this process.

  Raises:
    FileNotFoundError, ValueError: as of `folders.passages`.
  """
  index = sqlite3.connect(':memory:')
  index.execute(
    'CREATE VIRTUAL TABLE passages USING fts5(name UNINDEXED, text, '
    "tokenize='porter unicode61')"
  )
  index.executemany(
    'INSERT INTO passages VALUES (?, ?)', folders.passages(folder)
  )
  return index
