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
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from absl import flags

from experiments import command
from experiments.benchmarks import chips, clusters, markdown, tables

_DRAW = flags.DEFINE_bool('draw', False, 'Only write the page.')
_RESULTS = command.results_flag()
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


def main() -> None:
  results = pathlib.Path(_RESULTS.value)
  path = results / 'scaling.jsonl'
  if not _DRAW.value:
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
      for count, devices in CELLS:
        given: dict[str, Any] = {'processes': count, 'devices': count * devices}
        lines.append(
          {'git_commit': command.commit()}
          | given
          | timed(pathlib.Path(scratch), count, devices)
          | (sizes(devices) if count == 1 else {})
        )
        print(json.dumps(lines[-1]), file=sys.stderr, flush=True)
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  parts = '## Measured', tables.scaling(lines), '## Estimated', chips.table()
  markdown.put(results / 'scaling.md', parts)


def timed(folder: pathlib.Path, count: int, devices: int) -> dict[str, float]:
  """Median seconds of the parts of an iteration, the first ones left out."""
  workdir = folder / f'{count}x{devices}'
  given = [*clusters.words(workdir, _STEPS), *_SIZES]
  log = workdir.with_suffix('.log')
  running = clusters.start(count, given, log, DEVICES=str(devices))
  if running.wait():
    raise RuntimeError(log.read_text())
  lines = clusters.logged(workdir)[3:]
  return {
    name: round(statistics.median(x[f'time/{name}'] for x in lines), 4)
    for name in tables.PARTS
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
  return clusters.dry_run_sizes(said)


if __name__ == '__main__':
  command.run(main)
