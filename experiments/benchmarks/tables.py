"""Tables of what was measured on runs of several processes, as Markdown."""

from __future__ import annotations

import statistics

PARTS = ('sample', 'verify', 'score', 'learn', 'step')


def kills(lines) -> str:
  """A row for each way to start and each kind of victim."""
  groups = {}
  for line in lines:
    number = line['victim']
    victim = {'launcher': 'the launcher', 0: 'the first process'}.get(
      number, 'another process'
    )
    way = 'apart' if line['apart'] else 'launcher'
    groups.setdefault((line['processes'], way, victim), []).append(line)
  rows = [
    '| processes | started | killed | times | iteration of the kill '
    '| iterations lost | others ended after s | a survivor said why '
    '| ends equal |',
    '|' + ' --- |' * 9,
  ]
  for (count, way, victim), group in sorted(groups.items()):
    steps = [line['iteration'] for line in group]
    lost = [max(line['iteration'], 0) - line['checkpoint'] for line in group]
    seconds = [line['seconds'] for line in group]
    cells = (
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
    rows.append('| ' + ' | '.join(map(str, cells)) + ' |')
  return '\n'.join(rows)


def moves(lines) -> str:
  """The stages, then the comparison."""
  *stages, compared = lines
  rows = ['| processes | devices of each | goes to iteration |']
  rows.append('| --- | --- | --- |')
  rows += [
    f'| {x["processes"]} | {x["devices"]} | {x["iteration"]} |' for x in stages
  ]
  rows += [
    '',
    '| against an undisturbed run on one device | |',
    '| --- | --- |',
  ]
  for name, value in compared.items():
    if name != 'git_commit':
      shown = f'{value:.2g}' if isinstance(value, float) else value
      rows.append(f'| {name} | {shown} |')
  return '\n'.join(rows)


def divided(lines) -> str:
  """A row for each mesh."""
  rows = ['| data x model | iterations | arrays of the state | equal |']
  rows.append('| --- | --- | --- | --- |')
  rows += [
    f'| {x["data"]} x {x["model"]} | {x["iterations"]} | {x["arrays"]} '
    f'| {"yes" if x["equal"] else "no"} |'
    for x in lines
  ]
  return '\n'.join(rows)


def scaling(lines: list[dict]) -> str:
  """Times of every cell, and sizes of a device."""
  rows = [
    '| processes | devices | ' + ' | '.join(f'{x} s' for x in PARTS) + ' |',
    '|' + ' --- |' * (2 + len(PARTS)),
  ]
  for line in lines:
    times = ' | '.join(f'{line[x]:.3f}' for x in PARTS)
    rows.append(f'| {line["processes"]} | {line["devices"]} | {times} |')
  names = [x for x in lines[0] if x == 'kept' or ' ' in x]
  rows += [
    '',
    '| KiB of a device | ' + ' | '.join(names) + ' |',
    '|' + ' --- |' * (1 + len(names)),
  ]
  for line in lines:
    if 'kept' in line:
      cells = ' | '.join(f'{line[x] / 1024:,.0f}' for x in names)
      rows.append(f'| {line["devices"]} | {cells} |')
  return '\n'.join(rows)
