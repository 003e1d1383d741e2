"""Moves one run between numbers of processes and devices, or divides it.

  python -m experiments.benchmarks.moves
  python -m experiments.benchmarks.moves --divided
      four processes, against one process with four devices and the same mesh

Each stage is stopped by SIGTERM, which saves, and the next goes on with other
processes and devices. The whole must equal a run that nobody stopped, on one
device: the same questions in the same order, the same tokens and rewards, the
same keys and method state; parameters to rounding, since sums over devices
have another order. Lines go to --results, one for each stage and one for the
comparison, or one for each mesh; --table prints those. Takes about four
minutes of two cores.
"""

from __future__ import annotations

import json
import pathlib
import tempfile
import time

import numpy as np
from absl import flags, logging

from experiments import command
from experiments.benchmarks import clusters, tables

_STEPS = flags.DEFINE_integer(
  'steps', 24, 'Iterations in all.', allow_override=True
)
_EACH = flags.DEFINE_integer('each', 3, 'Iterations of a stage, at least.')
_TABLE = flags.DEFINE_bool(
  'table', False, 'Only print the table.', allow_override=True
)
_DIVIDED = flags.DEFINE_bool('divided', False, 'Meshes instead; see above.')
_RESULTS = command.results_flag()
# Processes, and devices of each. The last stage goes on to the end.
STAGES = ((1, 1), (2, 1), (4, 1), (2, 1), (1, 1), (1, 8), (2, 2))
# Of data and model, for four processes.
MESHES = ((4, 1), (2, 2), (1, 4))
# What depends on tokens and keys alone, so that it must be the same number.
EXACT = (
  'step',
  'accuracy',
  'reward/mean',
  'score/exact',
  'response/length',
  'response/truncated',
  'tokens/sampled',
  'groups/live',
)


def main() -> None:
  logging.set_verbosity(logging.WARNING)
  name, measure, show = 'moves.jsonl', measured, tables.moves
  if _DIVIDED.value:
    name, measure, show = 'divided.jsonl', divided, tables.divided
  results = pathlib.Path(_RESULTS.value) / name
  if not _TABLE.value:
    with tempfile.TemporaryDirectory() as scratch:
      lines = measure(pathlib.Path(scratch))
    commit = {'git_commit': command.commit()}
    results.write_text(''.join(json.dumps(commit | x) + '\n' for x in lines))
  print(show([json.loads(x) for x in results.read_text().splitlines()]))


def measured(folder: pathlib.Path) -> list[dict]:
  """A line for each stage, and one for how the whole compares."""
  whole, moved = folder / 'whole', folder / 'moved'
  _stage(whole, 1, 1, _STEPS.value)
  lines = []
  for place, (count, devices) in enumerate(STAGES):
    last = place == len(STAGES) - 1
    until = clusters.saved(moved) + _EACH.value
    _stage(moved, count, devices, _STEPS.value if last else until)
    line = {'processes': count, 'devices': devices}
    lines.append(line | {'iteration': clusters.saved(moved)})
    print(json.dumps(lines[-1]), flush=True)
  return [*lines, comparison(whole, moved)]


def divided(folder: pathlib.Path) -> list[dict]:
  """A line for each mesh: whether processes change a bit of a run."""
  lines = []
  for data, model in MESHES:
    mesh = (f'--config.mesh.data={data}', f'--config.mesh.model={model}')
    runs = [folder / f'{data}x{model}-{count}' for count in (4, 1)]
    for workdir, count in zip(runs, (4, 1)):
      _stage(workdir, count, 4 // count, _STEPS.value, *mesh)
    equal = clusters.equal(*runs)
    lines.append({'data': data, 'model': model, 'equal': equal})
    lines[-1] |= {'iterations': clusters.saved(runs[0])}
    lines[-1] |= {'arrays': len(clusters.state(runs[0]))}
    print(json.dumps(lines[-1]), flush=True)
  return lines


def _stage(workdir, count, devices, until: int, *more: str) -> None:
  """Runs to the end, or until an iteration is logged, and then is stopped."""
  log = workdir.with_suffix('.log')
  given = [*clusters.words(workdir, _STEPS.value), *more]
  running = clusters.start(count, given, log, DEVICES=str(devices))
  while running.poll() is None and clusters.iteration(workdir) < until:
    time.sleep(0.01)
  if until < _STEPS.value:
    running.terminate()
  if running.wait():
    raise RuntimeError(log.read_text())


def comparison(whole: pathlib.Path, moved: pathlib.Path) -> dict:
  """What of two runs is equal, and how far the rest is apart."""
  logged = [clusters.metrics(run) for run in (whole, moved)]
  exact = [[{k: x[k] for k in EXACT if k in x} for x in y] for y in logged]
  states = [clusters.state(run) for run in (whole, moved)]
  samples = [(run / 'samples.jsonl').read_bytes() for run in (whole, moved)]
  apart = {
    name: float(np.abs(_numbers(x) - _numbers(states[1][name])).max(initial=0))
    for name, x in states[0].items()
  }
  losses = [[x['loss'] for x in y if 'loss' in x] for y in logged]
  return {
    'same metrics of tokens': exact[0] == exact[1],
    'same samples': samples[0] == samples[1],
    'same keys and method state': all(
      d == 0 for name, d in apart.items() if name.startswith('method')
    ),
    'method state': sorted(x for x in apart if x.startswith('method')),
    'loss apart': float(np.abs(np.subtract(losses[0], losses[1])).max()),
    'parameters apart': _largest(apart, 'params'),
    'optimiser apart': _largest(apart, 'opt'),
    'largest parameter': max(
      float(np.abs(x).max())
      for name, x in states[0].items()
      if name.startswith('params')
    ),
  }


def _numbers(x):
  return x.astype(np.float64) if x.dtype != object else np.zeros(0)


def _largest(apart, name):
  return max(d for path, d in apart.items() if path.startswith(name))


if __name__ == '__main__':
  command.run(main)
