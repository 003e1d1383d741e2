import time

import pytest

from experiments.benchmarks import turns


def _trainer(taken, iterations):
  generate = taken.sampling(lambda: time.sleep(0.02))

  def train():
    for _ in range(iterations):
      taken.begin()
      for tokens in (3, 4):
        generate()
        taken.count(tokens)
      time.sleep(0.01)
      taken.end()

  return train


def test_iteration_is_split_into_sampling_and_the_rest():
  taken = turns.Turns()
  iterate = taken.start(_trainer(taken, 2))
  for _ in range(2):
    outcome = iterate()
    assert outcome['tokens'] == 7
    assert outcome['sample'] >= 0.04 and outcome['learn'] >= 0.01
    total = outcome['sample'] + outcome['learn']
    assert outcome['step'] == pytest.approx(total, abs=1e-9)
    # Sleeping takes no processor.
    assert 0 <= outcome['step cpu'] < outcome['step']


def test_trainer_waits_for_its_turn():
  begun = []
  taken = turns.Turns()

  def train():
    while True:
      taken.begin()
      begun.append(None)
      taken.end()

  iterate = taken.start(train)
  time.sleep(0.05)
  assert not begun
  iterate()
  time.sleep(0.05)
  assert len(begun) == 1


def test_trainer_that_ends_too_early_is_an_error():
  taken = turns.Turns()
  iterate = taken.start(_trainer(taken, 1))
  iterate()
  with pytest.raises(RuntimeError, match='ended before it was asked'):
    iterate()


def test_failure_of_the_trainer_reaches_the_caller():
  def train():
    raise MemoryError('no room')

  taken = turns.Turns()
  with pytest.raises(MemoryError):
    taken.start(train)()
