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
import os
import pathlib
import shlex
import shutil
import signal
import sys

from absl import flags

from experiments import command, settings

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
  path = pathlib.Path(command.config_file()).stem
  return pathlib.Path('runs') / f'{path}-{config.recipe.name}-{config.seed}'


def _locked(config, workdir: pathlib.Path, stopping: Stopper, asked) -> int:
  """The run, or no trace of it where it cannot start."""
  from experiments import fork, start
  from jaxrl_llm.training import hosts
  from jaxrl_llm.training import workdir as workdir_lib

  lock = hosts.on_first(lambda: workdir_lib.Lock(workdir))
  with lock:
    try:
      # Before anything is deleted for it.
      if asked and (_FRESH.value or not (workdir / 'config.json').exists()):
        fork.check(asked, config, workdir)
      if _FRESH.value:
        hosts.on_first(lambda: start.clear(workdir))
      started = start.prepare(
        config,
        workdir,
        asked=asked,
        checkpoints=_CHECKPOINTS.value,
        told=_command(),
        quiet=_QUIET.value,
      )
    except Exception:
      lock.withdraw()
      raise
    return _train(workdir, started, stopping)


def _train(workdir: pathlib.Path, started, stopping: Stopper) -> int:
  from jaxrl_llm.training import hosts, loop, programs

  session, checkpointer, run, state, counts = started
  # Closed in reverse: the checkpointer first waits for its last save.
  with (
    contextlib.closing(session),
    contextlib.closing(run),
    contextlib.closing(checkpointer),
    hosts.ending_at_once(command.tell),
  ):
    try:
      state = loop.train(
        session,
        state,
        run,
        checkpointer,
        **counts,
        stopping=lambda: hosts.agreed(stopping()),
      )
    except loop.Diverged as error:
      hosts.say(f'error: {error}')
      return 3
  total = session.config.steps
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
    _export(session, state, workdir)
  return 0


def _export(session, state, workdir: pathlib.Path) -> None:
  """Writes the policy, in place of what the run exported before."""
  from experiments import card
  from jaxrl_llm.training import hosts, writers

  folder = workdir / 'export'
  if any(folder.rglob('config.json')):
    hosts.on_first(lambda: shutil.rmtree(folder))
  with writers.says_disk_full(workdir):
    text = card.of_run(workdir, int(state.step))
    written = session.export(state, folder, card=text)
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


if __name__ == '__main__':
  command.run(main)
