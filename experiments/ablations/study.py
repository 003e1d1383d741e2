"""What a study is made of: cells, their algebra, and a figure.

A study is a short Python file. Its docstring says what the paper claims, with
which command to test it and what should come out; the file defines

    cells()              list of cells, plain dicts, each with a `seed`
    run(seeds, **cell)   what one cell without its seed gives for those seeds:
                         name -> array whose leading axis is that of the seeds
    TRACED               names of cell values that `run` gets as arrays, one
                         number per seed, so that cells with different numbers
                         can be one program too; optional
    CONFIG               in place of `run`: the config file of training runs,
                         whose settings the cells override
    FIGURE               what to draw, optional

`run` takes seeds together so that they can be one vmapped program. Without
`--vmap` every entry of a traced array is the same.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable

Cell = dict[str, object]


@dataclasses.dataclass(frozen=True)
class Figure:
  """Lines with error bars: the mean over seeds and its standard error.

  Attributes:
    y: a result. x: a key of the cells, or, where y is a list, a result that
      is a list as long.
    series: the key of the cells that tells lines apart; '' draws one line.
    across, down: keys of the cells that tell columns and rows of panels apart;
      '' draws one of them.
    log: the axes that are logarithmic, 'x', 'y' or 'xy'.
    title: what the figure shows.
  """

  y: str
  x: str
  series: str = ''
  across: str = ''
  down: str = ''
  log: str = ''
  title: str = ''


def over(**axes: Iterable) -> list[Cell]:
  """Cells with every combination of the values of the named axes."""
  return product(*([{name: v} for v in axis] for name, axis in axes.items()))


def product(*sweeps: Iterable[Cell]) -> list[Cell]:
  """Every cell of one sweep merged with every cell of the others."""
  return [_merged(cells) for cells in itertools.product(*sweeps)]


def chain(*sweeps: Iterable[Cell]) -> list[Cell]:
  """The cells of one sweep after those of the other."""
  return list(itertools.chain(*sweeps))


def _merged(cells: Iterable[Cell]) -> Cell:
  merged: Cell = {}
  for cell in cells:
    for name, value in cell.items():
      if name in merged:
        raise ValueError(
          f'{name!r} is set twice, to {merged[name]!r} and {value!r}; '
          'sweep it once'
        )
      merged[name] = value
  return merged
