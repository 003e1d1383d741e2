import json
import math

import pytest

from experiments import compare
from experiments.command import Refused


def run_of(folder, *, rate=1.0, seed=0, values=(0.1, 0.5), name='grpo'):
  folder.mkdir()
  config = {
    'seed': seed,
    'optimizer': {'learning_rate': rate},
    'recipe': {'name': name, 'samples': 8},
  }
  (folder / 'config.json').write_text(json.dumps({'config': config}))
  lines = [
    {
      'step': 5 * step,
      'eval/accuracy': value,
      'eval/accuracy/low': value - 0.1,
      'eval/accuracy/high': value + 0.1,
      'time/step': 1.0,
    }
    for step, value in enumerate(values)
  ]
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (folder / 'metrics.jsonl').write_text(text)
  return folder.name, *compare.read(folder)


def test_runs_that_differ_in_their_seed_are_one(tmp_path):
  runs = [
    run_of(tmp_path / 'a', seed=0, values=(0.1, 0.4)),
    run_of(tmp_path / 'b', seed=1, values=(0.1, 0.6)),
    run_of(tmp_path / 'c', rate=2.0),
  ]
  both, other = compare.grouped(runs)
  assert both.folders == ('a', 'b') and len(both.histories) == 2
  assert other.folders == ('c',)
  differing = compare.differences([both.settings, other.settings])
  assert differing == ['optimizer.learning_rate']
  assert compare.label(other, differing) == 'optimizer.learning_rate=2.0'
  # The spread of two is their distance over root 2, its error half of that.
  error = 0.2 / math.sqrt(2) / math.sqrt(2)
  assert compare.summary(both, 'eval/accuracy') == f'0.5 +- {error:.1g}'
  assert compare.summary(other, 'eval/accuracy') == '0.5 [0.4, 0.6]'
  assert compare.summary(other, 'eval/return') == '-'


def test_a_recipe_is_told_by_its_name_alone(tmp_path):
  runs = [run_of(tmp_path / n, name=n) for n in ('grpo', 'dapo')]
  groups = compare.grouped(runs)
  differing = compare.differences([group.settings for group in groups])
  assert [compare.label(g, differing) for g in groups] == ['grpo', 'dapo']


def test_curves_keep_the_iterations_that_all_seeds_have(tmp_path):
  runs = [
    run_of(tmp_path / 'a', seed=0, values=(0.1, 0.2, 0.3)),
    run_of(tmp_path / 'b', seed=1, values=(0.3, 0.4)),
  ]
  [group] = compare.grouped(runs)
  steps, values = compare.series(group, 'eval/accuracy')
  assert steps.tolist() == [0, 5]
  assert values.tolist() == [[0.1, 0.2], [0.3, 0.4]]


def test_curves_are_a_picture(tmp_path):
  [group] = compare.grouped([run_of(tmp_path / 'a')])
  picture = compare.draw([group], ['one'], ['eval/accuracy'])
  assert picture.startswith(b'\x89PNG')


def test_a_run_without_metrics_is_refused(tmp_path):
  run_of(tmp_path / 'a')
  (tmp_path / 'a' / 'metrics.jsonl').write_text('')
  with pytest.raises(Refused, match='no metrics yet'):
    compare.read(tmp_path / 'a')
