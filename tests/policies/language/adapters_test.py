import contextlib
import json

import chex
import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from jaxrl_llm.policies.language import hf, lora, parameters
from jaxrl_llm.policies.language.hf import adapters
from jaxrl_llm.problems.text import assembly
from tests.end_to_end import tiny
from tests.policies.language import families
from tests.training import folders

_FAMILY = 'qwen2'
_SOURCE = families.hf_config(_FAMILY, dtype='float32')
_CONFIG = hf.config_of(_SOURCE)
_SIZES = adapters.Adapter(rank=3, alpha=6.0, targets=('q', 'o', 'down'))


def _random(table, seed=0):
  rng = np.random.default_rng(seed)
  return {
    path: np.float32(rng.normal(0.0, 0.5, entry.shape))
    for path, entry in table.items()
  }


def _deltas(sizes=_SIZES):
  """Leaves of `lora.table` as they are after some training."""
  table = lora.table(_CONFIG, **sizes._asdict())
  flat = _random(table)
  for path, entry in table.items():
    if path[-1] == 'lora_scale':
      flat[path] = np.full(entry.shape, sizes.alpha / sizes.rank, np.float32)
  return flat


@pytest.fixture
def folder(tmp_path):
  """An adapter of three maps."""
  save(tmp_path / 'adapter')
  return tmp_path / 'adapter'


def save(folder, flat=None, **options):
  params = traverse_util.unflatten_dict(flat or _deltas())
  options = {'family': _FAMILY, 'base': 'some/base', **options}
  return adapters.save(folder, _CONFIG, params, **options)


def changed(folder, **fields):
  """The folder, its adapter_config.json with other fields."""
  path = folder / adapters.CONFIG
  path.write_text(json.dumps(json.loads(path.read_text()) | fields))
  return folder


def test_names_and_shapes_are_those_of_peft(folder):
  tensors = safetensors.numpy.load_file(folder / 'adapter_model.safetensors')
  sides = {
    'self_attn.q_proj': (_CONFIG.width, _CONFIG.heads * _CONFIG.head_dim),
    'self_attn.o_proj': (_CONFIG.heads * _CONFIG.head_dim, _CONFIG.width),
    'mlp.down_proj': (_CONFIG.mlp_width, _CONFIG.width),
  }
  expected = {}
  for layer in range(_CONFIG.layers):
    for module, (inputs, outputs) in sides.items():
      stem = f'base_model.model.model.layers.{layer}.{module}'
      expected[f'{stem}.lora_A.weight'] = (3, inputs)
      expected[f'{stem}.lora_B.weight'] = (outputs, 3)
  assert {name: x.shape for name, x in tensors.items()} == expected
  said = json.loads((folder / 'adapter_config.json').read_text())
  assert said['peft_type'] == 'LORA' and said['task_type'] == 'CAUSAL_LM'
  assert (said['r'], said['lora_alpha']) == (3, 6.0)
  assert said['target_modules'] == ['down_proj', 'o_proj', 'q_proj']
  assert said['base_model_name_or_path'] == 'some/base'


def test_what_was_written_comes_back(folder):
  assert adapters.describe(folder, _CONFIG, _FAMILY) == _SIZES
  found = adapters.load(folder, _CONFIG, _FAMILY)
  chex.assert_trees_all_equal(found, _deltas())


def test_a_stored_adapter_is_scale_b_a_on_the_stored_kernels(tmp_path, folder):
  """y = W x + alpha / r B A x, with W [outputs, inputs] as transformers has."""
  base = traverse_util.unflatten_dict(_random(parameters.table(_CONFIG), 1))
  hf.save(tmp_path / 'base', _CONFIG, base, source=_SOURCE)
  weights = tmp_path / 'base' / 'model.safetensors'
  stored = safetensors.numpy.load_file(weights)
  delta = safetensors.numpy.load_file(folder / adapters.WEIGHTS)
  for name, a in delta.items():
    if name.endswith('lora_A.weight'):
      kernel = name.removeprefix('base_model.model.').replace('.lora_A', '')
      b = delta[name.replace('lora_A', 'lora_B')]
      stored[kernel] = np.float32(stored[kernel] + 2.0 * np.float64(b) @ a)
  safetensors.numpy.save_file(stored, weights)
  _, expected = hf.load(tmp_path / 'base')
  deltas = adapters.load(folder, _CONFIG, _FAMILY)
  merged = lora.merge(lora.join(traverse_util.unflatten_dict(deltas), base))
  chex.assert_trees_all_close(merged, expected, atol=1e-5)


def test_rank_stabilised_adapters_are_scaled_by_the_root(folder):
  said = changed(folder, use_rslora=True)
  found = adapters.load(said, _CONFIG, _FAMILY)
  scale = found['layers', 'q', 'lora_scale']
  np.testing.assert_allclose(scale, 6.0 / 3**0.5, rtol=1e-6)


@pytest.mark.parametrize(
  ('fields', 'words'),
  [
    ({'peft_type': 'IA3'}, "peft_type='IA3'; LORA alone"),
    ({'use_dora': True}, "'use_dora': True}, which is not computed"),
    ({'bias': 'all'}, "'bias': 'all'"),
    ({'modules_to_save': ['lm_head']}, 'modules_to_save'),
    ({'rank_pattern': {'q_proj': 8}}, 'rank_pattern'),
    ({'init_lora_weights': 'pissa'}, 'pissa'),
    ({'some_later_field': 3}, 'some_later_field'),
    ({'lora_alpha': None}, 'does not describe LoRA'),
    ({'r': 0}, 'r=0; a rank is 1 or more'),
    ({'r': 4}, r'lora_A.weight is \[3, 32\], not \[4, 32\]'),
  ],
)
def test_an_adapter_that_is_not_computed_is_refused(folder, fields, words):
  with pytest.raises(ValueError, match=words):
    adapters.load(changed(folder, **fields), _CONFIG, _FAMILY)


def test_other_tensors_than_the_models_maps_are_named(folder):
  path = folder / adapters.WEIGHTS
  tensors = safetensors.numpy.load_file(path)
  stem = 'base_model.model.'
  name = f'{stem}model.layers.0.self_attn.q_proj.lora_A.weight'
  tensors[f'{stem}lm_head.lora_A.weight'] = tensors.pop(name)
  safetensors.numpy.save_file(tensors, path)
  with pytest.raises(ValueError, match=f'missing {name}\n.*leftover.*lm_head'):
    adapters.load(folder, _CONFIG, _FAMILY)
  only = {f'{stem}lm_head.lora_A.weight': np.ones((3, 4), np.float32)}
  safetensors.numpy.save_file(only, path)
  with pytest.raises(ValueError, match='adapts none of the maps'):
    adapters.load(folder, _CONFIG, _FAMILY)
  path.unlink()
  with pytest.raises(FileNotFoundError, match='save_pretrained of PEFT'):
    adapters.load(folder, _CONFIG, _FAMILY)


def test_nothing_half_written_or_without_factors_appears(folder):
  with pytest.raises(FileExistsError, match='is not empty'):
    save(folder)
  with pytest.raises(ValueError, match='no LoRA factors'):
    save(folder.with_name('new'), _random(parameters.table(_CONFIG)))
  assert [path.name for path in folder.parent.iterdir()] == ['adapter']


def test_maps_that_are_one_tensor_are_not_written_apart(tmp_path):
  config = hf.config_of(families.hf_config('phi3'))
  flat = _random(lora.table(config, rank=2, alpha=4.0, targets=['q', 'o']))
  params = traverse_util.unflatten_dict(flat)
  with pytest.raises(ValueError, match=r"\['q'\] are parts of one tensor"):
    adapters.save(tmp_path, config, params, family='phi3', base='base')


def test_a_base_that_sees_is_named(tmp_path):
  (tmp_path / 'config.json').write_text('{"model_type": "gemma3"}')
  with pytest.raises(ValueError, match='more than text.*the whole model'):
    save(tmp_path / 'adapter', base=str(tmp_path))


def assembled(base, workdir, **settings):
  config = tiny.get_config('grpo')
  config.warm_start.steps, config.recipe.kl_weight = 0, 0.1
  config.model.path = str(base)
  config.update_from_flattened_dict(
    {f'model.{name}': value for name, value in settings.items()}
  )
  return assembly.assemble(config, workdir)


def test_a_run_begins_with_an_adapter_and_refers_to_it(tmp_path):
  base = folders.model_in(tmp_path)
  targets = ('q', 'down')
  first, params = assembled(
    base, tmp_path, lora_rank=2, lora_alpha=3.0, lora_targets=targets
  )
  with contextlib.closing(first):
    state = first.init(jax.tree.map(lambda x: x + 0.25, params))
    written = first.export_adapter(state, tmp_path / 'adapter', card='card')
    expected = first.whole(state.params)
  assert written == adapters.Adapter(2, 3.0, targets)
  assert str(written) == 'deltas of rank 2, alpha 3, of q, down'
  said = json.loads((tmp_path / 'adapter' / adapters.CONFIG).read_text())
  assert said['base_model_name_or_path'] == str(base)
  assert (tmp_path / 'adapter' / 'README.md').read_text() == 'card'
  second, begun = assembled(base, tmp_path, adapter=str(tmp_path / 'adapter'))
  with contextlib.closing(second):
    chex.assert_trees_all_equal(begun, state.params)
    # What the KL refers to, and whom games are played against.
    reference = second.recipe.reference.params(second.init(begun).reference)
    chex.assert_trees_all_equal(second.whole(reference), expected)
    chex.assert_trees_all_equal(second.start_params, expected)
  with contextlib.closing(assembled(base, tmp_path)[0]) as whole:
    with pytest.raises(ValueError, match='nothing of this policy is frozen'):
      whole.export_adapter(state, tmp_path / 'none')


@pytest.mark.parametrize(
  ('settings', 'words'),
  [
    ({'path': ''}, 'needs the model under it; set model.path'),
    ({'lora_rank': 2}, 'model.lora_rank=2 and model.adapter='),
    ({'path': 'ADAPTER'}, 'ADAPTER is an adapter; .* for, some/base'),
  ],
)
def test_an_adapter_goes_with_its_model_alone(
  tmp_path, monkeypatch, settings, words
):
  monkeypatch.chdir(tmp_path)
  save('ADAPTER')
  with pytest.raises(ValueError, match=words):
    assembled('base', tmp_path, adapter='ADAPTER', **settings)


def test_an_adapter_is_not_put_on_a_model_that_a_warm_start_changed(tmp_path):
  config = tiny.get_config()
  config.model.path, config.model.adapter = 'base', 'adapter'
  with pytest.raises(ValueError, match='warm_start.steps=100 would train'):
    assembly.assemble(config, tmp_path)


def test_attention_of_a_mixture_is_read(tmp_path):
  source = families.hf_config('qwen3_moe')
  config = hf.config_of(source)
  sizes = _SIZES._replace(targets=('q', 'v'))
  params = traverse_util.unflatten_dict(
    _random(lora.table(config, **sizes._asdict()))
  )
  params['layers']['q']['lora_scale'] = np.full(config.layers, 2.0)
  adapters.save(
    tmp_path / 'adapter', config, params, family='qwen3_moe', base='base'
  )
  assert adapters.describe(tmp_path / 'adapter', config, 'qwen3_moe') == sizes
