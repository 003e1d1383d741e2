"""Rows of a benchmark as tables: rates, fractions of the machine, ratios."""

from __future__ import annotations

import json
import pathlib
import statistics

from experiments.benchmarks import cases

# What is written by hand in performance.md stays; this lies between the marks.
BEGIN, END = '<!-- measured: begin -->', '<!-- measured: end -->'

_COLUMNS = (
  'model',
  'shape',
  'system',
  'sample tok/s',
  'learn s',
  'step s',
  'sample MFU',
  'learn MFU',
  'bandwidth',
  'peak GB',
  'first s',
)


def write(results: pathlib.Path) -> pathlib.Path:
  """Puts the newest row of every cell into performance.md, and returns it."""
  text = (results / 'bench.jsonl').read_text()
  rows: dict[str, dict] = {}
  for line in text.splitlines():
    row = json.loads(line)
    rows[json.dumps(row['cell'], sort_keys=True)] = row
  path = results / 'performance.md'
  before, _, rest = path.read_text().partition(BEGIN)
  _, _, after = rest.partition(END)
  body = '\n\n'.join([BEGIN, *_sections(list(rows.values())), END])
  path.write_text(before + body + after)
  return path


def summary(row: dict) -> str:
  """One row in a few lines, for the terminal."""
  return '\n'.join(
    ', '.join(f'{k} {v}' for k, v in line.items()) for line in _lines(row)
  )


def _sections(rows: list[dict]) -> list[str]:
  lines = [line for row in rows for line in _lines(row)]
  grid = [_COLUMNS, ('---',) * len(_COLUMNS)]
  grid += [tuple(line.get(name, '') for name in _COLUMNS) for line in lines]
  sections = [_table(grid)]
  compared = [row for row in rows if row['cell']['peer'] != 'none']
  if compared:
    head = ('model', 'shape', 'peer', 'sampling', 'learning', 'step')
    grid = [head, ('---',) * len(head), *map(_ratios, compared)]
    words = 'Times faster than the peer: median over rounds (least to most).'
    sections += [words, _table(grid)]
  commands = '\n'.join(
    f'- `{row["command"]}` at `{row["git_commit"][:12]}`, '
    f'{row["cores"]} cores, load {row["load"]:.1f}, {_versions(row)}'
    for row in rows
  )
  return [*sections, commands]


def _lines(row: dict) -> list[dict[str, str]]:
  """One line a system: its rates, and the machine's in the same minutes."""
  measured, cell = row['measured'], row['cell']
  model, shape = cases.Model(**row['sizes']), cases.SHAPES[cell['shape']]
  machine = measured['machine']['rounds']
  # The best of the rounds: others on the machine only ever slow it down.
  peak = max(each[cell['dtype']] for each in machine)
  copy = max(each['copy'] for each in machine)
  forward, once = cases.forward(model, shape), cases.shared(model, shape)
  lines = []
  for name, system in measured.items():
    if name == 'machine':
      continue
    seconds = {k: median(system, k) for k in ('sample', 'learn', 'step')}
    sample = forward / seconds['sample'] / peak
    learn = 3 * forward / seconds['learn'] / peak
    moved = cases.traffic(model, shape) / seconds['sample'] / copy
    lines.append(
      {
        'model': cell['model'],
        'shape': cell['shape'],
        'system': name,
        'sample tok/s': f'{shape.tokens / seconds["sample"]:,.0f}',
        'learn s': f'{seconds["learn"]:.2f}',
        'step s': f'{seconds["step"]:.2f} ({_spread(system)})',
        'sample MFU': f'{sample:.0%} ({sample * once / forward:.0%})',
        'learn MFU': f'{learn:.0%} ({learn * once / forward:.0%})',
        'bandwidth': f'{moved:.0%}',
        'peak GB': f'{system["peak_bytes"] / 1e9:.1f}',
        'first s': f'{system["first"]:.0f}',
      }
    )
  return lines


def _ratios(row: dict) -> tuple[str, ...]:
  cell, measured = row['cell'], row['measured']
  ours, theirs = measured['ours']['rounds'], measured[cell['peer']]['rounds']

  def ratio(name):
    of_rounds = [b[name] / a[name] for a, b in zip(ours, theirs)]
    least, most = min(of_rounds), max(of_rounds)
    return f'{statistics.median(of_rounds):.2f} ({least:.2f} to {most:.2f})'

  names = ('sample', 'learn', 'step')
  return cell['model'], cell['shape'], cell['peer'], *map(ratio, names)


def median(system: dict, name: str) -> float:
  return statistics.median(each[name] for each in system['rounds'])


def _spread(system: dict) -> str:
  steps = [each['step'] for each in system['rounds']]
  return f'{min(steps):.2f} to {max(steps):.2f}'


def _versions(row: dict) -> str:
  known = {}
  for system in row['measured'].values():
    known |= system['versions']
  return ', '.join(f'{name} {version}' for name, version in known.items())


def _table(grid) -> str:
  return '\n'.join('| ' + ' | '.join(line) + ' |' for line in grid)
