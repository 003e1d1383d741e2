"""Compares runs: what their settings differ in, and what came out.

  python -m experiments.compare runs/default-grpo-0 runs/default-dapo-0
      a table of the settings that differ, one of held-out results, and curves
      in compare.png
  python -m experiments.compare runs/mine-* --metrics=eval/accuracy,reward/mean

Runs that differ in nothing but their seed are one: its curves are the mean over
seeds with a band of one standard error, its results mean +- standard error. A
single run has the 95 % interval of its questions instead, where its metrics
have one: of a success rate that of its Beta posterior.

Behind success rates stand letters: runs that share one cannot be told apart by
their questions. They speak of these policies; what another seed would have made
of the method is in the error.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from flax import traverse_util

from experiments import command
from experiments.ablations import report
from jaxrl_llm.problems.text import comparisons, evaluate

_METRICS = flags.DEFINE_list(
  'metrics',
  [],
  'What is drawn, a panel each; without, held-out results, reward and others '
  'that all runs have.',
  allow_override=True,
)
_OUTPUT = flags.DEFINE_string(
  'output', 'compare.png', 'Where curves are drawn.'
)
# Drawn where runs have them, most telling first.
_TELLING = (
  *('eval/accuracy', 'eval/return', 'eval/win_rate', 'eval/nll'),
  *('reward/mean', 'loss', 'policy/entropy', 'response/length'),
)
_PANELS = 4
# The chance of telling any two apart that are alike.
_ALPHA = 0.05


class Group(NamedTuple):
  """Runs that differ in their seed alone.

  Attributes:
    folders: of the runs. settings: by dotted name, without the seed.
    histories: lines of metrics, a run each.
  """

  folders: tuple[str, ...]
  settings: Mapping[str, Any]
  histories: tuple[Sequence[Mapping[str, Any]], ...]


def main(words: Sequence[str]) -> int:
  if not words:
    raise command.Refused(
      'name the run folders, as in python -m experiments.compare runs/a runs/b'
    )
  folders = [command.folder('workdir', word) for word in words]
  if len(set(folders)) < len(folders):
    raise command.Refused('a run is named twice; name each once')
  groups = grouped([(str(each), *read(each)) for each in folders])
  differing = differences([group.settings for group in groups])
  labels = [
    f'{number}: {label(group, differing)}'
    for number, group in enumerate(groups, start=1)
  ]
  heads = ['', 'folder', 'seeds', *differing]
  print(_columns([heads, *_settings(groups, differing)]))
  names = [name for name in _names(groups) if name.startswith('eval/')]
  marks = {name: displayed(groups, name) for name in names}
  rows = [
    [
      str(number + 1),
      *(f'{summary(group, n)} {marks[n][number]}'.rstrip() for n in names),
    ]
    for number, group in enumerate(groups)
  ]
  print('\n' + _columns([['', *names], *rows]))
  if any(any(mark) for mark in marks.values()):
    print(
      f'\nletters: rates that share one are not told apart at {1 - _ALPHA:.0%} '
      'over all pairs, by Beta posteriors of their questions'
    )
  metrics = _METRICS.value or _default_metrics(groups)
  for name in metrics:
    if not any(series(group, name)[0].size for group in groups):
      raise command.Refused(
        f'no run has the metric {name!r}; there are '
        + ', '.join(_names(groups))
      )
  output = pathlib.Path(_OUTPUT.value)
  output.parent.mkdir(parents=True, exist_ok=True)
  output.write_bytes(draw(groups, labels, metrics))
  print(f'\ndrawn to {output}')
  return 0


def read(workdir: pathlib.Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
  """The settings of a run by dotted name, and its metrics.

  Raises:
    Refused: no run, or one that has logged nothing yet.
  """
  from experiments import runs
  from jaxrl_llm.training import writers

  config = runs.config_of(workdir).to_dict()
  lines = writers.read(workdir / 'metrics.jsonl')
  if not lines:
    raise command.Refused(f'{workdir} has no metrics yet; let it go on')
  return traverse_util.flatten_dict(config, sep='.'), lines


def grouped(found: Sequence[tuple[str, dict[str, Any], list]]) -> list[Group]:
  """Runs with equal settings but the seed together, in their order."""
  groups: dict[str, Group] = {}
  for folder, settings, lines in found:
    rest = {k: v for k, v in settings.items() if k != 'seed'}
    key = json.dumps(rest, sort_keys=True, default=str)
    known = groups.get(key, Group((), rest, ()))
    groups[key] = known._replace(
      folders=(*known.folders, folder), histories=(*known.histories, lines)
    )
  return list(groups.values())


def differences(settings: Sequence[Mapping[str, Any]]) -> list[str]:
  """Names of the settings that are not the same in all."""
  names = dict.fromkeys(name for each in settings for name in each)
  return [
    name for name in names if len({str(s.get(name, '-')) for s in settings}) > 1
  ]


def label(group: Group, differing: Sequence[str]) -> str:
  """What tells a group apart, for a legend."""
  told = [
    f'{name.removeprefix("recipe.")}={group.settings.get(name, "-")}'
    for name in differing
  ]
  name = group.settings.get('recipe.name', '')
  if 'recipe.name' in differing:  # It brings many settings of its own.
    told = [t for n, t in zip(differing, told) if not n.startswith('recipe.')]
    told.insert(0, str(name))
  return ', '.join(told[:4]) + (' ...' if told[4:] else '') or str(name)


def series(group: Group, name: str) -> tuple[np.ndarray, np.ndarray]:
  """Iterations that all seeds have, and values f64[seeds, iterations]."""
  curves = [
    {line['step']: line[name] for line in lines if line.get(name) is not None}
    for lines in group.histories
  ]
  steps = sorted(set.intersection(*map(set, curves)))
  return np.array(steps), np.array([[c[s] for s in steps] for c in curves])


def summary(group: Group, name: str) -> str:
  """The last value: over seeds, or with the interval of its questions."""
  steps, values = series(group, name)
  if not steps.size:
    return '-'
  last = values[:, -1]
  if len(last) > 1:
    return report.told(*report.mean_and_error(last))
  if found := trials(_last(group.histories[0], name), name):
    low, high = comparisons.posterior_interval(*found)
    return f'{last[0]:.4g} [{low:.4g}, {high:.4g}]'
  ends = [series(group, f'{name}/{end}')[1] for end in ('low', 'high')]
  if all(end.size for end in ends):
    low, high = (end[0, -1] for end in ends)
    return f'{last[0]:.4g} [{low:.4g}, {high:.4g}]'
  return f'{last[0]:.4g}'


def trials(line: Mapping[str, Any], name: str) -> tuple[int, int] | None:
  """(successes, trials) of a success rate, None where a metric is none.

  The interval that is logged beside it is Wilson's, whose ends x are where

      n (p - x)^2 = z^2 x (1 - x)

  so they say how many trials there were.
  """
  rate = line.get(name)
  both = [line.get(f'{name}/{end}') for end in ('low', 'high')]
  ends = [end for end in both if end is not None]
  if rate is None or len(ends) < 2:
    return None
  far = max(ends, key=lambda end: abs(end - rate))
  if far == rate:
    return None
  z = statistics.NormalDist().inv_cdf(0.975)
  number = round(z**2 * far * (1 - far) / (rate - far) ** 2)
  won = round(rate * number)
  # Of a mean of other numbers, or with another interval, there is none.
  if not 0 <= won <= number or not number or abs(won - rate * number) > 0.01:
    return None
  same = np.allclose(evaluate.wilson_interval(won, number), ends, atol=1e-6)
  return (won, number) if same else None


def _last(lines: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
  """The last line that has a metric, {} where none has."""
  return next((x for x in reversed(lines) if x.get(name) is not None), {})


def displayed(groups: Sequence[Group], name: str) -> list[str]:
  """The letters of each group behind a success rate, '' where it is none.

  A metric that is no rate in one group, as where votes may be tied, is none in
  the others either, even if it comes to whole successes there.

  Seeds are put together. Two rates are apart where the probability that one is
  the higher is above 1 - alpha / 2, alpha shared by all pairs alike.
  """
  counts: dict[int, tuple[int, int]] = {}
  marks = [''] * len(groups)
  for number, group in enumerate(groups):
    lines = [_last(history, name) for history in group.histories]
    known = [each for line in lines if (each := trials(line, name))]
    if any(lines) and len(known) < len(lines):
      return marks
    if known:
      won, asked = zip(*known)
      counts[number] = sum(won), sum(asked)
  if len(counts) < 2:
    return marks
  places = [*counts]
  pairs = len(places) * (len(places) - 1) / 2
  apart = np.zeros((len(places), len(places)), bool)
  for (a, one), (b, other) in itertools.permutations(enumerate(places), 2):
    more = comparisons.probability_of_more(*counts[one], *counts[other])
    if more > 1 - _ALPHA / 2 / pairs:
      apart[a, b] = apart[b, a] = True
  rates = [won / asked for won, asked in counts.values()]
  for number, text in zip(places, letters(rates, apart)):
    marks[number] = text
  return marks


def letters(rates: Sequence[float], apart: np.ndarray) -> list[str]:
  """A compact letter display: two share a letter unless they are apart.

  All share one letter at first. For each pair that is apart, a letter that
  both have becomes two, one without the first and one without the second, and
  letters are dropped that only say what another one says.

  Args:
    rates: the best gets the first letter. apart: bool[k, k], symmetric.

  Source: Piepho, An algorithm for a letter-based representation of all-pairwise
    comparisons, JCGS 13(2), 2004: insert and absorb.

  Example:
    >>> far = np.zeros((3, 3), bool)
    >>> far[0, 2] = far[2, 0] = True
    >>> letters([0.9, 0.8, 0.1], far)
    ['a', 'ab', 'b']
  """
  order = sorted(range(len(rates)), key=lambda i: -rates[i])
  columns = [set(order)]
  for one, other in itertools.combinations(order, 2):
    if not apart[one, other]:
      continue
    split = [
      column - {out}
      for column in columns
      for out in ((one, other) if {one, other} <= column else (None,))
    ]
    columns = []
    for column in sorted(split, key=len, reverse=True):
      if not any(column <= larger for larger in columns):
        columns.append(column)
  columns.sort(key=lambda c: sorted(order.index(i) for i in c))
  names = [_letter(number) for number in range(len(columns))]
  return [
    ''.join(name for name, column in zip(names, columns) if i in column)
    for i in range(len(rates))
  ]


def _letter(number: int) -> str:
  """a, ..., z, a', ..."""
  return chr(ord('a') + number % 26) + "'" * (number // 26)


def draw(
  groups: Sequence[Group], labels: Sequence[str], metrics: Sequence[str]
) -> bytes:
  """Curves of metrics, a panel each; the bytes of a PNG file."""
  from matplotlib import figure

  columns = min(len(metrics), 2)
  rows = math.ceil(len(metrics) / columns)
  canvas = figure.Figure(
    figsize=(5 * columns, 3.2 * rows + 0.4 * len(groups)),
    dpi=120,
    layout='constrained',
  )
  panels = list(canvas.subplots(rows, columns, squeeze=False).flat)
  for panel, name in zip(panels, metrics):
    for text, group in zip(labels, groups):
      steps, values = series(group, name)
      if not steps.size:
        continue
      mean, error = report.mean_and_error(values)
      [line] = panel.plot(steps, mean, linewidth=1.6, label=text)
      if len(values) > 1:
        panel.fill_between(
          steps, mean - error, mean + error, alpha=0.2, color=line.get_color()
        )
    panel.set_title(name, loc='left', fontweight='bold')
    panel.set_xlabel('iteration')
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.grid(True, color='0.9', linewidth=0.8)
    panel.spines[['top', 'right']].set_visible(False)
  for panel in panels[len(metrics) :]:
    panel.set_axis_off()
  found = panels[0].get_legend_handles_labels()
  canvas.legend(*found, loc='outside lower left', frameon=False)
  picture = io.BytesIO()
  canvas.savefig(picture, format='png')
  return picture.getvalue()


def _names(groups: Sequence[Group]) -> list[str]:
  """Metrics that any run has, bounds, sources and clocks left out."""
  lines = [line for g in groups for lines in g.histories for line in lines]
  names = dict.fromkeys(sorted(name for line in lines for name in line))
  return [
    name
    for name in names
    if not (name.startswith('time/') or name == 'step' or name.count('/') > 1)
  ]


def _default_metrics(groups: Sequence[Group]) -> list[str]:
  found = [
    name for name in _TELLING if all(series(g, name)[0].size for g in groups)
  ]
  return (found or _names(groups))[:_PANELS]


def _settings(groups, differing) -> list[list[str]]:
  return [
    [
      str(number),
      group.folders[0] + (' ...' if group.folders[1:] else ''),
      str(len(group.histories)),
      *(str(group.settings.get(name, '-')) for name in differing),
    ]
    for number, group in enumerate(groups, start=1)
  ]


def _columns(groups: Sequence[Sequence[str]]) -> str:
  """One column a group, one setting or result a line."""
  return report.aligned(zip(*groups))


if __name__ == '__main__':
  command.run(main, words='RUN RUN ...')
