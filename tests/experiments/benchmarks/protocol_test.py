import contextlib
import importlib.metadata
import sys

import pytest

from experiments.benchmarks import protocol

_FAKE = 'tests.experiments.benchmarks.fake_peer'


def _system(**request):
  request = {'shape': 'short', 'microbatch': 4} | request
  return protocol.System(sys.executable, _FAKE, request)


def test_process_answers_one_iteration_for_every_call():
  with contextlib.closing(_system()) as system:
    # Two iterations warmed up.
    assert [system.iterate()['tokens'] for _ in range(3)] == [3, 4, 5]


def test_process_says_its_versions_first_and_its_memory_last():
  system = _system()
  versions = system.ready['versions']
  assert versions['numpy'] == importlib.metadata.version('numpy')
  assert system.ready['first'] >= 0
  # An interpreter takes more than 5 MB, and this one has no arrays.
  assert 5e6 < system.close()['peak_bytes'] < 5e8


def test_failure_of_a_process_is_an_error_that_names_it():
  system = _system(shape='broken')
  with pytest.raises(ChildProcessError, match=f'{_FAKE} ended with exit'):
    system.iterate()


def test_killed_process_ends_at_once_and_may_be_killed_again():
  system = _system()
  system.kill()
  system.kill()
  with pytest.raises((ChildProcessError, OSError)):
    system.iterate()


def test_processor_time_of_a_process_is_part_of_the_machine():
  busy = protocol.busy_seconds()
  with contextlib.closing(_system()) as system:
    # An interpreter takes some hundredths of a second to start.
    assert 0 < system.seconds() <= protocol.busy_seconds() - busy + 0.05


def test_process_that_does_not_end_is_killed_after_its_last_word(monkeypatch):
  monkeypatch.setattr(protocol, '_SECONDS_TO_END', 0.1)
  module = 'tests.experiments.benchmarks.lingering'
  system = protocol.System(sys.executable, module, {})
  assert system.close()['peak_bytes'] > 0
  with pytest.raises((ValueError, OSError)):
    system.iterate()
