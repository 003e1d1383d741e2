"""Several processes are one run: same tokens, metrics and parameters.

Real processes on the loopback interface, started as a user starts them.
"""

import os
import subprocess
import sys

from tests.end_to_end import processes

# Half the rows get a reward, so that there is something to learn.
RUN = (
  f'--config={processes.TINY}',
  '--config.steps=2',
  '--config.warm_start.steps=0',
  '--config.data.size=16',
  '--config.eval.every=2',
  '--config.eval.samples=0',
  "--config.verify.names=('exact','format:[aeiou]')",
  '--config.verify.weights=(1.0,1.0)',
  '--config.mesh.data=-1',
)


def cluster(count, *words, devices=1):
  """N processes of `devices` devices each, finished."""
  return subprocess.run(
    [processes.ROOT / 'launch' / 'local_cluster.sh', str(count), *words],
    env=os.environ | {'PYTHON': sys.executable, 'DEVICES': str(devices)},
    text=True,
    capture_output=True,
    timeout=600,
    check=False,
  )


def test_two_processes_are_one_run(tmp_path):
  two, one = tmp_path / 'two', tmp_path / 'one'
  done = cluster(2, 'experiments.train', *RUN, f'--workdir={two}')
  assert done.returncode == 0, done.stderr
  assert 'process 1 of 2' in done.stderr and '1 of 2 devices' in done.stderr
  # Only the first process speaks.
  assert done.stdout.count('run folder') == 1
  words = RUN[1:]
  done = processes.run(
    'train', *words, f'--workdir={one}', JAX_NUM_CPU_DEVICES='2'
  )
  assert done.returncode == 0, done.stderr
  # With two devices a sum over them has one order: the bits are the same.
  processes.assert_same_run(one, two)
  assert processes.metrics_of(one)[1]['grad/norm'] > 0


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
