import json

import pytest

from experiments.benchmarks import cases, markdown, rendering


def _row(model='tiny', peer='trl', ours=1.0):
  def rounds(*steps):
    return {
      'rounds': [
        {'tokens': 8192, 'others': 0.05}
        | {'sample': s, 'learn': 2 * s, 'step': 3 * s}
        | {'sample cpu': 2 * s, 'learn cpu': 4 * s, 'step cpu': 6 * s}
        for s in steps
      ],
      'peak_bytes': 2_500_000_000,
      'first': 12.3,
      'versions': {'python': '3.11'},
    }

  machine = {
    'rounds': [{'float32 cpu': x, 'copy': 5e9} for x in (1e11, 3e11)],
    'versions': {'jax': '0.10'},
  }
  return {
    'cell': {
      'peer': peer,
      'model': model,
      'shape': 'short',
      'dtype': 'float32',
    },
    'sizes': vars(cases.MODELS[model]),
    'cores': 2,
    'measured': {
      'machine': machine,
      'ours': rounds(ours, ours, 2 * ours),
      **({peer: rounds(4.0, 2.0, 2.0)} if peer != 'none' else {}),
    },
    'tried': {},
    'command': f'python -m experiments.bench --model={model}',
    'git_commit': 'abc',
  }


@pytest.fixture
def results(tmp_path):
  page = f'# Title\n\n{markdown.BEGIN}old{markdown.END}\n\nprose\n'
  (tmp_path / 'performance.md').write_text(page)

  def write(*rows):
    lines = ''.join(json.dumps(row) + '\n' for row in rows)
    (tmp_path / 'bench.jsonl').write_text(lines)
    return rendering.write(tmp_path).read_text()

  return write


def test_ratio_is_that_of_the_medians_with_its_extremes(results):
  assert '2.00 (1.00 to 4.00)' in results(_row())


def test_rates_are_fractions_of_the_best_the_machine_showed(results):
  page = results(_row(peer='none'))
  flops = cases.forward(cases.MODELS['tiny'], cases.SHAPES['short'])
  assert f'| {flops / 2 / 3e11:.0%} (' in page
  assert '| 8,192 | 4,096 | 3.00 (3.00 to 6.00) |' in page


def test_newest_row_of_a_cell_counts(results):
  page = results(_row(ours=1.0), _row(ours=4.0))
  assert '| ours | 2,048 |' in page and '| ours | 8,192 |' not in page


def test_prose_outside_the_marks_stays(results):
  page = results(_row())
  assert page.startswith('# Title\n') and page.endswith('\n\nprose\n')
  assert 'old' not in page


def test_every_row_shows_its_command_and_versions(results):
  page = results(_row(), _row('small', 'none'))
  for model in ('tiny', 'small'):
    assert f'`python -m experiments.bench --model={model}` at `abc`' in page
  assert '2 cores, jax 0.10, python 3.11' in page


def test_rates_and_ratios_are_per_token_that_was_sampled(results):
  row = _row()
  for outcome in row['measured']['ours']['rounds']:
    outcome['tokens'] *= 2
  page = results(row)
  assert '| ours | 16,384 |' in page
  assert '4.00 (2.00 to 8.00)' in page


def test_ratio_stands_beside_its_target(results):
  page = results(_row())
  assert '2.00 (1.00 to 4.00), target 2.3 |' in page
  assert 'target' not in results(_row(peer='hf')).split('the target.')[1]


def test_part_of_the_host_is_shown_where_it_is_known(results):
  row = _row(peer='none')
  assert '1.7%' not in results(row)
  for outcome in row['measured']['ours']['rounds']:
    outcome['host'] = outcome['step'] / 60
  assert '| 1.7% |' in results(row)


def test_microbatches_that_were_tried_are_told(results):
  row = _row() | {'tried': {'4': 2.5, '8': 2.25}}
  page = results(row)
  assert 'microbatches tried: 4 rows 2.50 s, 8 rows 2.25 s' in page


def test_disturbed_rounds_do_not_count_while_there_are_calm_ones(results):
  row = _row(peer='none')
  rounds = row['measured']['ours']['rounds']
  rounds[2]['others'] = 0.5
  assert '| 3.00 (3.00 to 3.00) |' in results(row)
  assert '| 2/3 (5%) |' in results(row)
  for outcome in rounds:
    outcome['others'] = 0.5
  assert '| 3.00 (3.00 to 6.00) |' in results(row)
  assert '| 0/3 (50%) |' in results(row)


def test_disturbed_systems_are_compared_by_processors_alone(results):
  row = _row()
  assert '| trl | the clock |' in results(row)
  for outcome in row['measured']['trl']['rounds']:
    outcome['others'] = 0.5
    outcome['sample cpu'] *= 3
  page = results(row)
  assert '| the clock |' not in page
  assert '| trl | processors | 6.00 (3.00 to 12.00), target 2.5 |' in page
