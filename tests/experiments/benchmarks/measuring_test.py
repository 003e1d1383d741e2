import sys

import pytest

from experiments.benchmarks import measuring, protocol


@pytest.fixture
def fake(monkeypatch):
  system = protocol.System
  module = 'tests.experiments.benchmarks.fake_peer'

  def start(python, _, request):
    return system(python, module, request)

  monkeypatch.setattr(protocol, 'System', start)
  return sys.executable


def test_peer_is_given_the_microbatch_that_learns_fastest(fake):
  cell = {
    'peer': 'trl',
    'shape': 'short',
    'peer_microbatch': 0,
    'peer_compile': True,
  }
  own, tried = measuring._peer(cell, fake, {'shape': 'short'})
  assert own == {'compile': True, 'microbatch': 16}
  assert tried == {4: 2.0, 8: 1.0, 16: 0.5}


def test_microbatch_that_is_asked_for_is_not_tried(fake):
  cell = {
    'peer': 'trl',
    'shape': 'short',
    'peer_microbatch': 4,
    'peer_compile': False,
  }
  own, tried = measuring._peer(cell, 'no such program', {'shape': 'short'})
  assert own == {'compile': False, 'microbatch': 4} and not tried


def _system(others):
  """A system whose rounds were disturbed that much, one after the other."""
  rest = iter(others)

  class Scripted:
    def iterate(self):
      return {'step': 1.0, 'others': next(rest)}

    def close(self):
      return {'peak_bytes': 1}

  return Scripted()


def _measured(monkeypatch, rounds, **others):
  monkeypatch.setattr(measuring, '_watched', lambda system: system.iterate())
  measured = {name: {'rounds': []} for name in others}
  running = {name: _system(values) for name, values in others.items()}
  measuring._rounds(running, measured, rounds)
  return {name: len(found['rounds']) for name, found in measured.items()}


def test_disturbed_system_gets_more_rounds_and_the_calm_one_not(monkeypatch):
  counts = _measured(
    monkeypatch, 2, calm=[0.0, 0.0], loud=[0.5, 0.0, 0.5, 0.0, 0.0]
  )
  assert counts == {'calm': 2, 'loud': 4}


def test_rounds_end_when_it_never_becomes_calm(monkeypatch):
  assert _measured(monkeypatch, 2, loud=[0.5] * 9) == {'loud': 6}


def test_others_are_what_the_machine_did_beside_the_system():
  request = {'shape': 'short', 'microbatch': 4}
  module = 'tests.experiments.benchmarks.fake_peer'
  system = protocol.System(sys.executable, module, request)
  assert 0 <= measuring._watched(system)['others']
  system.close()
