"""How a run behaves on more devices and processes of one small machine.

  python -m experiments.benchmarks.scaling           measures into scaling.jsonl
  python -m experiments.benchmarks.scaling --draw    puts it into scaling.md

Virtual devices and processes share the cores of this machine, so no time can
fall: what can be seen is what dividing costs, how the memory of a device falls
and what is sent. Measuring takes about four minutes of a quiet machine.
"""

from __future__ import annotations

import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

from absl import app, flags

from experiments import command
from experiments.benchmarks import chips, clusters

_DRAW = flags.DEFINE_bool('draw', False, 'Only write the page.')
_RESULTS = flags.DEFINE_string(
  'results', command.here('results'), 'The folder of scaling.jsonl and .md.'
)
# Processes, and devices of each.
CELLS = ((1, 1), (1, 2), (1, 4), (1, 8), (2, 1), (4, 1))
_STEPS = 12
# Enough arithmetic that an iteration is not all overhead.
_SIZES = (
  '--config.model.fresh.layers=2',
  '--config.model.fresh.width=128',
  '--config.model.fresh.heads=4',
  '--config.model.fresh.kv_heads=2',
  '--config.model.fresh.mlp_width=384',
  '--config.sample.prompts=16',
)
PARTS = ('sample', 'verify', 'score', 'learn', 'step')
_MARKS = '<!-- measured: begin -->', '<!-- measured: end -->'
_UNITS = {'B': 1, 'KiB': 2**10, 'MiB': 2**20, 'GiB': 2**30}


def main(argv) -> None:
  del argv
  results = pathlib.Path(_RESULTS.value)
  path = results / 'scaling.jsonl'
  if not _DRAW.value:
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
      for count, devices in CELLS:
        given = {'processes': count, 'devices': count * devices}
        lines.append(
          {'git_commit': command.commit()}
          | given
          | timed(pathlib.Path(scratch), count, devices)
          | (sizes(devices) if count == 1 else {})
        )
        print(json.dumps(lines[-1]), file=sys.stderr, flush=True)
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
  page = results / 'scaling.md'
  begin, end = _MARKS
  text = page.read_text()
  head, tail = text.partition(begin)[0], text.partition(end)[2]
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  tables = '\n\n'.join([measured(lines), '## Estimated', chips.table()])
  page.write_text(f'{head}{begin}\n\n{tables}\n\n{end}{tail}')


def timed(folder: pathlib.Path, count: int, devices: int) -> dict[str, float]:
  """Median seconds of the parts of an iteration, the first ones left out."""
  workdir = folder / f'{count}x{devices}'
  given = [*clusters.words(workdir, _STEPS), *_SIZES]
  log = workdir.with_suffix('.log')
  running = clusters.start(count, given, log, DEVICES=str(devices))
  if running.wait():
    raise RuntimeError(log.read_text())
  lines = [json.loads(x) for x in (workdir / 'metrics.jsonl').open()][3:]
  return {
    name: round(statistics.median(x[f'time/{name}'] for x in lines), 4)
    for name in PARTS
  }


def sizes(devices: int) -> dict[str, float]:
  """What `--dry_run` says of a device: bytes kept, computed with and sent."""
  words = [*clusters.words(pathlib.Path('none'), _STEPS), *_SIZES, '--dry_run']
  said = subprocess.run(
    [sys.executable, '-m', *words],
    cwd=clusters.ROOT,
    env=clusters.surroundings() | {'JAX_NUM_CPU_DEVICES': str(devices)},
    text=True,
    capture_output=True,
    check=True,
  ).stdout
  return parsed(said)


def parsed(said: str) -> dict[str, float]:
  """Numbers of the report of a dry run."""
  found, program = {}, ''
  for line in said.splitlines():
    kept = re.match(r'  (trained parameters|optimiser|reference) ', line)
    if kept:
      number, unit = line.split()[-2:]
      found['kept'] = found.get('kept', 0) + float(number) * _UNITS[unit]
    start = re.match(r'  (\w+) +per device: .*activations ([\d.]+) (\w+)', line)
    if start:
      program = start.group(1)
      number, unit = start.groups()[1:]
      found[f'{program} activations'] = float(number) * _UNITS[unit]
      found[f'{program} sends'] = found[f'{program} sends a turn'] = 0
    sent = re.match(r' +\d+ [a-z\-]+ +([\d,]+) bytes( a turn)?', line)
    if sent and program:
      name = f'{program} sends{sent.group(2) or ""}'
      found[name] += int(sent.group(1).replace(',', ''))
  return found


def measured(lines: list[dict]) -> str:
  """Markdown: times of every cell, and sizes of a device."""
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


if __name__ == '__main__':
  app.run(main)
