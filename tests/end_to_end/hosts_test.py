"""Several processes are one run: same tokens, metrics and parameters.

Real processes on the loopback interface, started as a user starts them.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from experiments.benchmarks import clusters
from jaxrl_llm.training import watch
from tests import thinned
from tests.end_to_end import processes

# Half the rows get a reward, so that there is something to learn.
RUN = (
  f'--config={processes.TINY}',
  '--config.steps=6',
  '--config.warm_start.steps=0',
  '--config.data.size=16',
  '--config.eval.every=2',
  '--config.eval.samples=0',
  "--config.verify.names=('exact','format:[aeiou]')",
  '--config.verify.weights=(1.0,1.0)',
  '--config.mesh.data=-1',
)


def start(count, *words, devices=1, **environment):
  """N processes of `devices` devices each, running."""
  given = {'PYTHON': sys.executable, 'DEVICES': str(devices), **environment}
  return subprocess.Popen(
    [processes.ROOT / 'launch' / 'local_cluster.sh', str(count), *words],
    env=os.environ | given,
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )


def cluster(count, *words, devices=1):
  """N processes of `devices` devices each, finished."""
  running = start(count, *words, devices=devices)
  output = running.communicate(timeout=600)
  return subprocess.CompletedProcess(words, running.returncode, *output)


def logged(workdir, steps, running):
  """Returns once the run has logged as many iterations."""
  path = workdir / 'metrics.jsonl'
  deadline = time.monotonic() + 300
  while not path.exists() or path.read_bytes().count(b'\n') <= steps:
    assert running.poll() is None and time.monotonic() < deadline
    time.sleep(0.01)


def pid_of(number, running):
  """The process of this number of a running cluster."""
  listed = pathlib.Path(f'/proc/{running.pid}/task/{running.pid}/children')
  for pid in listed.read_text().split():
    environment = pathlib.Path('/proc', pid, 'environ').read_bytes()
    if f'JAX_PROCESS_ID={number}'.encode() in environment.split(b'\0'):
      return int(pid)
  raise AssertionError(f'no process {number}')


@pytest.mark.parametrize('pipeline', thinned.every(2, [0, 1]))
def test_two_processes_are_one_run_though_one_is_killed(tmp_path, pipeline):
  two, one = tmp_path / 'two', tmp_path / 'one'
  words = *RUN, f'--config.pipeline={pipeline}'
  running = start(
    2, 'experiments.train', *words, f'--workdir={two}', RESTARTS='1'
  )
  logged(two, 3, running)
  os.kill(pid_of(1, running), signal.SIGKILL)
  stdout, stderr = running.communicate(timeout=300)
  assert running.returncode == 0, stderr
  assert 'process 1 of 2' in stderr and '1 of 2 devices' in stderr
  assert 'process 2 of 2 was killed by SIGKILL' in stderr
  assert 'process 1 of 2 has lost another one' in stderr
  assert 'going on from iteration' in stderr
  # Only the first process speaks.
  assert stdout.count('run folder') == 1
  done = processes.run(
    'train', *words[1:], f'--workdir={one}', JAX_NUM_CPU_DEVICES='2'
  )
  assert done.returncode == 0, done.stderr
  # With two devices a sum over them has one order: the bits are the same.
  processes.assert_same_run(one, two)
  assert clusters.metrics(one)[1]['grad/norm'] > 0


def test_a_signal_to_one_process_saves_and_stops_all(tmp_path):
  words = ('experiments.train', *RUN, f'--workdir={tmp_path}')
  running = start(2, *words, '--config.steps=1000')
  logged(tmp_path, 1, running)
  os.kill(pid_of(1, running), signal.SIGTERM)
  _, stderr = running.communicate(timeout=300)
  assert running.returncode == 0, stderr
  assert stderr.count('stopping after this iteration') == 1
  saved = processes.state_of(tmp_path)[0]
  assert f'saved iteration {saved} of 1000' in stderr
  assert clusters.metrics(tmp_path)[-1]['step'] == saved


@pytest.mark.slow
@pytest.mark.parametrize('number', [1, 0])
def test_a_process_that_is_stopped_is_named_by_the_others(tmp_path, number):
  words = ('experiments.train', *RUN, f'--workdir={tmp_path}')
  running = start(
    2, *words, '--config.steps=100000', JAX_HEARTBEAT_SECONDS='30'
  )
  logged(tmp_path, 1, running)
  os.kill(pid_of(number, running), signal.SIGSTOP)
  _, stderr = running.communicate(timeout=300)
  assert running.returncode == watch.STATUS, stderr
  assert stderr.count('has been silent for 30 s') == 1
  assert f'error: process {number + 1} of 2 has been silent' in stderr
  assert f'process {2 - number} of 2 ended with status 75' in stderr


def test_a_checkpoint_moves_between_numbers_of_processes(tmp_path):
  folder = str(tmp_path)
  for step, (count, devices) in enumerate(((2, 1), (1, 8), (2, 2)), start=1):
    done = cluster(
      count, 'tests.end_to_end.elastic', folder, str(step), devices=devices
    )
    assert done.returncode == 0, done.stderr
    if step > 1:
      writers = (2, 1)[step - 2]
      assert f'restored step {step - 1} with' in done.stderr
      assert f"'written by': {writers}" in done.stderr
      assert f'on {count * devices} devices of {count}' in done.stderr


def test_one_process_that_fails_ends_the_others(tmp_path):
  script = tmp_path / 'fails.py'
  script.write_text(
    'import os, time\n'
    'if os.environ["JAX_PROCESS_ID"] == "1":\n  raise SystemExit(7)\n'
    'time.sleep(200)\n'
  )
  code = f'{os.environ.get("PYTHONPATH", "")}{os.pathsep}{tmp_path}'
  done = subprocess.run(
    [processes.ROOT / 'launch' / 'local_cluster.sh', '3', 'fails'],
    env=os.environ | {'PYTHON': sys.executable, 'PYTHONPATH': code},
    timeout=60,
    check=False,
  )
  assert done.returncode == 7


def test_a_launcher_that_is_killed_is_named(tmp_path):
  (tmp_path / 'sleeps.py').write_text(
    # In one piece, or the lines of two processes mix.
    'import os, time\nos.write(2, b"here\\n")\ntime.sleep(200)\n'
  )
  code = f'{os.environ.get("PYTHONPATH", "")}{os.pathsep}{tmp_path}'
  running = start(2, 'sleeps', PYTHONPATH=code)
  assert [running.stderr.readline() for _ in range(2)] == ['here\n'] * 2
  os.kill(running.pid, signal.SIGKILL)
  # Ends where nobody holds the pipe any more.
  _, stderr = running.communicate(timeout=60)
  (said,) = stderr.splitlines()
  assert 'was killed, and its 2 processes with it; the same command' in said
