"""Trains a policy with a recipe and writes everything to a run folder.

  python -m experiments.train
      the default experiment: a small model, a warm start, then GRPO
  python -m experiments.train --config=experiments/configs/default.py:dapo
      another recipe on the same task
  python -m experiments.train --config.model.path=FOLDER \\
      --config.data.path=FILE.jsonl --workdir=runs/mine
      your own Hugging Face model on your own questions

The same command goes on where it was stopped or killed. Ctrl-C saves first.
--fresh begins anew; --from=RUN begins with the policy of another run, under
other settings.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import shlex
import shutil
import signal
import sys

import jax
from absl import flags

from experiments import command, modules, settings

_CONFIG = command.config_flag(command.here('configs', 'default.py'))
_WORKDIR = flags.DEFINE_string(
  'workdir',
  '',
  'Run folder (default: runs/CONFIG-RECIPE-SEED).',
  allow_override=True,
)
_CHECKPOINTS = flags.DEFINE_string(
  'checkpoints',
  '',
  'Where checkpoints are kept, a folder or gs://BUCKET/PATH, of this run alone '
  '(default: in the run folder).',
)
_DRY_RUN = flags.DEFINE_bool(
  'dry_run', False, 'Build, check and compile, print sizes, run nothing.'
)
_EXPORT = flags.DEFINE_bool(
  'export',
  False,
  'Write WORKDIR/export for transformers at the end, over that of before.',
)
_FRESH = flags.DEFINE_bool(
  'fresh', False, 'Delete the run that is in the folder, and begin anew.'
)
_FROM = flags.DEFINE_string(
  'from',
  None,
  'Run whose newest policy this one begins with, under settings of its own.',
  allow_override=True,
)
_FROM_OPTIMIZER = flags.DEFINE_bool(
  'from_optimizer', False, "Of --from, the optimiser's state as well."
)
_QUIET = flags.DEFINE_bool('quiet', False, 'No progress, nor devices.')

# A run may go on with other values of these: they change no number, or, those
# of the mesh and of what is shown, its rounding alone.
_FREE = (
  'checkpoint.every',
  'checkpoint.keep',
  'checkpoint.keep_every',
  'checkpoint.asynchronous',
  'max_bad_steps',
  'max_idle_steps',
  'environment_seconds',
  'eval.every',
  'eval.samples',
  'eval.prompts',
  'eval.temperature',
  'eval.top_p',
  'eval.max_response',
  'eval.sets',
  'eval.saved',
  'log.samples',
  'log.tokens',
  'log.trackers',
  'log.project',
  'mesh.data',
  'mesh.model',
  'verify.workers',
)


class Stopper:
  """Turns the first Ctrl-C or SIGTERM into a request, the second into an end.

  Used as a context; `stopper()` says whether to stop. An exception instead
  would reach into whatever library was at work.
  """

  _SIGNALS = (signal.SIGINT, signal.SIGTERM)

  def __init__(self):
    self._asked = False

  def __call__(self) -> bool:
    return self._asked

  def __enter__(self):
    self._before = {s: signal.signal(s, self._handle) for s in self._SIGNALS}
    return self

  def __exit__(self, *_):
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _handle(self, number, frame):
    del frame
    if self._asked:
      os._exit(128 + number)
    self._asked = True
    os.write(2, b'\nstopping after this iteration; once more leaves at once\n')


def main() -> int:
  config, workdir = _CONFIG.value, _workdir()
  settings.check_overrides(config)
  settings.check_values(config)
  asked = _asked()
  if _DRY_RUN.value:
    from experiments import dry_run

    return dry_run.report(config)
  from jaxrl_llm.training import hosts

  with Stopper() as stopping:
    hosts.initialize()
    with hosts.ending_at_once(command.tell):
      return _locked(config, workdir, stopping, asked)


def _asked():
  """What the command line has the run begin from, None for nothing."""
  from experiments import fork

  if _FROM.value == '':  # A variable of the shell that is not set, say.
    raise command.Refused(
      '--from= names no run; name its folder, or leave the flag out'
    )
  if _FROM_OPTIMIZER.value and not _FROM.value:
    raise command.Refused('--from_optimizer would do nothing without --from')
  if not _FROM.value:
    return None
  run = os.path.abspath(command.folder('from', _FROM.value))
  return fork.Fork(run, _FROM_OPTIMIZER.value)


def _workdir() -> pathlib.Path:
  if _WORKDIR.value:
    return command.folder('workdir', _WORKDIR.value)
  config = _CONFIG.value
  path = pathlib.Path(config_file()).stem
  return pathlib.Path('runs') / f'{path}-{config.recipe.name}-{config.seed}'


def _checkpoints(workdir: pathlib.Path) -> str:
  """Where this run keeps its checkpoints.

  Raises:
    Refused: elsewhere than it began to, an address that nothing here can write
      to, or a place that has checkpoints of another run.
  """
  from jaxrl_llm.training import checkpoint
  from jaxrl_llm.training import workdir as workdir_lib

  asked, began = _CHECKPOINTS.value, (workdir / 'config.json').exists()
  kept = workdir_lib.checkpoints(workdir)
  if not asked:
    return kept
  if '://' not in asked:
    asked = os.path.abspath(asked)
  elif not asked.startswith('gs://'):
    raise command.Refused(
      f'--checkpoints={asked}: of buckets those of gs:// are written to; mount '
      'another, as s3fs does, and name the folder'
    )
  elif importlib.util.find_spec('gcsfs') is None:
    raise command.Refused(
      f'--checkpoints={asked} is written with packages of Google: pip install '
      'gcsfs google-cloud-storage'
    )
  if began and asked != kept:
    raise command.Refused(
      f'--checkpoints={asked}: the run in {workdir} keeps its checkpoints in '
      f'{kept}; leave the flag out, or choose another workdir'
    )
  if not began and checkpoint.steps(asked):
    raise command.Refused(
      f'--checkpoints={asked} has those of another run: in {workdir} none has '
      'begun; choose another place, or delete them'
    )
  return asked


def _make(checkpoints: str) -> None:
  """The folder of checkpoints, before anything is read that takes long.

  Raises:
    Refused: it cannot be made, or nobody may write to it.
  """
  if '://' in checkpoints:
    return
  try:
    os.makedirs(checkpoints, exist_ok=True)
    writable = os.access(checkpoints, os.W_OK | os.X_OK)
    why = '' if writable else 'Permission denied'
  except OSError as error:
    why = error.strerror or str(error)
  if why:
    raise command.Refused(
      f'checkpoints cannot be kept in {checkpoints} ({why}); make it a folder '
      'that you may write to, or choose another with --checkpoints=FOLDER'
    )


def config_file() -> str:
  """The path of the config file that was given."""
  from ml_collections import config_flags

  name = config_flags.get_config_filename(flags.FLAGS['config'])
  return name.split(':')[0]


def _locked(config, workdir: pathlib.Path, stopping: Stopper, asked) -> int:
  """The run, or no trace of it where it cannot start."""
  from experiments import fork
  from jaxrl_llm.training import hosts
  from jaxrl_llm.training import workdir as workdir_lib

  lock = hosts.on_first(lambda: workdir_lib.Lock(workdir))
  with lock:
    try:
      # Before anything is deleted for it.
      if asked and (_FRESH.value or not (workdir / 'config.json').exists()):
        fork.check(asked, config, workdir)
      if _FRESH.value:
        hosts.on_first(lambda: _clear(workdir))
      started = _started(config, workdir, asked)
    except Exception:
      lock.withdraw()
      raise
    return _train(config, workdir, started, stopping)


def _clear(workdir: pathlib.Path) -> None:
  """Deletes a run, its checkpoints first, whose place its record says."""
  from jaxrl_llm.training import checkpoint
  from jaxrl_llm.training import workdir as workdir_lib

  if (workdir / 'config.json').exists():
    checkpoint.remove(workdir_lib.checkpoints(workdir))
  workdir_lib.clear(workdir)


def _started(config, workdir: pathlib.Path, asked):
  """What `_start` gives, in a folder that belongs to this run or to none."""
  from experiments import fork
  from jaxrl_llm import problems
  from jaxrl_llm.problems.text import sources
  from jaxrl_llm.training import hosts, writers
  from jaxrl_llm.training import workdir as workdir_lib

  constant = config.optimizer.schedule == 'constant'
  free = ('steps', 'data.epochs') if constant else ()
  workdir_lib.check_config(workdir, config.to_dict(), allowed=(*_FREE, *free))
  origin = fork.of(workdir, asked)
  read = {
    'files': problems.fingerprints(config),
    'code': modules.fingerprints(config, config_file()),
  }
  for kind, found in read.items():
    workdir_lib.check_files(workdir, found, kind=kind)
  # What a failed start leaves would pass for the work of the next one, which
  # may have other settings.
  checkpoints = _checkpoints(workdir)
  made = [
    path
    for name in ('config.json', *sources.FOLDERS)
    if not (path := workdir / name).exists()
  ]
  if '://' not in checkpoints and not os.path.exists(checkpoints):
    made.append(pathlib.Path(checkpoints))
  try:
    _make(checkpoints)
    # Models are written by a library that knows no error of the disk.
    with writers.says_disk_full(workdir):
      return _start(config, workdir, read, checkpoints, origin)
  except Exception:
    for path in made if hosts.is_first() else ():
      shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    raise


def _start(config, workdir: pathlib.Path, read, checkpoints: str, origin):
  """The session, its checkpoints, and the state to go on from.

  Args:
    read: fingerprints of files and of code. checkpoints: where they are.
    origin: the `fork.Fork` that the run begins from, or None.
  """
  from experiments import fork
  from jaxrl_llm import problems
  from jaxrl_llm.training import (
    checkpoint,
    hosts,
    loop,
    programs,
    trackers,
    writers,
  )
  from jaxrl_llm.training import workdir as workdir_lib

  command.use_compilation_cache(workdir.parent)
  programs.count()  # Begins to.
  # First, so that whatever an interrupted start leaves has an owner.
  record = _record(config, problems.recipe_of(config)) | read
  if checkpoints != str(workdir / 'checkpoints'):
    record |= {'checkpoints': checkpoints}
  if origin:
    record |= {'from': workdir_lib.forked(workdir) or origin._asdict()}
  hosts.on_first(lambda: writers.write_config(workdir, record))
  # Once it has a checkpoint of its own, it needs the other run no more.
  forks = origin and not checkpoint.steps(checkpoints)
  if forks:
    fork.check(origin, config, workdir)
    hosts.on_first(lambda: fork.take_folders(origin, workdir))
  parts, params = problems.assemble(config, workdir)
  hosts.on_first(parts.try_out)
  counts, step = {}, None
  if forks:
    at, state = fork.begin(origin, parts, params)
    record['from'] |= {'step': at}
    hosts.on_first(lambda: writers.write_config(workdir, record))
  else:
    state = loop.begin(parts, params)
  checkpointer = checkpoint.Checkpointer(
    checkpoints,
    every=config.checkpoint.every,
    keep=config.checkpoint.keep,
    keep_every=config.checkpoint.keep_every,
    asynchronous=config.checkpoint.asynchronous,
  )
  if forks:
    checkpointer.save(0, state, {})
    checkpointer.wait()
  target = checkpoint.shapes(state)
  if checkpointer.latest is not None:
    del state, params  # One state at a time: what is there is read, or refused.
  restored = checkpointer.restore(target)
  if restored:
    state, counts = restored.state, restored.metadata
    # Iteration 0 was saved before it was evaluated: it is logged anew.
    step = restored.step or None
    if not forks:
      hosts.say(f'going on from iteration {restored.step} of {workdir}')
  run = hosts.on_first(
    lambda: writers.Run(
      workdir,
      total_steps=parts.config.steps,
      resume_step=step,
      quiet=_QUIET.value,
      trackers=trackers.begin(
        config.log.trackers,
        workdir,
        project=config.log.project,
        config=config.to_dict(),
      ),
    )
  )
  if jax.device_count() > 1 and not _QUIET.value:
    hosts.say(hosts.description())
  if parts.example and not _QUIET.value:
    hosts.say(f'the first prompt: {command.short(parts.example)}')
  if step is None and config.eval.every and not _QUIET.value:
    hosts.say(f'before the first iteration: {parts.asked} questions held out')
  return parts, checkpointer, run, state, counts


def _train(config, workdir, started, stopping) -> int:
  from jaxrl_llm.training import hosts, loop, programs

  parts, checkpointer, run, state, counts = started
  # Closed in reverse: the checkpointer first waits for its last save.
  with (
    contextlib.closing(parts),
    contextlib.closing(run),
    contextlib.closing(checkpointer),
    hosts.ending_at_once(command.tell),
  ):
    try:
      state = loop.train(
        parts,
        state,
        run,
        checkpointer,
        **counts,
        stopping=lambda: hosts.agreed(stopping()),
      )
    except loop.Diverged as error:
      hosts.say(f'error: {error}')
      return 3
  total = parts.config.steps
  if int(state.step) < total:
    hosts.say(
      f'saved iteration {int(state.step)} of {total}; go on with:\n'
      f'  {_command()}'
    )
    return 0
  loaded = programs.count()
  hosts.on_first(lambda: _write_page(workdir))
  hosts.on_first(lambda: print(report(workdir)))
  hosts.on_first(
    lambda: print(f'programs: {loaded.loaded}, {loaded.compiled} compiled anew')
  )
  if _EXPORT.value:
    _export(parts, state, workdir)
  return 0


def _export(parts, state, workdir: pathlib.Path) -> None:
  """Writes the policy, in place of what the run exported before."""
  from experiments import card
  from jaxrl_llm.training import hosts, writers

  folder = workdir / 'export'
  if (folder / 'config.json').exists():
    hosts.on_first(lambda: shutil.rmtree(folder))
  with writers.says_disk_full(workdir):
    text = card.of_run(workdir, int(state.step))
    written = parts.export(state, folder, card=text)
  hosts.on_first(lambda: print(f'exported to {folder}: {written}'))


def _write_page(workdir: pathlib.Path) -> None:
  from experiments import page
  from jaxrl_llm.training import writers

  with writers.says_disk_full(workdir):
    page.write(workdir)


def report(workdir: pathlib.Path) -> str:
  """Held-out results before and after training, as a table."""
  from experiments import runs

  rows, found = [f'run folder: {workdir}'], runs.held_out(workdir)
  if found:
    rows.append(f'{"held out":26}{"before":>10}{"after":>10}')
  rows += [f'{name:26}{a:>10.3f}{b:>10.3f}' for name, a, b in found]
  return '\n'.join(rows)


def _command() -> str:
  words = shlex.join(['python', '-m', 'experiments.train', *sys.argv[1:]])
  return command.as_named(words)


def _record(config, method) -> dict:
  """What `config.json` says of a run."""
  from jaxrl_llm import recipe

  packages = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint')
  return {
    'config': config.to_dict(),
    'recipe': recipe.describe(method),
    'seed': config.seed,
    'command': _command(),
    'config_file': os.path.abspath(config_file()),
    'git_commit': command.commit(),
    'versions': {
      'python': platform.python_version(),
      **{p: importlib.metadata.version(p) for p in packages},
    },
  }


if __name__ == '__main__':
  command.run(main)
