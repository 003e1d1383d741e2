"""How much texts have in common, by the n-grams that they share."""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence
from typing import Any


def shared(text: str, other: str, *, order: int = 2) -> float:
  """How much of a text's words and word pairs another text shares, in [0, 1].

      exp(min(0, 1 - |other| / |text|)) (p_1 ... p_order)^(1 / order)

  p_n is the share of the text's n-grams found in the other, each as often as
  it stands there; an order for which the text is too short is left out.

  Returns:
    1 for two equal texts with words, 0 where either has none.

  Source: BLEU, Papineni et al. 2002, equation 4, without smoothing.
  """
  words, others = text.split(), other.split()
  if not words or not others:
    return 0.0
  logs = []
  for n in range(1, min(order, len(words)) + 1):
    grams = _grams(words, n)
    common = sum((grams & _grams(others, n)).values())
    if not common:
      return 0.0
    logs.append(math.log(common / sum(grams.values())))
  brevity = min(0.0, 1 - len(others) / len(words))
  return math.exp(brevity + sum(logs) / len(logs))


def within(rows: Sequence[Sequence[Any]], *, order: int = 3) -> float:
  """How alike sequences are: the mean BLEU of each to all others, in [0, 1].

      exp(min(0, 1 - nearest / length)) (p_1 ... p_order)^(1 / order)

  p_n is the share of its n-grams found in some other one, each as often as it
  stands there at most, and 0.1 of one n-gram where none is. `nearest` is the
  length of another that is nearest to its own, the shorter of two.

  Returns:
    0 of fewer than two sequences; a row without anything in common counts 0.

  Source: MMR1, arXiv 2509.21268, and its code, which is NLTK's sentence BLEU
    with its first smoothing.
  """
  if len(rows) < 2:
    return 0.0
  grams = [[_grams(row, n) for row in rows] for n in range(1, order + 1)]
  found = []
  for i, row in enumerate(rows):
    logs = []
    for counts in grams:
      others: collections.Counter = collections.Counter()
      for j, other in enumerate(counts):
        if j != i:
          others |= other
      shared = sum((counts[i] & others).values())
      total = max(1, sum(counts[i].values()))
      logs.append(math.log((shared or 0.1) / total))
      if not shared and counts is grams[0]:
        break
    else:
      lengths = [len(other) for j, other in enumerate(rows) if j != i]
      nearest = min(
        lengths, key=lambda length: (abs(length - len(row)), length)
      )
      brevity = min(0.0, 1 - nearest / len(row))
      found.append(math.exp(brevity + math.fsum(logs) / order))
  return math.fsum(found) / len(rows)


def _grams(row: Sequence[Any], n: int) -> collections.Counter:
  return collections.Counter(zip(*(row[i:] for i in range(n))))
