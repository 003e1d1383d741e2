"""What experiments.rate prints and draws of reward models."""

import math

import pytest

from experiments import command, rate
from experiments.configs import preference
from jaxrl_llm.problems.text import assembly, reward_models
from jaxrl_llm.tasks import preferences
from tests.end_to_end import tiny


def exported(workdir, seed):
  config = tiny.get_config('reward_model')
  config.seed = seed
  config.recipe.samples = 2
  config.data.responses = 'recorded'
  config.warm_start.steps = 0
  parts, params = assembly.assemble(config, workdir)
  parts.export(parts.init(params), workdir / 'export')
  parts.close()
  return str(workdir / 'export')


def test_models_and_their_ensembles_are_measured_on_lists(tmp_path):
  folders = [exported(tmp_path / str(seed), seed) for seed in range(2)]
  config = preference.get_config()
  config.data.size, config.data.held_out = 8, 6
  found = rate.measure(folders, config, 4, ['authority'])
  assert [*found][:2] == folders and len(found) == 5
  for values in found.values():
    curve = values['best_of_n']
    assert [*curve] == [1, 2, 3, 4]
    assert all(0 <= score <= 1 for score in curve.values())
    assert 0 < values['rating/accuracy'] < 1
    assert math.isfinite(values['rating/nll'])
    told = values['biases']['authority']
    assert told['accuracy'] == pytest.approx(values['rating/accuracy'])
    assert 0 <= told['robustness'] <= 1
  # One drawn response is the mean of all, whoever rates.
  assert len({round(v['best_of_n'][1], 9) for v in found.values()}) == 1
  lines = rate.table(found).splitlines()
  assert len(lines) == 6 + 5 and lines[0].split() == [
    'accuracy', 'nll', 'brier', 'ece'
  ]  # fmt: skip
  assert rate.figure(found).startswith(b'\x89PNG')


def test_single_responses_are_liked_or_not(tmp_path):
  folder = exported(tmp_path, 0)
  config = preference.get_config()
  config.data.size, config.data.held_out = 8, 6
  [values] = rate.measure([folder], config, 1).values()
  models = reward_models.load([folder])
  _, held_out = preferences.load(config.data, seed=config.seed, samples=1)
  right = [
    (models([row['prompt']], row['responses'])[0, 0] > 0) == row['scores'][0]
    for row in held_out.rows
  ]
  assert values['rating/accuracy'] == pytest.approx(sum(right) / 6)
  with pytest.raises(command.Refused, match='single responses'):
    rate.measure([folder], config, 1, ['authority'])


def test_references_are_read_before_what_is_rated(tmp_path):
  folder = exported(tmp_path, 0)
  config = preference.get_config()
  config.data.size, config.data.held_out = 8, 6
  config.data.responses = 'referred'
  [values] = rate.measure([folder], config, 2).values()
  models = reward_models.load([folder])
  _, held_out = preferences.load(
    config.data, seed=config.seed, samples=2, by_policy=True
  )
  right = []
  for row in held_out.rows:
    texts = [f'{row["reference"]}<|eos|>{said}' for said in row['responses']]
    first, second = models([row['prompt']] * 2, texts)[0]
    right.append((first > second) == (row['scores'] == [1, 0]))
  assert values['rating/accuracy'] == pytest.approx(sum(right) / 6)
  config.data.responses = 'compared'
  with pytest.raises(command.Refused, match='use recorded, or referred'):
    rate.measure([folder], config, 2)


@pytest.mark.parametrize('name', ['steps', 'data.system', 'data.shots'])
def test_a_setting_that_is_not_read_is_refused(name):
  rate.check(['seed', 'data.path', 'data.held_out'])
  with pytest.raises(command.Refused, match=f'{name} would do nothing'):
    rate.check(['seed', name])
