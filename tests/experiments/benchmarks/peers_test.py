import pytest

from experiments.benchmarks import cases, peers


@pytest.mark.parametrize('peer', peers.PEERS)
@pytest.mark.parametrize('shape', sorted(cases.SHAPES))
def test_microbatches_to_try_divide_an_update(peer, shape):
  sizes = peers.microbatches(peer, cases.SHAPES[shape])
  assert len(sizes) > 1
  assert all(cases.SHAPES[shape].rows % size == 0 for size in sizes)


def test_tunix_keeps_the_responses_of_a_prompt_together():
  assert peers.microbatches('tunix', cases.SHAPES['long']) == (16, 32, 64)
