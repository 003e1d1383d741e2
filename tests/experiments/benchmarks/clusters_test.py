import os
import pathlib
import signal
import subprocess
import sys

import pytest

from experiments.benchmarks import clusters, tables

SAID = """recipe grpo
  reference                       reference.frozen
model from a fresh one: Config(...)
                                   numbers       bytes  per device
  trained parameters                20,000    78.1 KiB    10.0 KiB
  frozen parameters                      0       0.0 B       0.0 B
  optimiser                         40,001   156.3 KiB    20.0 KiB
  reference                         20,000    78.1 KiB    10.5 KiB
  KV cache                           1,024     4.0 KiB   512.0 B
one iteration: 16 rows of at most 16 + 6 tokens, 96 to sample
  sample  per device: arguments 1.0 KiB, results 2.0 KiB, activations 1.5 MiB
        3 all-gather                   1,000 bytes
        1 all-reduce                      64 bytes a turn of a loop
  learn   per device: arguments 1.0 KiB, results 2.0 KiB, activations 512.0 B
        3 all-gather                   1,000 bytes
        2 all-reduce                   2,500 bytes
"""
SLEEP = (sys.executable, '-c', 'import time; time.sleep(60)')


@pytest.fixture
def sleeping():
  """A process that trains, as far as its command line goes."""
  running = subprocess.Popen(
    [*SLEEP, 'experiments.train', '--workdir=/no/such/run'],
    env=os.environ | {'JAX_PROCESS_ID': '3'},
  )
  # The kernel shows the words a moment after it has begun the program.
  shown = pathlib.Path(f'/proc/{running.pid}/cmdline')
  while b'--workdir' not in shown.read_bytes():
    assert running.poll() is None
  yield running
  running.kill()
  running.wait()


def test_a_process_that_is_not_yet_buried_no_longer_runs(sleeping):
  assert clusters.alive(sleeping.pid)
  os.kill(sleeping.pid, signal.SIGKILL)
  assert clusters.ended([sleeping.pid], within=10) < 10
  assert pathlib.Path(f'/proc/{sleeping.pid}').exists()


def test_one_that_does_not_end_is_named(sleeping):
  with pytest.raises(TimeoutError, match=str(sleeping.pid)):
    clusters.ended([sleeping.pid], within=0.05)


def test_processes_of_a_run_are_found_whoever_started_them(sleeping):
  assert clusters.in_folder(pathlib.Path('/no/such/run')) == [sleeping.pid]
  assert clusters.in_folder(pathlib.Path('/no/such')) == []


def test_a_run_without_files_has_done_nothing(tmp_path):
  assert clusters.iteration(tmp_path) == -1
  assert clusters.saved(tmp_path) == 0
  (tmp_path / 'checkpoints' / '4').mkdir(parents=True)
  (tmp_path / 'checkpoints' / '6.orbax-checkpoint-tmp').mkdir()
  assert clusters.saved(tmp_path) == 4


def test_kills_are_counted_by_victim():
  line = {'processes': 2, 'apart': False, 'sentence': True, 'equal': True}
  lines = [
    line | {'victim': 0, 'iteration': -1, 'checkpoint': 0, 'seconds': 0.2},
    line | {'victim': 1, 'iteration': 5, 'checkpoint': 4, 'seconds': 0.1},
    line | {'victim': 1, 'iteration': 8, 'checkpoint': 6, 'seconds': 0.3},
  ]
  *_, other, first = tables.kills(lines).splitlines()
  assert (
    '| another process | 2 | 5 to 8 | 1 to 2 | 0.20 (at most 0.30)' in other
  )
  assert '| the first process | 1 | -1 to -1 | 0 to 0 |' in first


def test_the_report_of_a_dry_run_is_read_as_numbers():
  assert clusters.dry_run_sizes(SAID) == {
    'kept': 1024 * 40.5,
    'sample activations': 1.5 * 2**20,
    'sample sends': 1000,
    'sample sends a turn': 64,
    'learn activations': 512,
    'learn sends': 3500,
    'learn sends a turn': 0,
  }


def test_the_table_of_scaling_has_a_row_for_each_cell():
  times = dict.fromkeys(tables.PARTS, 0.5)
  lines = [
    {'processes': 1, 'devices': 2, **times, **clusters.dry_run_sizes(SAID)},
    {'processes': 2, 'devices': 2, **times},
  ]
  text = tables.scaling(lines)
  assert '| 2 | 2 | 0.500 |' in text
  # Sizes are those of devices, whatever the number of processes.
  assert text.count('| 40 |') == 1
