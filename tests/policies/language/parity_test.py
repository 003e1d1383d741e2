"""Logits, caches and files against torch, live, for every family."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from jaxrl_llm.policies.language import hf, transformer
from tests.policies.language import families

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

_TOKENS = np.random.default_rng(0).integers(0, 48, (3, 24))
_LENGTHS = np.array([24, 17, 5])
_MASK = np.arange(24) >= 24 - _LENGTHS[:, None]  # left padded
_forward = jax.jit(
  lambda params, config, tokens, mask: transformer.logits(
    params, config, transformer.hidden(params, config, tokens, mask)
  ),
  static_argnums=1,
)


def _reference(name):
  torch.manual_seed(0)
  model = transformers.AutoModelForCausalLM.from_config(
    families.hf_config(name), attn_implementation='eager'
  ).eval()
  for parameter in model.parameters():
    # Norms start at one and biases at zero, which would hide mix-ups.
    if parameter.ndim == 1:
      parameter.data += 0.3 * torch.randn_like(parameter)
  return model


def _reference_logits(model):
  mask = torch.tensor(_MASK)
  with torch.no_grad():
    return model(
      input_ids=torch.tensor(_TOKENS),
      attention_mask=mask.long(),
      position_ids=(mask.long().cumsum(-1) - 1).clamp(min=0),
    ).logits.numpy()


def _folder_of_tensors(folder):
  tensors = {}
  for file in sorted(folder.glob('*.safetensors')):
    tensors |= safetensors.numpy.load_file(file)
  return tensors


@pytest.mark.parametrize('name', families.NAMES)
def test_logits_equal_torch_and_files_survive_the_round_trip(name, tmp_path):
  model = _reference(name)
  model.save_pretrained(tmp_path / 'source', max_shard_size='20KB')
  assert (tmp_path / 'source' / 'model.safetensors.index.json').exists()
  expected = _reference_logits(model)

  config, params = hf.load(tmp_path / 'source')
  actual = np.asarray(_forward(params, config, _TOKENS, _MASK))
  print(f'parity {name}: {np.abs(actual - expected)[_MASK].max():.1e}')
  np.testing.assert_allclose(actual[_MASK], expected[_MASK], rtol=0, atol=1e-4)

  export = tmp_path / 'export'
  hf.save(
    export,
    config,
    params,
    source=tmp_path / 'source',
    max_shard_bytes=20_000,
  )
  before, after = map(_folder_of_tensors, (tmp_path / 'source', export))
  assert before.keys() == after.keys()
  for key, tensor in before.items():
    assert tensor.dtype == after[key].dtype
    assert tensor.tobytes() == after[key].tobytes(), key
  again, report = transformers.AutoModelForCausalLM.from_pretrained(
    export, attn_implementation='eager', output_loading_info=True
  )
  assert not any(report.values()), report
  np.testing.assert_array_equal(_reference_logits(again.eval()), expected)


_IMAGES = {
  'gemma3': {
    'hidden_size': 16,
    'intermediate_size': 16,
    'num_hidden_layers': 1,
    'num_attention_heads': 2,
    'image_size': 28,
    'patch_size': 14,
  },
  'qwen3_5': {
    'depth': 1,
    'hidden_size': 16,
    'intermediate_size': 16,
    'num_heads': 2,
    'out_hidden_size': 32,
    'num_position_embeddings': 16,
  },
}


@pytest.mark.parametrize('name', _IMAGES)
def test_the_decoder_of_a_model_that_sees_is_read_and_written(name, tmp_path):
  text = families.hf_config(name, tie_word_embeddings=True).to_dict()
  torch.manual_seed(0)
  config = transformers.AutoConfig.for_model(
    name,
    text_config=text,
    vision_config=_IMAGES[name],
    tie_word_embeddings=True,
  )
  model = transformers.AutoModelForImageTextToText.from_config(
    config, attn_implementation='eager'
  ).eval()
  source, export = tmp_path / 'source', tmp_path / 'export'
  model.save_pretrained(source)
  expected = _reference_logits(model)
  config, params = hf.load(source)
  actual = np.asarray(_forward(params, config, _TOKENS, _MASK))
  np.testing.assert_allclose(actual[_MASK], expected[_MASK], rtol=0, atol=1e-4)
  hf.save(export, config, params, source=source)
  again, report = transformers.AutoModelForCausalLM.from_pretrained(
    export, attn_implementation='eager', output_loading_info=True
  )
  assert not any(report.values()), report
  np.testing.assert_allclose(
    _reference_logits(again.eval())[_MASK], expected[_MASK], atol=1e-6
  )


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_half_precision_files_survive_the_round_trip(dtype, tmp_path):
  model = _reference('gemma2').to(getattr(torch, dtype))
  model.save_pretrained(tmp_path / 'source')
  config, params = hf.load(tmp_path / 'source')
  assert params['embed']['kernel'].dtype == jnp.float32
  hf.save(tmp_path / 'export', config, params, source=tmp_path / 'source')
  for file in ('source', 'export'):
    described = json.loads((tmp_path / file / 'config.json').read_text())
    assert described['dtype'] == dtype
  before, after = (
    _folder_of_tensors(tmp_path / file) for file in ('source', 'export')
  )
  assert {key: x.tobytes() for key, x in before.items()} == {
    key: x.tobytes() for key, x in after.items()
  }
  again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / 'export')
  assert str(again.dtype) == f'torch.{dtype}'


def test_a_configuration_alone_suffices_to_export(tmp_path):
  source = families.hf_config('qwen3')
  model = _reference('qwen3')
  model.save_pretrained(tmp_path / 'source')
  config, params = hf.load(tmp_path / 'source')
  hf.save(tmp_path / 'export', config, params, source=source)
  again = transformers.AutoModelForCausalLM.from_pretrained(
    tmp_path / 'export', attn_implementation='eager'
  )
  assert again.config.architectures == ['Qwen3ForCausalLM']
  np.testing.assert_array_equal(
    _reference_logits(again.eval()), _reference_logits(model)
  )
