"""How alike texts are, by the words that they share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def shared(one: set[str], other: set[str]) -> float:
  """Words in both, of the fewer of their words.

  1 of two without words, 0 of one.
  """
  fewer = min(len(one), len(other))
  return len(one & other) / fewer if fewer else float(one == other)


def among(texts: Sequence[str], siblings: int) -> np.ndarray:
  """f32[N, C]: what each of N texts shares with the C it is adjacent to.

  Args:
    siblings: C, which divides N; a text is one of its own.

  Example:
    >>> among(['a b', 'b c d'], 2).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
  """
  words = [set(text.split()) for text in texts]
  firsts = [row - row % siblings for row in range(len(words))]
  found = [
    [shared(own, other) for other in words[first : first + siblings]]
    for own, first in zip(words, firsts)
  ]
  return np.array(found, np.float32)
