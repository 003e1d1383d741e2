import pytest

from experiments.benchmarks import context


@pytest.mark.slow
def test_devices_say_the_same_and_hold_less(monkeypatch):
  monkeypatch.setattr(context, '_PROMPT', 16)
  monkeypatch.setattr(context, '_RESPONSE', 112)
  monkeypatch.setattr(context, 'CONTEXTS', (1, 2))
  alone, split = (dict(zip(context._HEAD, x)) for x in context.measure())
  assert split['loss apart'] < 1e-5 and split['gradient apart'] < 1e-5
  assert split['MiB held'] < alone['MiB held']
  assert alone['all-gather'] == 0
  # Keys and values of 2 heads, 32 wide, of 2 rows, in 4 layers, forth and
  # again; and what says which tokens there are.
  keys = 2 * 4 * 4 * 2 * 2 * 128 * 2 * 32
  assert split['all-gather'] == pytest.approx(keys, rel=0.02)


def test_the_table_has_a_row_for_each_number_of_devices():
  line = dict(zip(context._HEAD, (2, 0.0, 1.5e-6, 25.31, 8398848, 7, 5, 0)))
  assert '| 2 | 0 | 1.5e-06 | 25.3 | 8,398,848 | 7 |' in context.table([line])
