import itertools
import json
import math

import numpy as np
import pytest

from experiments import compare
from experiments.command import Refused
from jaxrl_llm.problems.text import evaluate


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


@pytest.mark.parametrize('count', [1, 2, 10, 256])
def test_trials_are_read_off_the_interval(count):
  for won in {0, 1, count // 2, count - 1, count}:
    low, high = evaluate.wilson_interval(won, count)
    line = {'x': won / count, 'x/low': low, 'x/high': high}
    assert compare.trials(line, 'x') == (won, count)
  low, high = evaluate.wilson_interval(0.3 * count, count)
  mean = {'x': 0.3, 'x/low': low, 'x/high': high}
  assert (compare.trials(mean, 'x') is None) == (0.3 * count % 1 != 0)
  assert compare.trials({'x': 0.5}, 'x') is compare.trials({}, 'x') is None
  for low, high in (0.5, 0.5), (0.0, 1.0), (0.4, 0.6):  # Others' intervals.
    assert compare.trials({'x': 0.5, 'x/low': low, 'x/high': high}, 'x') is None


def test_runs_share_a_letter_unless_they_are_apart():
  """Every graph of five runs, and no letter that says what others say."""
  rates = [0.5, 0.9, 0.1, 0.7, 0.3]
  pairs = [*itertools.combinations(range(5), 2)]
  for chosen in itertools.product([False, True], repeat=len(pairs)):
    apart = np.zeros((5, 5), bool)
    for (a, b), far in zip(pairs, chosen):
      apart[a, b] = apart[b, a] = far
    found = [set(text) for text in compare.letters(rates, apart)]
    assert all(found)
    for a, b in pairs:
      assert bool(found[a] & found[b]) != apart[a, b]
    names = set.union(*found)
    columns = [{i for i in range(5) if name in found[i]} for name in names]
    assert not any(a < b for a, b in itertools.permutations(columns, 2))
    assert 'a' in found[1]  # The best has the first one.


def test_letters_stand_behind_rates(tmp_path):
  runs = []
  for number, won in enumerate((95, 90, 10)):
    name = run_of(tmp_path / str(number), rate=1.0 + number)[0]
    low, high = evaluate.wilson_interval(won, 100)
    line = {'step': 5, 'eval/accuracy': won / 100, 'eval/return': 0.5}
    line |= {'eval/accuracy/low': low, 'eval/accuracy/high': high}
    text = json.dumps(line) + '\n'
    (tmp_path / name / 'metrics.jsonl').write_text(text)
    runs.append((name, *compare.read(tmp_path / name)))
  groups = compare.grouped(runs)
  assert compare.displayed(groups, 'eval/accuracy') == ['a', 'a', 'b']
  assert compare.displayed(groups, 'eval/return') == ['', '', '']
  assert compare.displayed(groups[:1], 'eval/accuracy') == ['']
  # Half a success in one: a rate in none of them, and not apart from any.
  lines = groups[2].histories[0]
  half = groups[2]._replace(histories=([lines[0] | {'eval/accuracy': 0.105}],))
  assert compare.displayed([*groups[:2], half], 'eval/accuracy') == [''] * 3
  without = groups[2]._replace(histories=([{'step': 5}],))
  marks = compare.displayed([*groups[:2], without], 'eval/accuracy')
  assert marks == ['a', 'a', '']
