"""What is trained and rated, and the tables that come of it."""

import json
import pathlib

import pytest

from experiments.benchmarks import reward_models


class Ran(list):
  """Notes commands, and writes what they would."""

  def __init__(self, people=()):
    super().__init__()
    self.people = list(people)

  def __call__(self, words):
    self.append([*map(str, words)])
    flags = dict(w[2:].split('=', 1) for w in self[-1] if '=' in w)
    if words[0] == 'experiments.rate':
      biases = [name for name in flags['biases'].split(',') if name]
      told = {'accuracy': 0.9, 'swayed': 0.75, 'robustness': 0.8}
      found = {'rating/accuracy': 0.9, 'rating/nll': 0.3, 'rating/ece': 0.1}
      found['biases'] = dict.fromkeys(biases, told)
      found['labels'] = {'0': {'r^2': 0.5}}
      output = pathlib.Path(flags['output']).with_suffix('.json')
      output.parent.mkdir(parents=True, exist_ok=True)
      output.write_text(json.dumps({flags['models']: found}))
    for number, parts in enumerate(self.people):
      if words[0] == 'experiments.assign':
        place = pathlib.Path(flags['output'])
        place = place / f'round-{number}' if number else place
        place.mkdir(parents=True)
        (place / 'annotators.json').write_text(json.dumps(parts))


@pytest.mark.parametrize('kind', list(reward_models.MODELS))
def test_a_model_is_trained_from_the_decoder_and_rated(kind, tmp_path):
  run = Ran()
  base, folder = tmp_path / 'base', tmp_path / kind
  found = reward_models.one_model(kind, 3, base, folder, run)
  trained, rated = run
  recipe = reward_models.MODELS[kind][0]
  assert f'--config={reward_models.CONFIG}:{recipe}' in trained
  assert {'--export', f'--workdir={folder}', '--config.seed=3'} <= {*trained}
  assert f'--config.model.path={base}' in trained
  assert f'--models={folder / "export"}' in rated
  referred = kind == 'references'
  for words in run:
    assert ('--config.data.responses=referred' in words) == referred
  swayed = {} if referred else dict.fromkeys(reward_models.BIASES, 0.75)
  assert found == {'accuracy': 0.9, 'nll': 0.3, **swayed, 'r^2 0': 0.5}


def test_people_are_told_apart_by_two_models(tmp_path):
  mixed = [['0', '8', '1'], ['9']], [['0', '1'], ['8', '9']]
  run = Ran(mixed)
  found = reward_models.two_groups(1, 'base', tmp_path / 'people', run)
  assert found == {'at first': 0.75, 'after training': 1.0}
  [assigned] = run
  assert assigned[:3] == ['experiments.assign', '--models=base', '--groups=2']
  assert '--config.seed=1' in assigned


def test_half_of_the_people_choose_the_worse_of_two_responses(monkeypatch):
  monkeypatch.setattr(reward_models, 'RECORDS', 20)
  records = reward_models.answered(0)
  assert [int(r['annotator']) for r in records] == [*range(16), *range(4)]
  for record in records:
    liked = record['responses'][record['scores'].index(1.0)]
    right = liked == ''.join(sorted(liked))
    assert right == (int(record['annotator']) < 8)


def test_tables_have_means_and_errors_over_seeds():
  lines = [
    {'model': 'likes', 'seed': seed, 'accuracy': value, 'nll': 1.0}
    for seed, value in enumerate((0.5, 0.7, 0.9))
  ]
  [models] = reward_models.tables(lines)
  assert models.count('\n') == 2
  row = models.splitlines()[-1]
  assert row.startswith('| likes | 3 | 0.700 +- 0.115 | 1.000 +- 0.000 |  |')
  people = {'model': 'people', 'seed': 0, 'at first': 0.5, 'after training': 1}
  [_, table] = reward_models.tables([*lines, people])
  assert table.splitlines()[-1] == '| people | 1 | 0.500 | 1.000 |'
