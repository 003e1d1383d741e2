"""Tables of what was measured on runs of several processes, as Markdown."""

from __future__ import annotations

import statistics

from experiments.benchmarks import markdown

PARTS = ('sample', 'verify', 'score', 'learn', 'step')


def kills(lines) -> str:
  """A row for each way to start and each kind of victim."""
  groups: dict[tuple, list[dict]] = {}
  for line in lines:
    number = line['victim']
    victim = {'launcher': 'the launcher', 0: 'the first process'}.get(
      number, 'another process'
    )
    way = 'apart' if line['apart'] else 'launcher'
    groups.setdefault((line['processes'], way, victim), []).append(line)
  head = (
    'processes',
    'started',
    'killed',
    'times',
    'iteration of the kill',
    'iterations lost',
    'others ended after s',
    'a survivor said why',
    'ends equal',
  )
  rows = []
  for (count, way, victim), group in sorted(groups.items()):
    steps = [line['iteration'] for line in group]
    lost = [max(line['iteration'], 0) - line['checkpoint'] for line in group]
    seconds = [line['seconds'] for line in group]
    row = (
      count,
      way,
      victim,
      len(group),
      f'{min(steps)} to {max(steps)}',
      f'{min(lost)} to {max(lost)}',
      f'{statistics.median(seconds):.2f} (at most {max(seconds):.2f})',
      f'{sum(line["sentence"] for line in group)}',
      f'{sum(line["equal"] for line in group)}',
    )
    rows.append(row)
  return markdown.table(head, rows)


def moves(lines) -> str:
  """The stages, then the comparison."""
  *stages, compared = lines
  head = 'processes', 'devices of each', 'goes to iteration'
  names = 'processes', 'devices', 'iteration'
  found = [
    (name, f'{value:.2g}' if isinstance(value, float) else value)
    for name, value in compared.items()
    if name != 'git_commit'
  ]
  return '\n\n'.join(
    [
      markdown.table(head, [[x[name] for name in names] for x in stages]),
      markdown.table(('against an undisturbed run on one device', ''), found),
    ]
  )


def divided(lines) -> str:
  """A row for each mesh."""
  head = 'data x model', 'iterations', 'arrays of the state', 'equal'
  rows = [
    (
      f'{x["data"]} x {x["model"]}',
      x['iterations'],
      x['arrays'],
      'yes' if x['equal'] else 'no',
    )
    for x in lines
  ]
  return markdown.table(head, rows)


def scaling(lines: list[dict]) -> str:
  """Times of every cell, and sizes of a device."""
  head = ('processes', 'devices', *(f'{x} s' for x in PARTS))
  times = [
    (x['processes'], x['devices'], *(f'{x[name]:.3f}' for name in PARTS))
    for x in lines
  ]
  names = [x for x in lines[0] if x == 'kept' or ' ' in x]
  sizes = [
    (x['devices'], *(f'{x[name] / 1024:,.0f}' for name in names))
    for x in lines
    if 'kept' in x
  ]
  return '\n\n'.join(
    [
      markdown.table(head, times),
      markdown.table(('KiB of a device', *names), sizes),
    ]
  )
