import pytest

from experiments.benchmarks import mixtures


@pytest.mark.slow
def test_the_experts_of_the_sampler_bring_the_scorer_near(monkeypatch):
  monkeypatch.setattr(mixtures, 'MODELS', ((16, 2),))
  own, replayed = mixtures.gap(layers=6, rows=8, tokens=24)
  assert own[:3] == (16, 2, 'both') and replayed[:3] == (16, 2, 'sampler')
  assert 0 < 2 * replayed[3] < own[3]


@pytest.mark.slow
def test_both_ways_through_a_layer_are_timed(monkeypatch):
  monkeypatch.setattr(mixtures, 'LAYERS', ((4, 2, 16, 16),))
  monkeypatch.setattr(mixtures, '_TOKENS', 32)
  rows = [*mixtures.ragged()]
  assert [row[2] for row in rows] == ['forth', 'back']
  assert all(row[5] == pytest.approx(row[4] / row[3]) for row in rows)


def test_a_table_has_the_rows_of_its_part():
  lines = [
    {'part': part, **dict.fromkeys(mixtures._HEAD[part], 0.25)}
    for part in mixtures.PARTS
  ]
  text = mixtures.table(lines, 'gap')
  assert text.count('\n') == 2 and text.endswith('| 0.25 | 0.25 |')
