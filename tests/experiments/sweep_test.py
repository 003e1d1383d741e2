import json
import multiprocessing
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from experiments import sweep
from experiments.ablations import report
from experiments.ablations.study import Figure, chain, over, product
from experiments.command import Refused

ROOT = pathlib.Path(__file__).parents[2]
STUDY = """
import numpy as np
from experiments.ablations.study import Figure, over

FIGURE = Figure(y='double', x='x', series='kind')


def cells():
  return over(kind=['a', 'b'], x=[1, 2], seed=range(3))


def run(seeds, *, kind, x):
  print('ran', kind, x, list(seeds))
  if (kind, x) == (INTERRUPT):
    raise KeyboardInterrupt
  seeds = np.array(seeds)
  return {'double': 2 * x + seeds, 'curve': seeds[:, None] * np.arange(3)}
"""


@pytest.fixture
def study(tmp_path):
  path = tmp_path / 'tiny.py'
  path.write_text(STUDY.replace('INTERRUPT', 'None'))
  return path


def call(study, *flags):
  results = study.parent / 'results'
  words = [sys.executable, '-m', 'experiments.sweep', f'--study={study}']
  return subprocess.run(
    [*words, f'--results={results}', *flags],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )


def lines_of(study):
  text = (study.parent / 'results' / 'tiny.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def test_product_merges_every_cell_with_every_other():
  sweep_of_both = product(over(a=[1, 2]), over(b='xy'))
  assert sweep_of_both == over(a=[1, 2], b='xy')
  assert sweep_of_both[1] == {'a': 1, 'b': 'y'}
  assert len(sweep_of_both) == 4


def test_chain_joins_sweeps():
  assert chain(over(a=[1]), over(b=[2])) == [{'a': 1}, {'b': 2}]


def test_a_key_swept_twice_is_refused():
  with pytest.raises(ValueError, match="'a' is set twice, to 1 and 2"):
    product(over(a=[1]), over(a=[2]))


def test_each_finished_cell_is_one_line_and_is_not_run_again(study):
  first = call(study, '--index=4')
  assert first.returncode == 0, first.stderr
  assert lines_of(study)[0]['cell'] == {'kind': 'a', 'x': 2, 'seed': 1}
  assert lines_of(study)[0]['result'] == {'double': 5, 'curve': [0, 1, 2]}
  assert {'command', 'git_commit', 'seconds'} <= lines_of(study)[0].keys()
  rest = call(study, '--all')
  assert 'ran a 2 [0, 2]' in rest.stdout
  assert len(lines_of(study)) == 12
  assert 'ran' not in call(study, '--all').stdout
  assert 'ran a 1 [0]' in call(study, '--index=0', '--force').stdout
  assert len(lines_of(study)) == 13


def test_traced_numbers_run_as_one_program_and_give_the_same(study):
  apart, together = study.parent / 'apart', study.parent / 'together'
  text = STUDY.replace('INTERRUPT', 'None').replace('(kind, x)', '(kind, 0)')
  study.write_text(text + "\n\nTRACED = ('x',)\n")
  first = call(study, '--all', f'--results={apart}')
  second = call(study, '--all', '--vmap', f'--results={together}')
  assert first.stdout.count('ran ') == 4
  assert 'ran a [1 1 1 2 2 2] [0, 1, 2, 0, 1, 2]' in second.stdout
  assert second.stdout.count('ran ') == 2
  results = [
    {k: line['result'] for k, line in sweep.finished(f / 'tiny.jsonl').items()}
    for f in (apart, together)
  ]
  assert len(results[0]) == 12 and results[0] == results[1]


def test_one_program_of_many_rates_gives_the_numbers_of_many_programs():
  path = ROOT / 'experiments' / 'ablations' / 'entropy_covariance.py'
  study = sweep.load(path)
  together = study.run([0, 1, 0], update='natural', rate=np.array([0.1, 1, 1]))
  apart = study.run([0], update='natural', rate=np.array([1.0]))
  for name, x in apart.items():
    # Batched reductions may add in another order.
    np.testing.assert_allclose(together[name][2], x[0], rtol=1e-4)


def test_ctrl_c_keeps_what_is_finished(study):
  study.write_text(STUDY.replace('INTERRUPT', "'b', 1"))
  stopped = call(study, '--all')
  assert stopped.returncode == 130
  assert 'stopped; 6 cells' in stopped.stderr
  assert len(lines_of(study)) == 6


def test_list_and_count_run_nothing(study):
  assert call(study, '--count').stdout.strip() == '12'
  listed = call(study, '--list').stdout.splitlines()
  assert len(listed) == 12 and listed[3].split() == ['3', 'kind=a,x=2,seed=0']


def test_report_prints_means_with_errors_and_draws(study):
  call(study, '--all')
  shown = call(study, '--report').stdout
  # Seeds add 0, 1, 2: the mean is 2 x + 1, the error 1 / sqrt(3).
  assert '3 +- 0.6' in shown and '5 +- 0.6' in shown
  assert (study.parent / 'results' / 'tiny.png').stat().st_size > 1000


@pytest.mark.parametrize(
  'flags, message',
  [
    ((), 'give one of --list'),
    (('--list', '--all'), 'got --list, --all'),
    (('--index=12',), 'cells 0 to 11'),
    (('--list', '--force'), '--force would do nothing with --list'),
    (('--report',), 'no cell is finished yet'),
    (('--list', '--vmap'), '--vmap would do nothing with --list'),
    (('--all', '--vmap'), 'the study has no TRACED'),
  ],
)
def test_wrong_flags_end_in_one_line(study, flags, message):
  refused = call(study, *flags)
  assert refused.returncode != 0
  assert message in refused.stderr
  assert 'Traceback' not in refused.stderr


def test_a_missing_study_is_named(tmp_path):
  with pytest.raises(Refused, match='no study at'):
    sweep.load(tmp_path / 'absent.py')


def test_a_study_that_is_no_python_is_refused(tmp_path):
  path = tmp_path / 'study.txt'
  path.write_text(STUDY)
  with pytest.raises(Refused, match='is no Python file'):
    sweep.load(path)


def test_a_study_without_run_or_config_is_refused(tmp_path):
  path = tmp_path / 'empty.py'
  path.write_text('def cells():\n  return []\n')
  with pytest.raises(Refused, match='either run or CONFIG'):
    sweep.load(path)


class Cells:
  def __init__(self, *cells):
    self.cells = lambda: list(cells)


def test_cells_need_seeds_and_must_differ():
  with pytest.raises(Refused, match='cell 0 has no seed: a=1'):
    sweep.cells_of(Cells({'a': 1}))
  with pytest.raises(Refused, match='cells 0 and 1 are the same'):
    sweep.cells_of(Cells({'a': 1, 'seed': 0}, {'seed': 0, 'a': 1}))


def test_traced_names_must_be_in_every_cell():
  study = Cells({'seed': 0, 'a': 1}, {'seed': 1})
  study.TRACED = ('a',)
  with pytest.raises(Refused, match="cell 1 lacks 'a' of TRACED"):
    sweep.cells_of(study)


def test_a_line_cut_short_is_no_result_and_harms_no_other(tmp_path, capsys):
  path = tmp_path / 'study.jsonl'
  sweep.append(path, [{'cell': {'seed': 0}, 'result': {}}])
  with open(path, 'a') as file:
    file.write('{"cell": {"se')
  sweep.append(path, [{'cell': {'seed': 1}, 'result': {}}])
  assert len(sweep.finished(path)) == 2
  assert f'{path}:2 is no result' in capsys.readouterr().err


def _append(path, writer):
  for number in range(50):
    cell = {'seed': number, 'writer': writer, 'long': 'x' * 5000}
    sweep.append(path, [{'cell': cell, 'result': {}}])


def test_writers_at_once_lose_no_line(tmp_path):
  path = tmp_path / 'study.jsonl'
  context = multiprocessing.get_context('fork')
  writers = [context.Process(target=_append, args=(path, i)) for i in range(4)]
  for writer in writers:
    writer.start()
  for writer in writers:
    writer.join()
  assert len(sweep.finished(path)) == 200


def test_a_training_cell_becomes_the_command_of_a_run():
  cell = {'recipe': 'dapo', 'optimizer.learning_rate': 1e-3, 'seed': 2}
  words = sweep.training_command('default.py', cell, 'runs/x')
  assert words[1:] == [
    *('-m', 'experiments.train', '--quiet', '--config=default.py:dapo'),
    *('--config.optimizer.learning_rate=0.001', '--config.seed=2'),
    '--workdir=runs/x',
  ]


def finished_run(folder, *, steps):
  lines = [
    {'step': 0, 'eval/accuracy': 0.25, 'eval/accuracy/low': 0.1}
    | {'eval/own/accuracy': 0.5},
    {'step': 1, 'reward/mean': 0.5, 'time/cpu': 1.5, 'tokens/learned': 30.0},
    {'step': 2, 'reward/mean': 0.75, 'time/cpu': 2.0, 'tokens/learned': 20.0}
    | {'eval/accuracy': 0.5, 'eval/own/accuracy': 0.75},
  ]
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (folder / 'metrics.jsonl').write_text(text)
  (folder / 'config.json').write_text(json.dumps({'config': {'steps': steps}}))
  return folder


def test_metrics_of_a_run_are_read_back(tmp_path):
  assert sweep.measured(finished_run(tmp_path, steps=2)) == {
    'before/accuracy': 0.25,
    'after/accuracy': 0.5,
    'before/own/accuracy': 0.5,
    'after/own/accuracy': 0.75,
    'eval/own/accuracy': [0.5, 0.75],
    'eval/accuracy': [0.25, 0.5],
    'iteration': [0, 2],
    'cpu seconds': 3.5,
    'tokens learned': 50.0,
    'reward/mean': [0.5, 0.75],
  }


@pytest.mark.parametrize('names', [['a'], ['a', 'b']])
def test_parts_of_a_reward_are_read_back(tmp_path, names):
  folder = finished_run(tmp_path, steps=3)
  scores = {f'score/{name}': 0.5 for name in names}
  with (folder / 'metrics.jsonl').open('a') as file:
    file.write(json.dumps({'step': 3, 'reward/mean': 0.5, **scores}) + '\n')
  found = sweep.measured(folder)
  parts = {name: x for name, x in found.items() if name.startswith('score/')}
  assert parts == ({n: [0.5] for n in scores} if len(names) > 1 else {})


def test_a_stopped_run_is_no_result(tmp_path):
  with pytest.raises(Refused, match='stopped at iteration 2 of 3'):
    sweep.measured(finished_run(tmp_path, steps=3))


def test_summaries_are_the_mean_and_its_standard_error():
  lines = [
    {'cell': {'a': 1, 'seed': s}, 'result': {'y': y}}
    for s, y in enumerate([1.0, 2.0, 6.0])
  ]
  [(cell, results, seeds)] = report.summaries(lines)
  assert cell == {'a': 1} and seeds == 3
  expected = [3.0, np.std([1, 2, 6], ddof=1) / np.sqrt(3)]
  np.testing.assert_allclose(results['y'], expected)


def test_a_figure_of_an_unknown_result_names_the_known(tmp_path):
  lines = [{'cell': {'a': 1, 'seed': 0}, 'result': {'y': 1.0}}]
  with pytest.raises(Refused, match=r"wants 'z'; known: \['y'\]"):
    report.draw(lines, Figure(y='z', x='a'), tmp_path / 'x.png')


def test_a_panel_shows_the_cells_of_its_row_and_column(tmp_path):
  lines = [
    {
      'cell': cell | {'seed': seed},
      'result': {'y': 100 * cell['a'] + cell['x']},
    }
    for cell in over(x=[1, 2], a=[3, 4], b=['c', 'd'])
    for seed in range(2)
  ]
  figure = Figure(y='y', x='x', down='a', across='b')
  grid = report.panels(lines, figure)
  assert [[title for title, _ in row] for row in grid] == [
    ['a 3\nb c', 'a 3\nb d'],
    ['a 4\nb c', 'a 4\nb d'],
  ]
  for row, a in zip(grid, (3, 4)):
    for _, curves in row:
      assert curves[''][:2] == ((1, 2), (100 * a + 1, 100 * a + 2))
  path = report.draw(lines, figure, tmp_path / 'x.png')
  assert path.stat().st_size > 1000
  with pytest.raises(Refused, match="wants 'c'; known: .'a', 'b', 'seed', 'x'"):
    report.panels(lines, Figure(y='y', x='x', down='c'))


# The others in their folder are what studies share.
STUDIES = [
  path
  for path in sorted((ROOT / 'experiments' / 'ablations').glob('*.py'))
  if '\ndef cells(' in path.read_text()
]


@pytest.mark.parametrize('path', STUDIES, ids=lambda path: path.stem)
def test_committed_results_are_whole_and_have_three_seeds(path):
  cells = sweep.cells_of(sweep.load(path))
  results = ROOT / 'experiments' / 'results' / f'{path.stem}.jsonl'
  done = sweep.finished(results)
  lines = [done[sweep.key_of(cell)] for cell in cells]
  assert all(seeds >= 3 for _, _, seeds in report.summaries(lines))
  assert results.with_suffix('.png').exists()
  readme = (results.parent / 'README.md').read_text()
  rows = [r for r in readme.split('\n') if r.endswith(f' `{path.name}` |')]
  assert rows
  for row in rows:  # the site shows the first word as a badge
    assert re.search(r' \| (yes|partly|no|not shown)\b[^|]*\| `', row), row
