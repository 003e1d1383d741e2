"""Kuhn poker in texts: what a player says is a bet or a pass.

Of the letters `abcdef` the first three are bold, by 3, 2 and 1, the others
timid by as much, and who says more that is bold than timid bets. Many texts are
one move, and texts that look alike need not be: what a clustering of texts has
to find out.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxrl_llm.tabular import poker

BOLDNESS = dict(zip('abcdef', (3, 2, 1, -1, -2, -3)))


class Speeches:
  """The game as `plans.latent` plays it; a record's 'place' is where one is."""

  def place(self, record: Mapping[str, Any]) -> str:
    """The information set: the card, and what was done."""
    return record['place']

  def role(self, record: Mapping[str, Any]) -> str:
    """The card, which the other player does not see."""
    return record['place'][0]

  def marks(self, texts: Sequence[str]) -> np.ndarray:
    """f64[M, 6]: how often each letter is said."""
    counts = [[text.count(letter) for letter in BOLDNESS] for text in texts]
    return np.array(counts, np.float64).reshape(-1, len(BOLDNESS))

  def bets(self, texts: Sequence[str]) -> np.ndarray:
    """bool[M]: which of them are bets."""
    return self.marks(texts) @ np.array([*BOLDNESS.values()]) > 0

  def solve(
    self,
    rounds: int,
    places: Sequence[str],
    texts: Sequence[str],
    latent: np.ndarray,
  ) -> np.ndarray:
    """f64[M]: the chance of each text's latent strategy where it was said.

    The game of latent strategies is solved by regret minimisation, see
    `poker.latent`. At an information set where nothing was said both moves can
    be made.

    Args:
      latent: i64[M], the latent strategy of each text.
    """
    bets, seen = self.bets(texts), collections.defaultdict(list)
    for row, key in enumerate(zip(places, latent.tolist(), strict=True)):
      seen[key].append(row)
    there: dict[str, list[int]] = {key: [] for key in poker.KEYS}
    for place, name in sorted(seen):
      there[place].append(name)
    shares = {
      place: [bets[seen[place, name]].mean() for name in names] or (0.0, 1.0)
      for place, names in there.items()
    }
    solved = poker.latent(rounds, shares)
    found = np.zeros(len(texts))
    for place, name in seen:
      found[seen[place, name]] = solved[place][there[place].index(name)]
    return found

  def exploitability(
    self, places: Sequence[str], texts: Sequence[str]
  ) -> float:
    """Of who bets as often as these texts do; half the time where none was."""
    bets, where = self.bets(texts), np.array(places)
    return poker.exploitability(
      {
        key: float(bets[where == key].mean()) if (where == key).any() else 0.5
        for key in poker.KEYS
      }
    )
