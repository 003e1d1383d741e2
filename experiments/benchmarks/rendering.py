"""Rows of a benchmark as tables: rates, fractions of the machine, ratios."""

from __future__ import annotations

import json
import pathlib
import statistics

from experiments.benchmarks import cases, markdown

# Times faster than the best peer that we mean to be: sampling, learning, step.
TARGETS = {
  ('short', 'trl'): (2.5, 2.3, 2.5),
  ('short', 'tunix'): (2.2, 1.8, 2.0),
  ('long', 'trl'): (2.5, 4.0, 3.5),
  ('long', 'tunix'): (2.5, 4.0, 3.5),
  ('ragged', 'trl'): (3.0, 2.0, 2.5),
  ('ragged', 'tunix'): (3.0, 2.0, 2.5),
}

_CLOCK = ('sample', 'learn', 'step')
_CPU = tuple(f'{name} cpu' for name in _CLOCK)
_COLUMNS = (
  'model',
  'shape',
  'system',
  'sample tok/s',
  'learn tok/s',
  'step s',
  'sample MFU',
  'learn MFU',
  'bandwidth',
  'host',
  'peak GB',
  'first s',
  'calm rounds',
)


def write(results: pathlib.Path) -> pathlib.Path:
  """Puts the newest row of every cell into performance.md, and returns it."""
  text = (results / 'bench.jsonl').read_text()
  rows: dict[str, dict] = {}
  for line in text.splitlines():
    row = json.loads(line)
    rows[json.dumps(row['cell'], sort_keys=True)] = row
  return markdown.put(
    results / 'performance.md', _sections(list(rows.values()))
  )


def summary(row: dict) -> str:
  """One row in a few lines, for the terminal."""
  return '\n'.join(
    ', '.join(f'{k} {v}' for k, v in line.items()) for line in _lines(row)
  )


def _sections(rows: list[dict]) -> list[str]:
  lines = [line for row in rows for line in _lines(row)]
  grid = [[line.get(name, '') for name in _COLUMNS] for line in lines]
  sections = [markdown.table(_COLUMNS, grid)]
  compared = [row for row in rows if row['cell']['peer'] != 'none']
  if compared:
    head = ('model', 'shape', 'peer', 'by', 'sampling', 'learning', 'step')
    ratios = [line for row in compared for line in _ratios(row)]
    words = (
      'Times faster than the peer, per token: ratio of the medians (least '
      'and most of any two rounds), and the target. By the clock where both '
      'had calm rounds, and by the time of processors over all rounds.'
    )
    sections += [words, markdown.table(head, ratios)]
  commands = '\n'.join(
    f'- `{row["command"]}` at `{row["git_commit"][:12]}`, '
    f'{row["cores"]} cores, {_versions(row)}'
    f'{_tried(row)}'
    for row in rows
  )
  return [*sections, commands]


def _lines(row: dict) -> list[dict[str, str]]:
  """One line a system: its rates, and the machine's in the same minutes."""
  measured, cell = row['measured'], row['cell']
  model, shape = cases.Model(**row['sizes']), cases.SHAPES[cell['shape']]
  machine = measured['machine']['rounds']
  # The best of the rounds: others on the machine only ever slow it down.
  peak = max(each[f'{cell["dtype"]} cpu'] for each in machine)
  copy = max(each['copy'] for each in machine)
  forward, once = cases.forward(model, shape), cases.shared(model, shape)
  expected = cases.tokens(model, shape)
  lines = []
  for name, system in measured.items():
    if name == 'machine':
      continue
    shown = name
    if name == 'ours':
      plain = () if cell.get('share_prompts', True) else ('prompts not shared',)
      shown = ', '.join((name, *plain, *cell.get('set', ())))
    sample, learn = (
      expected * statistics.median(_per_token(system, k))
      for k in ('sample', 'learn')
    )
    used = (statistics.median(_per_token(system, k)) for k in _CPU[:2])
    sampling, learning = (
      times * forward / (expected * seconds) / peak
      for times, seconds in zip((1, 3), used)
    )
    moved = cases.traffic(model, shape) / sample / copy
    lines.append(
      {
        'model': pathlib.Path(cell['model']).name,
        'shape': cell['shape'],
        'system': shown,
        'sample tok/s': f'{expected / sample:,.0f}',
        'learn tok/s': f'{expected / learn:,.0f}',
        'step s': _seconds(system),
        'sample MFU': f'{sampling:.0%} ({sampling * once / forward:.0%})',
        'learn MFU': f'{learning:.0%} ({learning * once / forward:.0%})',
        'bandwidth': f'{moved:.0%}',
        'host': _host(system),
        'peak GB': f'{system["peak_bytes"] / 1e9:.1f}',
        'first s': f'{system["first"]:.0f}',
        'calm rounds': _calmness(system),
      }
    )
  return lines


def _ratios(row: dict) -> list[tuple[str, ...]]:
  """One line by the clock, if it can be told, and one by the processors."""
  cell, measured = row['cell'], row['measured']
  systems = measured['ours'], measured[cell['peer']]
  targets = TARGETS.get((cell['shape'], cell['peer']), (0, 0, 0))

  def ratio(name, target):
    a, b = (_per_token(system, name) for system in systems)
    middle = statistics.median(b) / statistics.median(a)
    text = f'{middle:.2f} ({min(b) / max(a):.2f} to {max(b) / min(a):.2f})'
    return f'{text}, target {target}' if target else text

  found = {'processors': _CPU}
  if all(calm(system['rounds']) for system in systems):
    found = {'the clock': _CLOCK} | found
  who = pathlib.Path(cell['model']).name, cell['shape'], cell['peer']
  return [
    (*who, by, *map(ratio, names, targets)) for by, names in found.items()
  ]


def calm(rounds: list[dict]) -> list[dict]:
  """The rounds in which others took less than a tenth of the processors."""
  return [each for each in rounds if each['others'] < 0.1]


def _counted(system: dict) -> list[dict]:
  """Rounds to judge by: the calm ones, or all where there are none."""
  return calm(system['rounds']) or system['rounds']


def _per_token(system: dict, name: str) -> list[float]:
  """Seconds a token, by round."""
  rounds = system['rounds'] if name in _CPU else _counted(system)
  return [each[name] / each['tokens'] for each in rounds]


def _seconds(system: dict) -> str:
  steps = [each['step'] for each in _counted(system)]
  middle = statistics.median(steps)
  return f'{middle:.2f} ({min(steps):.2f} to {max(steps):.2f})'


def _calmness(system: dict) -> str:
  """How many rounds were calm, of how many, and the worst that counts."""
  rounds, counted = system['rounds'], _counted(system)
  worst = max(each['others'] for each in counted)
  return f'{len(calm(rounds))}/{len(rounds)} ({worst:.0%})'


def _host(system: dict) -> str:
  """Part of the step outside compiled programs, where a system says it."""
  rounds = _counted(system)
  if 'host' not in rounds[0]:
    return ''
  return f'{statistics.median(r["host"] / r["step"] for r in rounds):.1%}'


def _tried(row: dict) -> str:
  tried = row['tried'].items()
  found = ', '.join(f'{size} rows {learn:.2f} s' for size, learn in tried)
  return f'; microbatches tried: {found}' if found else ''


def _versions(row: dict) -> str:
  known: dict[str, str] = {}
  for system in row['measured'].values():
    known |= system['versions']
  return ', '.join(f'{name} {version}' for name, version in known.items())
