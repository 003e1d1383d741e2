"""How the rows of a step are worked through: in pieces, by device, cut, packed.

What an objective sums over rows and what a scorer says of each do not depend on
any of it, but for the order of sums.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxrl_llm.training import packing, pieces, widths
from jaxrl_llm.training.shard import Layout
from jaxrl_llm.types import Array, Batch, PyTree, Rollouts, Stats


@dataclasses.dataclass(frozen=True)
class Division:
  """A way through rows.

  Attributes:
    pieces: of the rows, one after the other.
    samples: rows of a group, adjacent.
    unit: adjacent rows that are read together, by what is computed of them;
      a piece has whole units.
    shared: adjacent rows that the scorer reads together.
    layout: where the arrays live.
    widths: columns that a piece may be computed in, see
      `jaxrl_llm.training.widths`; () computes all of them.
    packed: a piece has several rows in each of its own, see
      `jaxrl_llm.training.packing`.
  """

  pieces: int
  samples: int
  unit: int
  shared: int
  layout: Layout
  widths: tuple[int, ...] = ()
  packed: bool = False

  def devices(self, rows: int) -> int:
    """Devices that have whole units of every piece of their own, or 1."""
    data = self.layout.data
    return 1 if rows // self.pieces % (data * self.unit) else data

  def total(
    self,
    of_rows: Callable,
    batch: Batch,
    read: Callable[[Batch], Array],
  ) -> tuple[PyTree, dict[str, Array]]:
    """Sums and metrics over all rows, see `pieces`.

    Every device sums those of its own rows, whatever their number; sums over
    devices are made once, at the end.

    Args:
      of_rows: f(batch, width, places) -> sums, metrics, of rows in their first
        columns or, in places, of those that have one.
      read: f(batch) -> bool[rows, T], the tokens that the sums depend on.
    """
    devices = self.devices(batch.rollouts.valid.shape[0])

    def of_width(width, piece):
      def sums(rows):
        return of_rows(rows, width, None)

      if devices == 1:
        return sums(piece)
      return jax.vmap(sums)(pieces.split(piece, devices))

    def of_piece(piece):
      piece = self.layout.rows(piece)
      return widths.at_narrowest(of_width, self.widths, read(piece), piece)

    if self.packed:
      waiting = jnp.any(read(batch), axis=1)
      found = self._filled(of_rows, batch, batch.rollouts, waiting)
    elif self.pieces == 1:
      found = of_piece(batch)
    else:
      if self.widths:
        order = self._by_length(read(batch))
        batch = jax.tree.map(lambda x: x[order], batch)
      # Rows in the order of their lengths are not where they were.
      split = pieces.split(batch, self.pieces, 1 if self.widths else devices)
      found = pieces.accumulated(of_piece, split)
    return found if devices == 1 else pieces.summed(found)

  def each(self, of_rows: Callable, rollouts: Rollouts) -> Stats:
    """What is said of every row, in the order of rows.

    Args:
      of_rows: f(rollouts, width, places) -> Stats.
    """
    # Rows in the order of their lengths are not where they were.
    rows = rollouts.valid.shape[0]
    devices = 1 if self.widths else self.devices(rows)

    def of_width(width, piece):
      return of_rows(piece, width, None)

    def of_piece(piece):
      piece = self.layout.rows(piece)
      mask = piece.response_mask
      return widths.at_narrowest(of_width, self.widths, mask, piece)

    def of_places(rollouts, width, places):
      mask = places.placed[:, None] & rollouts.loss_mask
      return of_rows(rollouts, width, places).on(mask), {}

    rollouts = self.layout.rows(rollouts)
    if self.packed:
      waiting = jnp.any(rollouts.loss_mask, axis=1)
      stats, _ = self._filled(of_places, rollouts, rollouts, waiting)
      stats = stats if devices == 1 else pieces.joined(stats)
      return self.layout.rows(stats)
    if self.pieces == 1:
      return of_piece(rollouts)
    if self.widths:
      order = self._by_length(rollouts.response_mask)
      rollouts = jax.tree.map(lambda x: x[order], rollouts)
    split = pieces.split(rollouts, self.pieces, devices)
    stats = pieces.joined(jax.lax.map(of_piece, split), devices)
    if self.widths:
      stats = jax.tree.map(lambda x: x[jnp.argsort(order)], stats)
    return self.layout.rows(stats)

  def _filled(self, of_rows, tree, rollouts, waiting):
    """`packing.accumulated` of rows in microbatches of as many as without."""
    there = rollouts.content.read(rollouts.response_mask)
    rows, width = there.shape
    columns = rollouts.response_mask.shape[1]
    devices = self.devices(rows)
    return packing.accumulated(
      lambda tree, places: of_rows(tree, columns, places),
      tree,
      waiting,
      jnp.sum(there, axis=1, dtype=jnp.int32),
      rows=rows // (self.pieces * devices),
      width=width,
      unit=self.unit,
      devices=devices,
    )

  def _by_length(self, mask):
    """The order of rows that puts those of similar length together."""
    return widths.order(
      mask,
      samples=self.samples,
      unit=math.lcm(self.unit, self.shared),
      free=self.unit == 1,
    )
