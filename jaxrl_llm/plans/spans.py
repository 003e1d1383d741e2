"""Characters of a text, as the tokens that it is made of."""

from __future__ import annotations

import re
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


def phrases(pieces: Sequence[str], mark: str, count: int) -> int:
  """How many tokens, one at least, the first phrases of their text have whole.

  Args:
    mark: a regular expression; a phrase ends behind a match.
    count: phrases. All tokens, of a text with fewer.

  Example:
    >>> phrases(['put', '(', 'a', '=1', ')'], '=|[(]', 2)
    3
  """
  ends = [found.end() for found in re.finditer(mark, ''.join(pieces))]
  if len(ends) < count:
    return len(pieces)
  return max(1, inside(pieces, 0, ends[count - 1])[1])
