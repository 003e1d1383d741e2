"""What somebody meant who misspelt a name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Names in a message; there are hundreds of recipes.
_MOST = 40


def suggestion(word: str, known: Iterable[str]) -> str:
  """' Did you mean ...?' for a near miss, or the list of what is known."""
  names = sorted(known)
  near = nearest(word, names)
  if near:
    return f'Did you mean {near!r}?'
  left = len(names) - _MOST
  return f'Known: {names[:_MOST]}' + (f' and {left} more' if left > 0 else '')


def nearest(word: str, known: Iterable[str]) -> str:
  """The known word that a slip of the keyboard most likely meant, or ''."""

  def distance(other):
    # Of words as near, the one of the same letters: they were swapped.
    return _slips(word, other), sorted(word) != sorted(other)

  near = difflib.get_close_matches(word, known, n=20)
  return min(near, key=distance, default='')


def _slips(first: str, second: str) -> int:
  """Letters to add, drop, change or swap with the next between two words.

  Source: the optimal string alignment distance, after Damerau 1964.
  """
  rows = [list(range(len(second) + 1))]
  for i, a in enumerate(first):
    row, above = [i + 1], rows[i]
    for j, b in enumerate(second):
      least = min(above[j] + (a != b), above[j + 1] + 1, row[j] + 1)
      if i and j and (a, first[i - 1]) == (second[j - 1], b):
        least = min(least, rows[i - 1][j - 1] + 1)
      row.append(least)
    rows.append(row)
  return rows[-1][-1]
