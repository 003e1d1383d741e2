import sys

import pytest

from experiments import bench
from experiments.benchmarks import cases, peers


@pytest.mark.parametrize('peer', peers.PEERS)
@pytest.mark.parametrize('shape', sorted(cases.SHAPES))
def test_microbatches_to_try_divide_an_update(peer, shape):
  sizes = peers.microbatches(peer, cases.SHAPES[shape])
  assert len(sizes) > 1
  assert all(cases.SHAPES[shape].rows % size == 0 for size in sizes)


def test_tunix_keeps_the_responses_of_a_prompt_together():
  assert peers.microbatches('tunix', cases.SHAPES['long']) == (16, 32, 64)


@pytest.fixture
def fake(monkeypatch):
  system = bench.protocol.System
  module = 'tests.experiments.benchmarks.fake_peer'

  def start(python, _, request):
    return system(python, module, request)

  monkeypatch.setattr(bench.protocol, 'System', start)
  return sys.executable


def test_peer_is_given_the_microbatch_that_learns_fastest(fake):
  cell = {
    'peer': 'trl',
    'shape': 'short',
    'peer_microbatch': 0,
    'peer_compile': True,
  }
  own, tried = bench._peer(cell, fake, {'shape': 'short'})
  assert own == {'compile': True, 'microbatch': 16}
  assert tried == {4: 2.0, 8: 1.0, 16: 0.5}


def test_microbatch_that_is_asked_for_is_not_tried(fake):
  cell = {
    'peer': 'trl',
    'shape': 'short',
    'peer_microbatch': 4,
    'peer_compile': False,
  }
  own, tried = bench._peer(cell, 'no such program', {'shape': 'short'})
  assert own == {'compile': False, 'microbatch': 4} and not tried
