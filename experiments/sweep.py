"""Runs a study: a grid of small experiments, one JSON line per cell.

  python -m experiments.sweep --study=experiments/ablations/NAME.py --all
      every cell that has no result yet; Ctrl-C keeps the finished ones
  ... --all --vmap
      the same, with cells that differ only in seed and in what the study
      names in TRACED as one compiled program
  ... --list, --count, --index=I
      the cells, how many they are, and one of them; for a job array
      sbatch --array=0-$((COUNT - 1)) with --index=$SLURM_ARRAY_TASK_ID
  ... --report
      means and standard errors over seeds, and a figure with error bars

Results are lines {cell, result, command, git_commit, seconds} of
experiments/results/STUDY.jsonl; a finished cell is not run again unless
--force says so, and then its newest line counts. What a study consists of is
told in experiments/ablations/study.py.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

from absl import flags

from experiments import command

_STUDY = flags.DEFINE_string('study', '', 'The study, a Python file.')
_LIST = flags.DEFINE_bool(
  'list', False, 'Print the cells; + is finished.', allow_override=True
)
_COUNT = flags.DEFINE_bool('count', False, 'Print how many cells there are.')
_INDEX = flags.DEFINE_integer('index', None, 'Run this cell, from 0.')
_ALL = flags.DEFINE_bool('all', False, 'Run every cell.', allow_override=True)
_REPORT = flags.DEFINE_bool('report', False, 'Print a table, draw the figure.')
_VMAP = flags.DEFINE_bool(
  'vmap', False, 'One program for all values of what the study traces.'
)
_FORCE = flags.DEFINE_bool('force', False, 'Run finished cells again.')
_RESULTS = command.results_flag()
_RUNS = flags.DEFINE_string('runs', 'runs', 'Folder of the training runs.')


# What of a run is added up, by the name of the sum.
_SUMS = {
  'cpu seconds': 'time/cpu',
  'tokens sampled': 'tokens/sampled',
  'tokens learned': 'tokens/learned',
}


def main() -> int:
  actions = {
    'list': _LIST.value,
    'count': _COUNT.value,
    'index': _INDEX.value is not None,
    'all': _ALL.value,
    'report': _REPORT.value,
  }
  chosen = [name for name, asked in actions.items() if asked]
  if len(chosen) != 1:
    got = ', '.join(f'--{name}' for name in chosen) or 'none'
    known = ', '.join(f'--{name}' for name in actions)
    raise command.Refused(f'give one of {known}; got {got}')
  if _FORCE.value and chosen[0] not in ('index', 'all'):
    raise command.Refused(f'--force would do nothing with --{chosen[0]}')
  if _VMAP.value and chosen != ['all']:
    raise command.Refused(f'--vmap would do nothing with --{chosen[0]}')
  study = load(pathlib.Path(_STUDY.value))
  if _VMAP.value and not traced_of(study):
    raise command.Refused('--vmap would do nothing: the study has no TRACED')
  cells = cells_of(study)
  results = pathlib.Path(_RESULTS.value) / f'{study.__name__}.jsonl'
  if chosen == ['count']:
    print(len(cells))
  elif chosen == ['list']:
    done = finished(results)
    for index, cell in enumerate(cells):
      print(f'{index:4} {"+" if key_of(cell) in done else " "} {name_of(cell)}')
  elif chosen == ['report']:
    from experiments.ablations import report

    done = finished(results)
    lines = [done[key_of(cell)] for cell in cells if key_of(cell) in done]
    if not lines:
      raise command.Refused(f'no cell is finished yet; run {_all_command()}')
    print(report.table(lines))
    if len(lines) < len(cells):
      print(f'{len(lines)} of {len(cells)} cells; run {_all_command()}')
    if hasattr(study, 'FIGURE'):
      print(report.draw(lines, study.FIGURE, results.with_suffix('.png')))
  else:
    return _run(study, _chosen(cells), results)
  return 0


def _all_command() -> str:
  return f'python -m experiments.sweep --study={_STUDY.value} --all'


def _chosen(cells):
  index = _INDEX.value
  if index is None:
    return cells
  if not 0 <= index < len(cells):
    raise command.Refused(
      f'--index={index}: the study has cells 0 to {len(cells) - 1}'
    )
  return [cells[index]]


def load(path: pathlib.Path):
  """The study as a module named like its file.

  Raises:
    Refused: no such file, or what the file lacks to be a study.
  """
  if not path.is_file():
    raise command.Refused(f'no study at {str(path)!r}; give --study=FILE.py')
  spec = importlib.util.spec_from_file_location(path.stem, path)
  if spec is None or spec.loader is None:
    raise command.Refused(f'{path} is no Python file; give --study=FILE.py')
  study = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(study)
  if not callable(getattr(study, 'cells', None)):
    raise command.Refused(f'{path} defines no cells()')
  if hasattr(study, 'run') == hasattr(study, 'CONFIG'):
    raise command.Refused(f'{path} must define either run or CONFIG')
  return study


def cells_of(study) -> list[dict]:
  """The cells of a study, each once and with a seed.

  Raises:
    Refused: naming the cell that is wrong.
  """
  cells = study.cells()
  seen: dict[str, int] = {}
  for index, cell in enumerate(cells):
    if 'seed' not in cell:
      raise command.Refused(f'cell {index} has no seed: {name_of(cell)}')
    for name in traced_of(study):
      if name not in cell:
        raise command.Refused(
          f'cell {index} lacks {name!r} of TRACED: {name_of(cell)}'
        )
    first = seen.setdefault(key_of(cell), index)
    if first != index:
      raise command.Refused(
        f'cells {first} and {index} are the same: {name_of(cell)}'
      )
  if not cells:
    raise command.Refused(f'study {study.__name__!r} has no cells')
  return cells


def traced_of(study) -> tuple[str, ...]:
  """The numbers of a cell that are data of the study's program."""
  return tuple(getattr(study, 'TRACED', ()))


def key_of(cell: dict) -> str:
  """What makes two cells the same, whatever the order of their keys."""
  return json.dumps(cell, sort_keys=True)


def name_of(cell: dict) -> str:
  """The cell in words that can name a folder."""
  words = ','.join(f'{name}={value}' for name, value in cell.items())
  return re.sub(r'[^\w.=,+-]+', '_', words)


def finished(path: pathlib.Path) -> dict[str, dict]:
  """The newest line of every finished cell, by `key_of`.

  A line cut short by a crash is no result; it is named and passed over.
  """
  lines: dict[str, dict] = {}
  if not path.exists():
    return lines
  for number, text in enumerate(path.read_text().splitlines(), start=1):
    try:
      line = json.loads(text)
      lines[key_of(line['cell'])] = line
    except (ValueError, KeyError, TypeError):
      print(f'{path}:{number} is no result; passed over', file=sys.stderr)
  return lines


def append(path: pathlib.Path, lines: list[dict]) -> None:
  """Adds lines as one write, whole, whoever else is adding theirs."""
  path.parent.mkdir(parents=True, exist_ok=True)
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  with open(path, 'ab+') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    if file.tell():
      file.seek(-1, os.SEEK_END)
      # A crash may have cut the last line short; do not go on in it.
      text = text if file.read(1) == b'\n' else '\n' + text
    file.write(text.encode())
    file.flush()
    os.fsync(file.fileno())


def _run(study, cells, results: pathlib.Path) -> int:
  done = {} if _FORCE.value else finished(results)
  waiting = [cell for cell in cells if key_of(cell) not in done]
  print(f'{len(cells) - len(waiting)} of {len(cells)} cells are finished')
  # SLURM ends a job by SIGTERM; it is treated like Ctrl-C.
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  count, commit = 0, command.commit()
  try:
    for group in _groups(study, waiting):
      started = time.perf_counter()
      outcomes = _outcomes(study, group)
      seconds = (time.perf_counter() - started) / len(group)
      append(
        results,
        [_line(c, o, commit, seconds) for c, o in zip(group, outcomes)],
      )
      count += len(group)
      print(f'{count}/{len(waiting)} {name_of(group[0])}: {seconds:.1f} s each')
  except KeyboardInterrupt:
    print(
      f'stopped; {count} cells are in {results}, the same command goes on',
      file=sys.stderr,
    )
    return 130
  return 0


def _line(cell, outcome, commit, seconds):
  return {
    'cell': cell,
    'result': outcome,
    'command': shlex.join(['python', '-m', 'experiments.sweep', *sys.argv[1:]]),
    'git_commit': commit,
    'seconds': round(seconds, 3),
  }


def _groups(study, cells):
  """Cells that run together: those that differ in what is data."""
  if hasattr(study, 'CONFIG'):
    return [[cell] for cell in cells]
  data = ('seed', *(traced_of(study) if _VMAP.value else ()))
  groups: dict[str, list] = {}
  for cell in cells:
    groups.setdefault(key_of(without(cell, data)), []).append(cell)
  return list(groups.values())


def without(cell: dict, names) -> dict:
  return {name: value for name, value in cell.items() if name not in names}


def _outcomes(study, group) -> list[dict]:
  """The result of each cell of a group."""
  if hasattr(study, 'CONFIG'):
    return [_trained(study, cell) for cell in group]
  import numpy as np

  seeds = [cell['seed'] for cell in group]
  traced = traced_of(study)
  numbers = {name: np.array([cell[name] for cell in group]) for name in traced}
  fixed = without(group[0], ('seed', *traced))
  arrays = study.run(seeds, **fixed, **numbers)
  arrays = {name: np.asarray(x) for name, x in arrays.items()}
  for name, x in arrays.items():
    if x.shape[:1] != (len(seeds),):
      raise command.Refused(
        f'run gave {name!r} of shape {x.shape} for {len(seeds)} seeds; '
        'its leading axis must be that of the seeds'
      )
  return [
    {name: x[i].tolist() for name, x in arrays.items()}
    for i in range(len(seeds))
  ]


def _trained(study, cell) -> dict:
  """Trains a cell in a process of its own and reads its metrics back.

  A run that was stopped before goes on where it was.

  Raises:
    Refused: the run failed, with its command.
  """
  workdir = pathlib.Path(_RUNS.value) / study.__name__ / name_of(cell)
  words = training_command(study.CONFIG, cell, workdir)
  # A session of its own: a Ctrl-C in the terminal reaches this process alone,
  # which asks once, where two requests would make the run leave at once.
  with subprocess.Popen(words, start_new_session=True) as process:
    try:
      code = process.wait()
    except KeyboardInterrupt:
      process.terminate()
      raise
  if code:
    raise command.Refused(f'exit status {code} of: {shlex.join(words)}')
  return measured(workdir)


def training_command(config: str, cell: dict, workdir) -> list[str]:
  """`experiments.train` with the settings of a cell; `recipe` names one."""
  settings = dict(cell)
  recipe = settings.pop('recipe', '')
  return [
    *(sys.executable, '-m', 'experiments.train', '--quiet'),
    f'--config={config}' + (f':{recipe}' if recipe else ''),
    *(f'--config.{name}={value}' for name, value in settings.items()),
    f'--workdir={workdir}',
  ]


def measured(workdir: pathlib.Path) -> dict:
  """What a run came to, by name.

  `before/NAME` and `after/NAME` are the first and the last held-out result,
  `eval/NAME` all of them, after as many iterations as `iteration` says.
  `reward/mean` has one number an iteration, and so have the `score/NAME` of
  several verifiers; the other names are sums over the run, `cpu seconds` those
  of the processor.

  Raises:
    Refused: the run has not reached its last iteration.
  """
  from experiments import runs
  from jaxrl_llm.training import writers

  lines = writers.read(workdir / 'metrics.jsonl')
  steps = runs.config_of(workdir).steps
  last = max((line['step'] for line in lines), default=0)
  if last < steps:
    raise command.Refused(f'{workdir} stopped at iteration {last} of {steps}')
  result: dict[str, object] = {}
  tested = [line for line in lines if any(map(_held_out, line))]
  for when, line in zip(('before', 'after'), tested[:1] + tested[-1:]):
    for name in filter(_held_out, line):
      result[f'{when}/{name.removeprefix("eval/")}'] = line[name]
  for name in filter(_held_out, tested[-1] if tested else ()):
    found = [line.get(name) for line in tested]
    if None not in found:
      result[name] = found
  if tested:
    result['iteration'] = [line['step'] for line in tested]
  for name, metric in _SUMS.items():
    if any(metric in line for line in lines):
      result[name] = sum(line.get(metric, 0.0) for line in lines)
  scores = {n for line in lines for n in line if n.startswith('score/')}
  parts = sorted(scores) if len(scores) > 1 else ()  # else it is the reward
  for name in ('reward/mean', *parts):
    result[name] = [line[name] for line in lines if name in line]
  return result


def _held_out(name: str) -> bool:
  """Whether a metric is a result of an evaluation, bounds left out."""
  return name.startswith('eval/') and not name.endswith(('/low', '/high'))


if __name__ == '__main__':
  command.run(main)
