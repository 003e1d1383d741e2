"""Folders in and out without torch: what is kept and what is refused."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import chex
import huggingface_hub
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxrl_llm import hub
from jaxrl_llm.policies.language import hf, parameters
from jaxrl_llm.policies.language.hf import folders
from tests.policies.language import families


def _source(folder, name='qwen3', dtype=np.float32, **options):
  """A folder of random weights, and what is in it."""
  source = families.hf_config(name)
  config = hf.config_of(source)
  rng = np.random.default_rng(0)
  params = traverse_util.unflatten_dict(
    {
      path: rng.normal(size=entry.shape).astype(dtype)
      for path, entry in parameters.table(config).items()
    }
  )
  hf.save(folder, config, params, source=source, **options)
  return config, params


def _rewrite(folder, change):
  file = folder / 'model.safetensors'
  tensors = safetensors.numpy.load_file(file)
  change(tensors)
  safetensors.numpy.save_file(tensors, file)


@pytest.mark.parametrize(
  'name',
  [
    'llama_biases',
    'qwen3',
    'gemma3',
    'qwen3_moe',
    'mixtral',
    'phi3',
    'granitemoe',
    'gpt_oss',
  ],
)
@pytest.mark.parametrize('max_shard_bytes', [1, 20_000, 10**9])
def test_export_then_import_is_the_identity(name, max_shard_bytes, tmp_path):
  config, params = _source(
    tmp_path / 'a', name, max_shard_bytes=max_shard_bytes
  )
  again, loaded = hf.load(tmp_path / 'a')
  assert again == config
  chex.assert_trees_all_equal(loaded, params)


def test_shards_hold_what_they_may(tmp_path):
  _source(tmp_path / 'a', max_shard_bytes=20_000)
  files = sorted((tmp_path / 'a').glob('*.safetensors'))
  assert len(files) > 2
  for number, file in enumerate(files, 1):
    assert file.name == f'model-{number:05}-of-{len(files):05}.safetensors'
    size = sum(x.nbytes for x in safetensors.numpy.load_file(file).values())
    assert 0 < size <= 20_000
  index = json.loads((tmp_path / 'a' / folders.INDEX).read_text())
  assert set(index['weight_map'].values()) == {file.name for file in files}


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'float16'])
def test_import_then_export_keeps_every_byte(dtype, tmp_path):
  config, _ = _source(tmp_path / 'a', dtype=jnp.dtype(dtype))
  assert hf.config_of(tmp_path / 'a') == config
  _, loaded = hf.load(tmp_path / 'a')
  assert loaded['embed']['kernel'].dtype == jnp.float32
  hf.save(tmp_path / 'b', config, loaded, source=tmp_path / 'a')
  for file in os.listdir(tmp_path / 'a'):
    before, after = (tmp_path / x / file for x in 'ab')
    assert before.read_bytes() == after.read_bytes(), file


def test_the_stored_and_the_loaded_dtype_can_be_chosen(tmp_path):
  config, params = _source(tmp_path / 'a')
  hf.save(
    tmp_path / 'b', config, params, source=tmp_path / 'a', dtype='bfloat16'
  )
  stored = safetensors.numpy.load_file(tmp_path / 'b' / 'model.safetensors')
  assert stored['model.norm.weight'].dtype == ml_dtypes.bfloat16
  description = json.loads((tmp_path / 'b' / 'config.json').read_text())
  assert description['dtype'] == 'bfloat16'
  _, loaded = hf.load(tmp_path / 'b', dtype=jnp.bfloat16)
  chex.assert_trees_all_equal(
    loaded, jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), params)
  )


def test_parameters_can_be_loaded_onto_a_mesh(tmp_path):
  devices = jax.devices()[: 2 if jax.device_count() > 1 else 1]
  mesh = jax.make_mesh(
    (len(devices),), ('model',), (AxisType.Auto,), devices=devices
  )
  config, params = _source(tmp_path / 'a')

  def sharding(entry):
    split = ['model' if axis == 'embed' else None for axis in entry.axes]
    return NamedSharding(mesh, PartitionSpec(*split))

  entries = parameters.table(config).items()
  shardings = traverse_util.unflatten_dict(
    {path: sharding(entry) for path, entry in entries}
  )
  _, loaded = hf.load(tmp_path / 'a', shardings=shardings)
  chex.assert_trees_all_equal(loaded, params)
  kernel = loaded['layers']['q']['kernel']
  assert kernel.sharding == shardings['layers']['q']['kernel']

  def change(tensors):
    tensors['model.norm.weight'][0] = np.nan

  _rewrite(tmp_path / 'a', change)
  with pytest.raises(ValueError, match='model.norm.weight .* not finite'):
    hf.load(tmp_path / 'a', shardings=shardings)


def _trained(folder):
  """A bfloat16 folder, and its weights after steps of 1 % of their spacing."""
  config, _ = _source(folder, dtype=jnp.bfloat16)
  _, before = hf.load(folder)
  rng = np.random.default_rng(1)

  def step(x):
    signs = rng.choice([-1, 1], x.shape)
    return (x * (1 + signs * 2.0**-15)).astype(np.float32)

  return config, before, jax.tree.map(lambda x: step(np.asarray(x)), before)


def test_what_training_changed_is_not_rounded_back(tmp_path):
  config, _, params = _trained(tmp_path / 'a')
  written = hf.save(tmp_path / 'b', config, params, source=tmp_path / 'a')
  count = sum(x.size for x in jax.tree.leaves(params))
  assert written == ('float32', count, count)
  assert str(written) == (
    f'float32, which keeps 100.0% of the {count:,} weights that changed'
  )
  chex.assert_trees_all_equal(hf.load(tmp_path / 'b')[1], params)
  description = json.loads((tmp_path / 'b' / 'config.json').read_text())
  assert description['dtype'] == 'float32'
  # Read again and exported again, the source is the export.
  again = hf.save(tmp_path / 'c', config, params, source=tmp_path / 'b')
  assert again == ('float32', 0, 0)


def test_a_change_that_rounding_keeps_keeps_the_dtype(tmp_path):
  config, before, _ = _trained(tmp_path / 'a')
  changed = before | {
    'final_norm': {'scale': before['final_norm']['scale'] * 2}
  }
  written = hf.save(tmp_path / 'b', config, changed, source=tmp_path / 'a')
  size = before['final_norm']['scale'].size
  assert written == ('bfloat16', size, size)
  written = hf.save(tmp_path / 'c', config, before, source=tmp_path / 'a')
  assert str(written) == 'bfloat16, no weight changed'


def test_the_asked_dtype_says_what_it_loses(tmp_path):
  config, _, params = _trained(tmp_path / 'a')
  ask = {'source': tmp_path / 'a', 'dtype': 'bfloat16'}
  assert hf.save(tmp_path / 'b', config, params, **ask).kept == 0


def test_stochastic_rounding_keeps_changes_on_average(tmp_path):
  config, before, params = _trained(tmp_path / 'a')
  ask = {'source': tmp_path / 'a', 'dtype': 'bfloat16', 'stochastic': True}
  written = hf.save(tmp_path / 'b', config, params, **ask)
  # A step is 2^-15 |x|, and neighbours lie 2^-8 to 2^-7 of |x| apart.
  assert 2**-8 < written.kept / written.changed < 2**-7
  stored = hf.load(tmp_path / 'b')[1]
  old, new, now = (
    np.concatenate([np.ravel(x).astype(np.float64) for x in jax.tree.leaves(t)])
    for t in (before, params, stored)
  )
  wanted, found = np.abs(new - old), (now - old) * np.sign(new - old)
  error = np.std(found - wanted) / np.sqrt(len(old))
  assert abs(np.mean(found - wanted)) < 4 * error
  again = hf.save(tmp_path / 'c', config, params, **ask)
  assert again == written
  chex.assert_trees_all_equal(hf.load(tmp_path / 'c')[1], stored)
  with pytest.raises(ValueError, match='float16 cannot be rounded'):
    hf.save(tmp_path / 'd', config, params, **ask | {'dtype': 'float16'})


def test_missing_leftover_and_misshapen_tensors_are_all_listed(tmp_path):
  _source(tmp_path / 'a')

  def change(tensors):
    del tensors['model.layers.1.mlp.up_proj.weight']
    del tensors['model.norm.weight']
    tensors['model.vision.weight'] = np.zeros((2, 3), np.float32)
    tensors['model.layers.0.self_attn.q_norm.weight'] = np.zeros(7, np.float32)
    tensors['model.layers.2.mlp.up_proj.weight'] = np.zeros((40, 32), np.int8)

  _rewrite(tmp_path / 'a', change)
  with pytest.raises(ValueError) as error:
    hf.load(tmp_path / 'a')
  for problem in (
    'missing model.layers.1.mlp.up_proj.weight',
    'missing model.norm.weight',
    'leftover model.vision.weight [2, 3]',
    'model.layers.0.self_attn.q_norm.weight is [7], not [12]',
    'model.layers.2.mlp.up_proj.weight is I8; stored dtypes may be F32',
  ):
    assert problem in str(error.value)


def test_stored_rotation_buffers_are_ignored(tmp_path):
  _, params = _source(tmp_path / 'a')
  buffer = 'model.layers.0.self_attn.rotary_emb.inv_freq'
  _rewrite(tmp_path / 'a', lambda x: x.update({buffer: np.ones(6)}))
  chex.assert_trees_all_equal(hf.load(tmp_path / 'a')[1], params)


@pytest.mark.parametrize('prefix', ['language_model.', 'model.language_'])
def test_the_decoder_among_other_models_is_loaded_alone(prefix, tmp_path):
  config, params = _source(tmp_path / 'a', 'gemma3')
  path = tmp_path / 'a' / 'config.json'
  text = json.loads(path.read_text())
  whole = {'model_type': 'gemma3', 'text_config': text, 'dtype': 'float32'}
  path.write_text(json.dumps(whole))

  def change(tensors):
    for name in [*tensors]:
      tensors[prefix + name] = tensors.pop(name)
    tensors['vision_tower.weight'] = np.zeros((2, 3), np.float32)

  _rewrite(tmp_path / 'a', change)
  again, loaded = hf.load(tmp_path / 'a')
  assert again == config
  chex.assert_trees_all_equal(loaded, params)
  written = hf.save(tmp_path / 'b', config, params, source=tmp_path / 'a')
  assert written == ('float32', 0, 0)
  said = json.loads((tmp_path / 'b' / 'config.json').read_text())
  assert said['model_type'] == 'gemma3_text'
  assert said['architectures'] == ['Gemma3ForCausalLM']
  chex.assert_trees_all_equal(hf.load(tmp_path / 'b')[1], params)
  whole['quantization_config'] = {'quant_method': 'awq', 'bits': 4}
  path.write_text(json.dumps(whole))
  with pytest.raises(ValueError, match='and save that model'):
    hf.load(tmp_path / 'a')


def test_keys_of_layers_that_read_those_of_others_are_ignored(tmp_path):
  _, params = _source(tmp_path / 'a', 'gemma4_small')
  unread = {
    f'model.layers.3.self_attn.{name}.weight': np.ones(2, np.float32)
    for name in ('k_proj', 'v_proj', 'k_norm')
  }
  _rewrite(tmp_path / 'a', lambda x: x.update(unread))
  chex.assert_trees_all_equal(hf.load(tmp_path / 'a')[1], params)


def test_layers_that_guess_further_tokens_are_ignored(tmp_path):
  _, params = _source(tmp_path / 'a')
  guess = {'mtp.layers.0.weight': np.ones((2, 2), np.float32)}
  _rewrite(tmp_path / 'a', lambda x: x.update(guess))
  chex.assert_trees_all_equal(hf.load(tmp_path / 'a')[1], params)


def test_a_tied_head_may_be_stored_only_if_equal(tmp_path):
  config, params = _source(tmp_path / 'a')
  assert config.tied
  kernel = params['embed']['kernel']
  _rewrite(tmp_path / 'a', lambda x: x.update({'lm_head.weight': kernel}))
  chex.assert_trees_all_equal(hf.load(tmp_path / 'a')[1], params)
  _rewrite(tmp_path / 'a', lambda x: x.update({'lm_head.weight': kernel + 1}))
  with pytest.raises(ValueError, match='lm_head.weight differs from'):
    hf.load(tmp_path / 'a')


def test_absent_and_broken_weight_files_are_named(tmp_path):
  _source(tmp_path / 'a', max_shard_bytes=20_000)
  file = min((tmp_path / 'a').glob('*.safetensors'))
  whole = file.read_bytes()
  file.write_bytes(whole[: len(whole) // 2])
  with pytest.raises(ValueError, match=f'{file.name} is not a whole'):
    hf.load(tmp_path / 'a')
  file.unlink()
  with pytest.raises(FileNotFoundError, match=f'lacks {file.name}'):
    hf.load(tmp_path / 'a')


def test_a_tensor_in_two_files_names_both(tmp_path):
  _source(tmp_path / 'a', max_shard_bytes=20_000)
  first, second = sorted((tmp_path / 'a').glob('*.safetensors'))[:2]
  tensors = safetensors.numpy.load_file(first)
  name = min(tensors)
  more = safetensors.numpy.load_file(second) | {name: tensors[name] + 1}
  safetensors.numpy.save_file(more, second)
  with pytest.raises(ValueError) as error:
    hf.load(tmp_path / 'a')
  for word in (name, first.name, second.name, 'twice'):
    assert word in str(error.value)


def test_whole_weights_beside_an_index_of_others_are_refused(tmp_path):
  _source(tmp_path / 'a', max_shard_bytes=20_000)
  _source(tmp_path / 'b')
  whole = tmp_path / 'a' / 'model.safetensors'
  (tmp_path / 'b' / 'model.safetensors').rename(whole)
  with pytest.raises(ValueError, match='holds both .* and .*delete'):
    hf.load(tmp_path / 'a')


def test_an_index_may_name_the_one_file_there_is(tmp_path):
  _, params = _source(tmp_path / 'a')
  index = {'weight_map': {'model.norm.weight': 'model.safetensors'}}
  (tmp_path / 'a' / folders.INDEX).write_text(json.dumps(index))
  chex.assert_trees_all_equal(hf.load(tmp_path / 'a')[1], params)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'float16'])
def test_a_weight_that_is_not_finite_is_named(value, dtype, tmp_path):
  _source(tmp_path / 'a', dtype=jnp.dtype(dtype))
  name = 'model.layers.1.mlp.up_proj.weight'

  def change(tensors):
    tensors[name][3, 5] = value

  _rewrite(tmp_path / 'a', change)
  with pytest.raises(ValueError, match=f'{name} .* not finite'):
    hf.load(tmp_path / 'a')


def test_a_weight_too_large_for_the_asked_dtype_is_named(tmp_path):
  _source(tmp_path / 'a')
  _rewrite(tmp_path / 'a', lambda x: np.put(x['model.norm.weight'], 0, [1e6]))
  hf.load(tmp_path / 'a')
  with pytest.raises(ValueError, match='model.norm.weight .* as float16'):
    hf.load(tmp_path / 'a', dtype=jnp.float16)


def test_folders_of_other_weight_formats_are_refused(tmp_path):
  families.hf_config('qwen3').save_pretrained(tmp_path)
  (tmp_path / 'pytorch_model.bin').write_bytes(b'')
  with pytest.raises(FileNotFoundError, match='must be safetensors'):
    hf.load(tmp_path)


def test_companions_come_along_unless_a_tokenizer_is_given(tmp_path):
  config, params = _source(tmp_path / 'a')
  for file in ('generation_config.json', 'tokenizer.json', 'notes.md'):
    (tmp_path / 'a' / file).write_text('{}')

  class Tokenizer:
    def save_pretrained(self, folder):
      (folder / 'tokenizer.json').write_text('{"new": 1}')
      (folder / 'additional_chat_templates').mkdir()

  hf.save(tmp_path / 'b', config, params, source=tmp_path / 'a')
  assert (tmp_path / 'b' / 'tokenizer.json').read_text() == '{}'
  assert not (tmp_path / 'b' / 'notes.md').exists()
  hf.save(
    tmp_path / 'c',
    config,
    params,
    source=tmp_path / 'a',
    tokenizer=Tokenizer(),
  )
  assert (tmp_path / 'c' / 'tokenizer.json').read_text() == '{"new": 1}'
  assert (tmp_path / 'c' / 'generation_config.json').exists()


def test_a_failed_export_leaves_nothing(tmp_path):
  config, params = _source(tmp_path / 'a')

  class Tokenizer:
    def save_pretrained(self, folder):
      raise OSError('disk full')

  with pytest.raises(OSError, match='disk full'):
    hf.save(
      tmp_path / 'b',
      config,
      params,
      source=tmp_path / 'a',
      tokenizer=Tokenizer(),
    )
  assert os.listdir(tmp_path) == ['a']


@pytest.mark.parametrize('name', ['qwen3', 'llama3'])
def test_a_classifier_is_its_decoder_and_a_score(name, tmp_path):
  config, params = _source(tmp_path / 'a', name)
  score = np.arange(config.width, dtype=np.float32)

  def change(tensors):
    tensors.pop('lm_head.weight', None)
    tensors['score.weight'] = score[None]

  _rewrite(tmp_path / 'a', change)
  assert not hf.is_classifier(tmp_path / 'a')
  path = tmp_path / 'a' / 'config.json'
  described = json.loads(path.read_text())
  described['architectures'] = ['Qwen3ForSequenceClassification']
  described['id2label'] = {'0': 'good'}
  path.write_text(json.dumps(described))
  assert hf.is_classifier(tmp_path / 'a')
  found, loaded, weights = hf.load_classifier(tmp_path / 'a')
  assert found == dataclasses.replace(config, tied=True)
  params.pop('unembed', None)
  chex.assert_trees_all_equal(loaded, params)
  np.testing.assert_array_equal(weights, score)

  def widen(tensors):
    tensors['score.weight'] = np.stack([score, score])

  _rewrite(tmp_path / 'a', widen)
  with pytest.raises(ValueError, match=r'score.weight is \[2, 32\], not \[1,'):
    hf.load_classifier(tmp_path / 'a')


def test_exports_overwrite_nothing(tmp_path):
  config, params = _source(tmp_path / 'a')
  with pytest.raises(FileExistsError, match='a is not empty'):
    hf.save(tmp_path / 'a', config, params, source=tmp_path / 'a')
  (tmp_path / 'b').mkdir()
  hf.save(tmp_path / 'b', config, params, source=tmp_path / 'a')
  assert (tmp_path / 'b' / 'model.safetensors').exists()


def test_only_the_decoder_of_the_source_is_exported(tmp_path):
  config, params = _source(tmp_path / 'a')
  head = {'value_head': {'kernel': np.zeros(32)}}
  with pytest.raises(ValueError, match='leftover value_head.kernel'):
    hf.save(tmp_path / 'b', config, params | head, source=tmp_path / 'a')
  other = families.hf_config('qwen3', rms_norm_eps=1e-3)
  with pytest.raises(ValueError, match='the source describes'):
    hf.save(tmp_path / 'b', config, params, source=other)
  with pytest.raises(ValueError, match="dtype 'int8' is not one of float32"):
    hf.save(tmp_path / 'b', config, params, source=tmp_path / 'a', dtype='int8')
  assert os.listdir(tmp_path) == ['a']


def test_no_torch_is_needed(tmp_path):
  _source(tmp_path / 'a')
  program = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: (
  None if name.split('.')[0] == 'torch' else find(name, package))
sys.modules['torch'] = None  # importing it fails
from jaxrl_llm.policies.language import hf
from tests.policies.language import families
source, folder, other = sys.argv[1:]
config, params = hf.load(source)
hf.save(folder, config, params, source=source)
hf.save(other, config, params, source=families.hf_config('qwen3'))
"""
  folders = [str(tmp_path / name) for name in 'abc']
  root = pathlib.Path(__file__).parents[3]
  command = [sys.executable, '-c', program, *folders]
  subprocess.run(command, cwd=root, check=True)
  before, after, other = (
    (tmp_path / name / 'model.safetensors').read_bytes() for name in 'abc'
  )
  assert before == after == other


def test_every_supported_family_names_its_class():
  for name in families.NAMES:
    assert families.hf_config(name).model_type in folders.FAMILIES


def test_folders_resolve_to_themselves(tmp_path):
  assert hf.resolve(tmp_path) == tmp_path


@pytest.mark.parametrize('name', ['/no/such/folder', './absent', 'a/b/c'])
def test_absent_folders_are_named(name):
  with pytest.raises(FileNotFoundError, match='is not a folder; give one'):
    hf.resolve(name)


def test_hub_names_resolve_through_the_cache(tmp_path, monkeypatch):
  asked = []

  def snapshot_download(name, allow_patterns, local_files_only):
    asked.append((name, local_files_only))
    return str(tmp_path)

  monkeypatch.setattr(hub, 'absence', lambda: '')
  monkeypatch.setattr(huggingface_hub, 'snapshot_download', snapshot_download)
  assert hf.resolve('Qwen/Qwen3-0.6B') == tmp_path
  monkeypatch.setattr(hub, 'absence', lambda: 'no answer')
  assert hf.resolve('Qwen/Qwen3-0.6B') == tmp_path
  assert asked == [('Qwen/Qwen3-0.6B', False), ('Qwen/Qwen3-0.6B', True)]


def test_hub_failures_give_one_line(monkeypatch):
  def snapshot_download(name, **options):
    raise ConnectionError('no route to host\nand a long story')

  monkeypatch.setattr(hub, 'absence', lambda: '')
  monkeypatch.setattr(huggingface_hub, 'snapshot_download', snapshot_download)
  with pytest.raises(FileNotFoundError, match='no route to host$'):
    hf.resolve('Qwen/Qwen3-0.6B')
  monkeypatch.setattr(hub, 'absence', lambda: 'it gave no answer')
  words = 'nor in the cache .* it gave no answer; run `hf download Qwen/Qwen3'
  with pytest.raises(FileNotFoundError, match=words):
    hf.resolve('Qwen/Qwen3-0.6B')
