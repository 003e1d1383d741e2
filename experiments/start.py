"""How a run starts or goes on: its folder, its parts, its state."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from experiments import command, fork, modules
from jaxrl_llm import problems, recipe
from jaxrl_llm.problems.text import sources
from jaxrl_llm.training import (
  checkpoint,
  hosts,
  loop,
  programs,
  trackers,
  writers,
)
from jaxrl_llm.training import workdir as workdir_lib
from jaxrl_llm.training.session import Session
from jaxrl_llm.types import TrainState

# A run may go on with other values of these: they change no number, or, those
# of the mesh, of memory and of what is shown, its rounding alone.
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
  'learn.microbatches',
  'log.samples',
  'log.tokens',
  'log.trackers',
  'log.project',
  'mesh.context',
  'mesh.data',
  'mesh.model',
  'model.chunk',
  'model.remat',
  'model.unroll',
  'sample.unroll',
  'verify.workers',
)


class Started(NamedTuple):
  """All that `loop.train` needs.

  Attributes:
    counts: of iterations in a row that taught nothing, as they were saved.
  """

  session: Session
  checkpointer: checkpoint.Checkpointer
  run: writers.Run
  state: TrainState
  counts: dict[str, int]


def prepare(
  config: ConfigDict,
  workdir: pathlib.Path,
  *,
  asked: fork.Fork | None,
  checkpoints: str,
  told: str,
  quiet: bool,
) -> Started:
  """The run of a folder, from its beginning or from where it stopped.

  Args:
    asked: what the command line has it begin from. checkpoints: where the
      command line has them kept, '' in the folder. told: the command line.
    quiet: without progress.

  Raises:
    Refused, ValueError: the folder has another run, or this one cannot start;
      nothing of it stays there.
  """
  constant = config.optimizer.schedule == 'constant'
  free = ('steps', 'data.epochs') if constant else ()
  workdir_lib.check_config(workdir, config.to_dict(), allowed=(*_FREE, *free))
  origin = fork.of(workdir, asked)
  read = {
    'files': problems.fingerprints(config),
    'code': modules.fingerprints(config, command.config_file()),
  }
  for kind, found in read.items():
    workdir_lib.check_files(workdir, found, kind=kind)
  place = place_of(workdir, checkpoints)
  with _undone(workdir, place), writers.says_disk_full(workdir):
    make(place)
    record = _record(config, told) | read
    if place != str(workdir / 'checkpoints'):
      record |= {'checkpoints': place}
    return _prepared(config, workdir, record, place, origin, quiet)


@contextlib.contextmanager
def _undone(workdir: pathlib.Path, place: str) -> Iterator[None]:
  """Deletes what a start that fails has left.

  It would pass for the work of the next one, which may have other settings.
  """
  made = [
    path
    for name in ('config.json', *sources.FOLDERS)
    if not (path := workdir / name).exists()
  ]
  if '://' not in place and not os.path.exists(place):
    made.append(pathlib.Path(place))
  try:
    yield
  except Exception:
    for path in made if hosts.is_first() else ():
      shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    raise


def _prepared(
  config: ConfigDict,
  workdir: pathlib.Path,
  record: dict[str, Any],
  place: str,
  origin: fork.Fork | None,
  quiet: bool,
) -> Started:
  """The session, its checkpoints, and the state to go on from."""
  command.use_compilation_cache(workdir.parent)
  programs.count()  # Begins to.
  if origin:
    record |= {'from': workdir_lib.forked(workdir) or origin._asdict()}
  # First, so that whatever an interrupted start leaves has an owner.
  hosts.on_first(lambda: writers.write_config(workdir, record))
  # Once it has a checkpoint of its own, it needs the other run no more.
  other = None if checkpoint.steps(place) else origin
  if other:
    fork.check(other, config, workdir)
    hosts.on_first(lambda: fork.take_folders(other, workdir))
  session, params = problems.assemble(config, workdir)
  hosts.on_first(session.try_out)
  if other:
    at, state = fork.begin(other, session, params)
    record['from'] |= {'step': at}
    hosts.on_first(lambda: writers.write_config(workdir, record))
  else:
    state = loop.begin(session, params)
  checkpointer = checkpoint.Checkpointer(place, **config.checkpoint)
  if other:
    checkpointer.save(0, state, {})
    checkpointer.wait()
  target = checkpoint.shapes(state)
  if checkpointer.latest is not None:
    del state, params  # One state at a time: what is there is read, or refused.
  counts, step = {}, None
  restored = checkpointer.restore(target)
  if restored:
    state, counts = restored.state, restored.metadata
    # Iteration 0 was saved before it was evaluated: it is logged anew.
    step = restored.step or None
    if not other:
      hosts.say(f'going on from iteration {restored.step} of {workdir}')
  run = hosts.on_first(lambda: _run(config, workdir, session, step, quiet))
  if not quiet:
    _say(session, evaluates=step is None and config.eval.every)
  return Started(session, checkpointer, run, state, counts)


def _run(config, workdir, session, step, quiet) -> writers.Run:
  """Where metrics and samples go."""
  return writers.Run(
    workdir,
    total_steps=session.config.steps,
    resume_step=step,
    quiet=quiet,
    trackers=trackers.begin(
      config.log.trackers,
      workdir,
      project=config.log.project,
      config=config.to_dict(),
    ),
  )


def _say(session: Any, *, evaluates: bool) -> None:
  if jax.device_count() > 1:
    hosts.say(hosts.description())
  if session.example:
    hosts.say(f'the first prompt: {command.short(session.example)}')
  if evaluates:
    hosts.say(f'before the first iteration: {session.asked} questions held out')


def place_of(workdir: pathlib.Path, asked: str) -> str:
  """Where this run keeps its checkpoints.

  Args:
    asked: on the command line, '' where nothing is.

  Raises:
    Refused: elsewhere than it began to, an address that nothing here can write
      to, or a place that has checkpoints of another run.
  """
  began = (workdir / 'config.json').exists()
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


def make(checkpoints: str) -> None:
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


def clear(workdir: pathlib.Path) -> None:
  """Deletes a run, its checkpoints first, whose place its record says."""
  if (workdir / 'config.json').exists():
    checkpoint.remove(workdir_lib.checkpoints(workdir))
  workdir_lib.clear(workdir)


def _record(config: ConfigDict, told: str) -> dict[str, Any]:
  """What `config.json` says of a run."""
  packages = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint')
  return {
    'config': config.to_dict(),
    'recipe': recipe.describe(problems.recipe_of(config)),
    'seed': config.seed,
    'command': told,
    'config_file': os.path.abspath(command.config_file()),
    'git_commit': command.commit(),
    'versions': {
      'python': platform.python_version(),
      **{p: importlib.metadata.version(p) for p in packages},
    },
  }
