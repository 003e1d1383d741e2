"""Results of a study as a table and a figure: means over seeds, with errors."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from experiments.ablations.study import Figure
from experiments.command import Refused


def summaries(lines: list[dict]) -> list[tuple[dict, dict, int]]:
  """Mean and standard error over seeds, of each cell without its seed.

  Returns:
    (cell, {result: (mean, error)}, seeds) in the order of the lines. The error
    is the spread (n - 1) over the root of n, NaN of one seed.
  """
  groups: dict[str, tuple[dict, list[dict]]] = {}
  for line in lines:
    cell = {k: v for k, v in line['cell'].items() if k != 'seed'}
    key = json.dumps(cell, sort_keys=True)
    groups.setdefault(key, (cell, []))[1].append(line['result'])
  return [
    (
      cell,
      {n: mean_and_error([r[n] for r in results]) for n in results[0]},
      len(results),
    )
    for cell, results in groups.values()
  ]


def mean_and_error(values):
  """Over the leading axis; the error is that of the mean, NaN of one value."""
  values = np.asarray(values, np.float64)
  count = len(values)
  if count == 1:
    return values[0], np.full_like(values[0], np.nan)
  return values.mean(0), values.std(0, ddof=1) / np.sqrt(count)


def told(mean: float, error: float) -> str:
  """'mean +- error'."""
  return f'{mean:.4g} +- {error:.1g}'


def table(lines: list[dict]) -> str:
  """One row per cell: its keys, then `mean +- error` of each number.

  Lists are left to the figure.
  """
  rows: list[dict[str, str]] = []
  for cell, results, seeds in summaries(lines):
    row = {name: str(value) for name, value in cell.items()}
    row['seeds'] = str(seeds)
    for name, (mean, error) in results.items():
      if np.ndim(mean) == 0:
        row[name] = told(mean, error)
    rows.append(row)
  names = list(dict.fromkeys(name for row in rows for name in row))
  return aligned(
    [names, *([row.get(name, '') for name in names] for row in rows)]
  )


def aligned(rows: Iterable[Sequence[str]]) -> str:
  """Words in columns, each as wide as its longest."""
  rows = list(rows)
  widths = [max(map(len, column)) for column in zip(*rows)]
  return '\n'.join(
    '  '.join(word.ljust(width) for word, width in zip(row, widths)).rstrip()
    for row in rows
  )


def draw(lines: list[dict], figure: Figure, path: pathlib.Path) -> pathlib.Path:
  """Writes the figure of a study and returns its path.

  Raises:
    Refused: no cell or result of the name that the figure wants.
  """
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot

  grid = panels(lines, figure)
  canvas, places = pyplot.subplots(
    len(grid),
    len(grid[0]),
    figsize=(7, 4) if len(grid) == len(grid[0]) == 1 else (9, 7),
    layout='constrained',
    squeeze=False,
    sharex=True,
    sharey=True,
  )
  # A line has one colour in all panels, some of which may be without it.
  handles = {}
  names = dict.fromkeys(
    name for row in grid for _, found in row for name in found
  )
  colours = {name: f'C{place}' for place, name in enumerate(names)}
  for axes, (title, curves) in zip(places.flat, sum(grid, [])):
    for label, (x, mean, error) in curves.items():
      handles[label] = axes.errorbar(
        x,
        mean,
        error,
        color=colours[label],
        marker='o',
        markersize=3,
        capsize=2,
      )
    axes.set_title(title, fontsize='small')
    axes.label_outer()
  canvas.supxlabel(figure.x, fontsize='medium')
  canvas.supylabel(figure.y, fontsize='medium')
  # At the left, where no legend is.
  canvas.suptitle(figure.title, x=0.01, horizontalalignment='left')
  # Panels share both scales.
  if 'x' in figure.log:
    places[0, 0].set_xscale('log')
  if 'y' in figure.log:
    places[0, 0].set_yscale('log')
  if figure.series:
    # Beside the curves, since none of its corners is free in every figure.
    canvas.legend(
      list(handles.values()),
      list(handles),
      title=figure.series,
      loc='outside right upper',
    )
  canvas.savefig(path, dpi=120)
  pyplot.close(canvas)
  return path


def panels(lines: list[dict], figure: Figure) -> list[list[tuple[str, dict]]]:
  """Rows of panels, each its title and its curves.

  Raises:
    Refused: no cell or result of the name that the figure wants.
  """
  down, across = (_values(lines, key) for key in (figure.down, figure.across))
  grid: list[list[tuple[str, dict]]] = []
  for row in down:
    grid.append([])
    for column in across:
      keys = {figure.down: row, figure.across: column}
      keys.pop('', None)
      here = [line for line in lines if keys.items() <= line['cell'].items()]
      title = '\n'.join(f'{name} {value}' for name, value in keys.items())
      grid[-1].append((title, _curves(here, figure)))
  return grid


def _values(lines, key):
  """What a key of the cells may be, in the order of the lines."""
  if not key:
    return ['']
  for line in lines:
    if key not in line['cell']:
      raise Refused(f'the figure wants {key!r}; known: {sorted(line["cell"])}')
  return list(dict.fromkeys(line['cell'][key] for line in lines))


def _curves(lines, figure):
  """label -> (x, mean, error), one curve per value of `figure.series`."""
  curves: dict[str, list] = {}
  for cell, results, _ in summaries(lines):
    for name, known in ((figure.series, cell), (figure.y, results)):
      if name and name not in known:
        raise Refused(f'the figure wants {name!r}; known: {sorted(known)}')
    label = str(cell[figure.series]) if figure.series else ''
    mean, error = results[figure.y]
    if figure.x in cell:
      points = [(cell[figure.x], mean, error)]
    elif figure.x in results:
      points = list(zip(results[figure.x][0], mean, error))
    else:
      names = sorted({*cell, *results})
      raise Refused(f'the figure wants {figure.x!r}; known: {names}')
    curves.setdefault(label, []).extend(points)
  return {label: tuple(zip(*points)) for label, points in curves.items()}
