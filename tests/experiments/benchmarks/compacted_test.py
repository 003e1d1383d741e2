import pytest

from experiments.benchmarks import compacted


@pytest.mark.slow
def test_the_three_ways_are_timed_by_iteration_and_seed():
  line = compacted.measured('control', 'grpo', count=2, rounds=1)
  assert set(line) == {'loop ms', 'one program ms', 'seeds ms'}
  assert all(ms > 0 for ms in line.values())


def test_a_table_holds_the_ratios_to_the_loop():
  line = {'loop ms': 6.0, 'one program ms': 2.0, 'seeds ms': 0.5}
  text = compacted.table([line | {'problem': 'control', 'recipe': 'ppo'}])
  assert text.splitlines()[-1] == (
    '| control | ppo | 6.00 | 2.00 | 3.00 | 0.50 | 12.00 |'
  )
