"""Groups of rows with their scores, some of which others take the place of."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import arranged
from jaxrl_llm.types import Rollouts, Scores


class Groups(NamedTuple):
  """B groups.

  Attributes:
    rows: those of a group are adjacent. scores: of the rows.
    size: G, rows of a group.
  """

  rows: Rollouts
  scores: Scores
  size: int

  @property
  def valid(self) -> np.ndarray:
    """bool[B, G]."""
    return np.asarray(self.rows.valid).reshape(-1, self.size)

  def rewards(self, by: Callable) -> np.ndarray:
    """f64[B, G], what `by(scores)` says; -inf for a row that does not count."""
    found = np.asarray(by(self.scores), np.float64)
    return np.where(self.valid, found.reshape(-1, self.size), -np.inf)

  def with_room(self) -> Groups:
    """Each with a row behind it that does not count."""
    nobody = jnp.zeros_like(self.rows.valid)
    empty = self._replace(rows=self.rows.replace(valid=nobody))
    count = len(nobody)
    index = np.arange(count).reshape(-1, self.size)
    index = np.concatenate([index, count + index[:, :1]], axis=1)
    return self._picked(empty, index)

  def exchanged(self, others: Groups, which, start: int, picked) -> Groups:
    """Some rows of which others take the place.

    Args:
      others: groups, the first of which are for `which` i[W] of these.
      start: the first column of them. picked: i[W, K], which rows of the others
        take those from there on; -1 leaves what is there.
    """
    count = len(self.rows.valid)
    index = np.arange(count).reshape(-1, self.size)
    place = which[:, None], start + np.arange(picked.shape[1])
    theirs = count + np.arange(len(which))[:, None] * others.size + picked
    index[place] = np.where(picked < 0, index[place], theirs)
    return self._picked(others, index)

  def _picked(self, others: Groups, index: np.ndarray) -> Groups:
    """By index [B, G] into these rows and the others behind them."""
    mine, theirs = self.rows, others.rows
    if theirs.extras.keys() != mine.extras.keys():
      apart = sorted(theirs.extras.keys() ^ mine.extras.keys())
      raise ValueError(
        f'rows asked again and those before differ in the extras {apart}; let '
        'the plan inside add none, and note things of the whole'
      )
    rows, components = arranged.picked(
      (mine, self.scores.components),
      (theirs, others.scores.components),
      jnp.asarray(index.reshape(-1)),
    )
    size = index.shape[1]
    group = np.arange(len(index), dtype=np.int32).repeat(size)
    rows = rows.replace(group=jnp.asarray(group))
    return Groups(rows, self.scores.replace(components=components), size)
