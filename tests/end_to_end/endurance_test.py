"""A run is never lost: kills, signals, damaged files, numbers that explode."""

import pathlib
import random
import shutil
import signal
import time

import numpy as np
import pytest

from experiments.benchmarks import clusters
from jaxrl_llm.training import workdir as workdir_lib
from jaxrl_llm.training import writers
from tests import thinned
from tests.end_to_end import processes

STEPS = 40
FLAGS = (f'--config.steps={STEPS}', '--quiet')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('runs')


@pytest.fixture(scope='module')
def whole(folder):
  """A run that nothing happened to."""
  done = processes.run('train', f'--workdir={folder / "whole"}', *FLAGS)
  assert done.returncode == 0, done.stderr
  return folder / 'whole'


def lines_of(workdir: pathlib.Path) -> int:
  path = workdir / 'metrics.jsonl'
  return path.read_bytes().count(b'\n') if path.exists() else 0


def saving(workdir: pathlib.Path) -> bool:
  return any(workdir.glob('checkpoints/*.orbax-checkpoint-tmp'))


def until(condition, process, seconds=300.0) -> None:
  """Waits for the condition, or for the end of the process."""
  end = time.monotonic() + seconds
  while not condition() and process.poll() is None:
    assert time.monotonic() < end, 'waited in vain'
    time.sleep(0.0005)


def kill_at_random(workdir: pathlib.Path, draw: random.Random, kind: str):
  """Starts the run and kills it; whether it died in the middle of a save."""
  before = lines_of(workdir)
  process = processes.start(workdir, *FLAGS)
  if kind == 'starting':
    time.sleep(draw.uniform(0.1, 4.0))
  else:
    more = draw.randint(1, 4)
    # The lines after the newest checkpoint are dropped before new ones come.
    until(lambda: lines_of(workdir) >= before + more, process)
    if kind == 'saving':
      until(lambda: saving(workdir), process)
    else:
      time.sleep(draw.uniform(0, 0.05))
  process.kill()
  process.communicate()
  assert process.returncode == -signal.SIGKILL
  return saving(workdir)


@pytest.mark.parametrize('kills', thinned.every(2, [3, 8]))
def test_killed_at_any_moment_a_run_ends_as_if_it_never_was(
  whole, folder, kills
):
  workdir, draw = folder / f'killed{kills}', random.Random(0)
  saves = 0
  for number in range(kills):
    kind = ('saving', 'running', 'saving', 'starting')[number % 4]
    saves += kill_at_random(workdir, draw, kind)
  assert saves >= 1, f'{saves} of {kills} kills were in mid-save'
  done = processes.run('train', f'--workdir={workdir}', *FLAGS)
  assert done.returncode == 0, done.stderr
  assert 'going on from iteration' in done.stderr
  processes.assert_same_run(workdir, whole)


@pytest.mark.slow
def test_killed_with_rows_that_wait_a_run_ends_as_if_it_never_was(folder):
  workdir, other = folder / 'killed_waiting', folder / 'whole_waiting'
  flags = (*FLAGS, '--config.pipeline=1', '--config.steps=8')
  done = processes.run('train', f'--workdir={other}', *flags)
  assert done.returncode == 0, done.stderr
  process = processes.start(workdir, *flags)
  # One save ends before the next begins, so an earlier one is complete.
  until(lambda: lines_of(workdir) > 3 and saving(workdir), process)
  process.kill()
  process.communicate()
  assert process.returncode == -signal.SIGKILL
  done = processes.run('train', f'--workdir={workdir}', *flags)
  assert done.returncode == 0, done.stderr
  assert 'going on from iteration' in done.stderr
  processes.assert_same_run(workdir, other)


def stopped(workdir: pathlib.Path, number: int, ready) -> int:
  """Sends a signal once the run is ready for it; the iteration it saved."""
  process = processes.start(workdir, *FLAGS)
  until(ready, process)
  process.send_signal(number)
  _, said = process.communicate(timeout=300)
  assert process.returncode == 0, said
  assert 'Traceback' not in said
  step, _ = processes.state_of(workdir)
  assert f'saved iteration {step} of {STEPS}; go on with' in said
  assert f'python -m experiments.train --config={processes.TINY}' in said
  return step


def test_signals_save_and_say_how_to_go_on(whole, folder):
  workdir = folder / 'signals'
  # The first comes while the run is being assembled.
  started = (workdir / 'config.json').exists
  assert stopped(workdir, signal.SIGTERM, started) == 0
  third = STEPS // 3
  step = stopped(workdir, signal.SIGINT, lambda: lines_of(workdir) > third)
  assert third <= step < STEPS
  done = processes.run('train', f'--workdir={workdir}', *FLAGS)
  assert done.returncode == 0, done.stderr
  assert f'going on from iteration {step}' in done.stderr
  processes.assert_same_run(workdir, whole)


def test_a_truncated_checkpoint_costs_one_save_interval(whole, folder):
  workdir = folder / 'truncated'
  shutil.copytree(whole, workdir)
  newest = workdir / 'checkpoints' / str(STEPS)
  files = [p for p in newest.rglob('*') if p.is_file() and p.stat().st_size]
  largest = max(files, key=lambda path: path.stat().st_size)
  with open(largest, 'r+b') as file:
    file.truncate(largest.stat().st_size // 2)
  done = processes.run('train', f'--workdir={workdir}', *FLAGS)
  assert done.returncode == 0, done.stderr
  assert f'checkpoint {STEPS} in {workdir / "checkpoints"}' in done.stderr
  assert 'is damaged' in done.stderr
  assert f'going on from iteration {STEPS - 1}' in done.stderr
  processes.assert_same_run(workdir, whole)


def test_another_config_is_refused_with_the_fields(whole):
  before = (whole / 'config.json').read_bytes()
  changed = (
    '--config.seed=1',
    '--config.pipeline=1',
    '--config.recipe.clip_low=0.3',
  )
  done = processes.run('train', f'--workdir={whole}', *FLAGS, *changed)
  assert done.returncode == 1
  assert done.stderr.startswith('error: ')
  assert 'seed is 0 there and 1 here' in done.stderr
  assert 'pipeline is 0 there and 1 here' in done.stderr
  assert 'recipe.clip_low is 0.2 there and 0.3 here' in done.stderr
  assert 'Traceback' not in done.stderr
  assert (whole / 'config.json').read_bytes() == before


@pytest.mark.slow
def test_a_run_goes_on_with_less_memory(whole, folder):
  """As where it ran out of it: the same up to rounding."""
  less = (
    '--config.learn.microbatches=2',
    '--config.model.chunk=2',
    '--config.model.remat=True',
    '--config.model.unroll=False',
    '--config.sample.unroll=False',
  )
  for name, flags in {'usual': (), 'less': less}.items():
    shutil.copytree(whole, folder / name)
    longer = (f'--config.steps={STEPS + 1}', '--quiet')
    done = processes.run('train', f'--workdir={folder / name}', *longer, *flags)
    assert done.returncode == 0, done.stderr
  usual, other = (clusters.state(folder / x) for x in ('usual', 'less'))
  assert usual.keys() == other.keys()
  for name, leaf in usual.items():
    np.testing.assert_allclose(other[name], leaf, atol=1e-5, err_msg=name)
  assert clusters.saved(folder / 'less') == STEPS + 1


def test_a_folder_in_use_is_refused(folder):
  workdir = folder / 'busy'
  with workdir_lib.Lock(workdir):
    done = processes.run('train', f'--workdir={workdir}', *FLAGS)
  assert done.returncode == 1
  assert done.stderr.startswith('error: ')
  assert 'is in use by process' in done.stderr
  assert [path.name for path in workdir.iterdir()] == ['lock']


def test_a_run_that_explodes_stops_with_a_diagnosis(folder):
  workdir = folder / 'exploded'
  flags = (
    f'--workdir={workdir}',
    '--config.optimizer.learning_rate=1e30',
    '--config.optimizer.clip_norm=inf',
    '--config.max_bad_steps=3',
    '--quiet',
  )
  done = processes.run('train', *flags)
  assert done.returncode == 3, done.stderr
  assert 'error: 3 iterations in a row' in done.stderr
  assert 'lower optimizer.learning_rate' in done.stderr
  assert 'Traceback' not in done.stderr
  lines = writers.read(workdir / 'metrics.jsonl')
  bad = [line.get('bad_steps', 0) for line in lines]
  assert bad[-3:] == [1, 1, 1] and sum(bad) == 3
  step, _ = processes.state_of(workdir)
  assert step == lines[-1]['step']
