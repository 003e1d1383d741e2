"""Characters of a text, as the tokens that it is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def inside(pieces: Sequence[str], start: int, stop: int) -> tuple[int, int]:
  """The tokens that lie whole within some characters of their text.

  Args:
    pieces: the text of every token. start, stop: characters [start, stop).

  Returns:
    The first of them, and the first after them.

  Example:
    >>> inside(['<a', '>b', 'c', 'd<', '/a>'], 3, 6)
    (2, 3)
  """
  ends = np.cumsum([len(piece) for piece in pieces])
  begins = ends - [len(piece) for piece in pieces]
  first = int(np.searchsorted(begins, start))
  return first, max(first, int(np.searchsorted(ends, stop, side='right')))


def holding(pieces: Sequence[str], place: int) -> int:
  """The token that holds a character of their text.

  Example:
    >>> holding(['<a', '>b', 'c'], 3)
    1
  """
  ends = np.cumsum([len(piece) for piece in pieces])
  return int(np.searchsorted(ends, place, side='right'))
