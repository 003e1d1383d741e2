"""Which files a run depends on, and that a change of any shows."""

import json

import numpy as np
import pytest

from jaxrl_llm.policies.language import hf
from jaxrl_llm.problems.text import inputs
from tests.end_to_end import tiny
from tests.training import folders


def fingerprints(**changed):
  config = tiny.get_config()
  config.update_from_flattened_dict(
    {name.replace('__', '.'): value for name, value in changed.items()}
  )
  return inputs.fingerprints(config)


def jsonl(path, *prompts):
  path.write_text(''.join(json.dumps({'prompt': p}) + '\n' for p in prompts))
  return str(path)


def test_a_generated_task_and_a_fresh_model_read_nothing():
  assert fingerprints() == {}


def test_every_file_of_data_counts_and_others_do_not(tmp_path):
  one, two = jsonl(tmp_path / 'a.jsonl', '1'), jsonl(tmp_path / 'b.jsonl', '2')
  (tmp_path / 'notes.md').write_text('mine')
  other = jsonl(tmp_path / 'held_out', '3')
  settings = {'data__path': str(tmp_path), 'data__held_out_path': other}
  before = fingerprints(**settings)
  assert before.keys() == {one, two, other}
  assert len(set(before.values())) == 3
  (tmp_path / 'notes.md').write_text('yours')
  assert fingerprints(**settings) == before
  for path in (one, two, other):
    jsonl(tmp_path / path, '1', '4')
    after = fingerprints(**settings)
    assert {p for p in before if after[p] != before[p]} == {path}
    before = after


def test_a_file_that_is_not_there_is_left_to_who_reads_it(tmp_path):
  assert fingerprints(data__path=str(tmp_path / 'absent.jsonl')) == {}


@pytest.fixture(scope='module')
def model(tmp_path_factory):
  return folders.model_in(tmp_path_factory.mktemp('model'))


@pytest.mark.parametrize(
  'settings',
  [
    {'model__path': '{}'},
    {'teacher__paths': ('{}',)},
    {'verify__names': ('exact', 'quality=reward_model_worst:{}')},
    {'verify__preference': 'preference_model:{}'},
  ],
)
def test_whatever_makes_a_model_counts(model, settings):
  def filled(value):
    if isinstance(value, tuple):
      return tuple(map(filled, value))
    return value.format(model)

  settings = {name: filled(value) for name, value in settings.items()}
  before = fingerprints(**settings)
  names = {path.removeprefix(f'{model}/') for path in before}
  expected = {'config.json', 'model.safetensors', 'tokenizer.json'}
  assert expected | {'tokenizer_config.json'} <= names
  for path in before:
    file = model / path.removeprefix(f'{model}/')
    raw = file.read_bytes()
    try:
      file.write_bytes(raw[:-2] + bytes([raw[-2] ^ 1]) + raw[-1:])
      after = fingerprints(**settings)
    finally:
      file.write_bytes(raw)
    assert {p for p in before if after[p] != before[p]} == {path}
  (model / 'eval.json').write_text('{}')
  assert fingerprints(**settings) == before
  assert fingerprints(**settings) == before


def test_both_models_of_an_ensemble_count(model, tmp_path):
  other = folders.model_in(tmp_path)
  (other / 'generation_config.json').write_text('{}')
  names = (f'reward_model:{model},{other}',)
  found = fingerprints(verify__names=names)
  assert {path.rpartition('/')[0] for path in found} == {str(model), str(other)}
  assert len(found) == len(hf.files(model)) + len(hf.files(other))


def test_a_folder_whose_path_has_an_at_sign_counts(tmp_path):
  (tmp_path / 'a@b').mkdir()
  path = folders.model_in(tmp_path / 'a@b')
  found = fingerprints(verify__names=(f'safe=reward_model:{path}@1',))
  assert {name.rpartition('/')[0] for name in found} == {str(path)}


def test_large_weights_are_read_in_places_all_over_them(tmp_path, monkeypatch):
  monkeypatch.setattr(inputs, '_PIECE', 8)
  path = tmp_path / 'weights'
  content = np.random.default_rng(0).integers(0, 256, 9000, np.uint8)
  content.tofile(path)
  before = inputs.fingerprint(path, 100)
  assert before != inputs.fingerprint(path, 9000)
  for shift in (1, -1):
    np.roll(content, shift).tofile(path)
    assert inputs.fingerprint(path, 100) != before
  for place in (0, 7, 8992, 8999):
    changed = content.copy()
    changed[place] ^= 1
    changed.tofile(path)
    assert inputs.fingerprint(path, 100) != before
  np.append(content, np.uint8(0)).tofile(path)
  assert inputs.fingerprint(path, 100) != before
