import dataclasses
import json
import math
import pathlib
import re

import numpy as np
import pytest

from jaxrl_llm.policies.language import hf, parameters
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.delta import Delta
from jaxrl_llm.policies.language.hf.families import FAMILIES
from jaxrl_llm.policies.language.rope import KINDS, Rope
from jaxrl_llm.training import shard
from tests.policies.language import families


def test_families_differ_in_the_fields_they_are_known_for():
  llama, qwen2, qwen3, gemma2, gemma3 = (
    hf.config_of(families.hf_config(name))
    for name in ('llama3', 'qwen2', 'qwen3', 'gemma2', 'gemma3')
  )
  assert llama.rope.kind == 'llama3' and not llama.qkv_bias
  assert qwen2.qkv_bias and not qwen2.o_bias and qwen2.head_dim == 8
  assert qwen3.qk_norm and not qwen3.qkv_bias and qwen3.tied
  assert gemma2.attention_cap == 50.0 and gemma2.logit_cap == 30.0
  assert gemma2.windows == (5, 0, 5)
  assert gemma2.query_scale == 20**-0.5
  assert gemma2.embedding_scale == 32**0.5
  assert gemma3.windows == (5, 5, 0) and gemma3.qk_norm
  moe, raw, mixtral = (
    hf.config_of(families.hf_config(name))
    for name in ('qwen3_moe', 'qwen3_moe_raw', 'mixtral')
  )
  assert (moe.experts, moe.experts_per_token, moe.mlp_width) == (6, 2, 24)
  assert moe.qk_norm and moe.experts_norm and not raw.experts_norm
  assert raw.windows == (5, 5, 5) and not llama.experts
  assert (mixtral.experts, mixtral.experts_per_token) == (4, 2)
  assert mixtral.experts_norm and mixtral.mlp_width == 40
  assert gemma3.local_rope == Rope(100.0) and gemma3.rope.kind == 'linear'
  olmo2, olmo3 = (
    hf.config_of(families.hf_config(name)) for name in ('olmo2', 'olmo3')
  )
  for olmo in (olmo2, olmo3):
    assert olmo.qk_norm_joint and olmo.post_norms and not olmo.pre_norms
  phi4 = hf.config_of(families.hf_config('phi4'))
  assert phi4.rope.factors == (1.0, 1.5, 2.5) and phi4.rope.share == 0.75
  assert phi4.rope.amplitude == pytest.approx(math.sqrt(1.5))  # ln 8 / ln 64
  gpt_oss = hf.config_of(families.hf_config('gpt_oss'))
  assert gpt_oss.sinks and gpt_oss.mlp_bias and gpt_oss.gate_limit == 1.5
  assert gpt_oss.windows == (5, 0) and not gpt_oss.rope.truncate
  gemma4 = hf.config_of(families.hf_config('gemma4'))
  assert gemma4.kinds == ('attention', 'global') * 2 and gemma4.segments == (
    (0, 4, 2),
  )
  assert (gemma4.global_head_dim, gemma4.global_kv_heads) == (16, 1)
  assert gemma4.query_scale == 1.0 and not gemma4.global_values
  small = hf.config_of(families.hf_config('gemma4_small'))
  assert small.kinds == ('attention', 'global', 'reader', 'global_reader')
  assert small.segments == ((0, 2, 2), (2, 4, 2))
  assert (small.reader_width, small.token_width) == (80, 6)
  same = families.hf_config(
    'gemma4',
    global_head_dim=8,
    attention_k_eq_v=False,
    num_global_key_value_heads=None,
  )
  assert hf.config_of(same).kinds == ('attention',) * 4
  qwen3_5, qwen3_next = (
    hf.config_of(families.hf_config(name)) for name in ('qwen3_5', 'qwen3_next')
  )
  assert qwen3_5.deltas == (True, False)
  assert qwen3_5.attention_gate and qwen3_5.norm_offset == 1.0
  assert qwen3_next.shared_width == 20 and qwen3_next.mlp_width == 24
  assert qwen3_next.kinds == ('delta', 'attention') * 2
  assert qwen3_next.segments == ((0, 4, 2),)
  assert gemma3.segments == ((0, 3, 1),)
  granite, glm, glm4 = (
    hf.config_of(families.hf_config(name))
    for name in ('granite', 'glm', 'glm4')
  )
  assert (granite.embedding_scale, granite.query_scale) == (12.0, 0.2)
  assert (granite.residual_scale, granite.logit_scale) == (0.3, 0.125)
  assert glm.rope.interleaved and glm.rope.share == 0.5 and glm.qkv_bias
  assert glm4.post_norms and not glm.post_norms and not glm.o_bias
  assert olmo3.windows == (5, 0) and not olmo2.windows
  assert olmo3.rope.kind == 'yarn' and olmo3.local_rope.kind == 'default'


def test_layers_know_how_they_rotate():
  gemma3 = hf.config_of(families.hf_config('gemma3'))
  local, full = gemma3.local_rope, gemma3.rope
  assert gemma3.layer_ropes == (local, local, full)
  smollm3 = hf.config_of(families.hf_config('smollm3'))
  assert smollm3.layer_ropes == (smollm3.rope, None)
  assert smollm3.windows == (0, 5)


def test_the_page_of_families_lists_them_all():
  page = pathlib.Path(__file__).parents[3] / 'docs' / 'model_families.md'
  listed = re.findall(r'^\| `(\w+)`', page.read_text(), re.MULTILINE)
  assert sorted(listed[1:]) == sorted(FAMILIES)


@pytest.mark.parametrize('name', families.NAMES)
def test_every_parameter_has_a_sharding_rule(name):
  table = parameters.table(hf.config_of(families.hf_config(name)))
  assert {axis for entry in table.values() for axis in entry.axes} <= {
    *shard.RULES
  }


@pytest.mark.parametrize('name', families.NAMES)
def test_configurations_are_static_arguments(name):
  config = hf.config_of(families.hf_config(name))
  again = hf.config_of(families.hf_config(name))
  assert config == again and hash(config) == hash(again)


def test_folders_read_as_configurations_do(tmp_path):
  source = families.hf_config('qwen2_window')
  source.save_pretrained(tmp_path)
  assert (
    hf.config_of(tmp_path)
    == hf.config_of(str(tmp_path))
    == hf.config_of(source)
  )


def test_files_older_than_transformers_5_are_read(tmp_path):
  fields = {
    'model_type': 'llama',
    'hidden_size': 32,
    'num_attention_heads': 4,
    'num_hidden_layers': 2,
    'intermediate_size': 40,
    'vocab_size': 48,
    'rope_theta': 500.0,
    'rope_scaling': {'type': 'linear', 'factor': 2.0},
  }
  (tmp_path / 'config.json').write_text(json.dumps(fields))
  config = hf.config_of(tmp_path)
  assert config.rope == Rope(500.0, 'linear', 2.0)
  assert config.kv_heads == 4 and config.head_dim == 8


def test_other_architectures_are_refused_by_name(tmp_path):
  (tmp_path / 'config.json').write_text('{"model_type": "bloom"}')
  with pytest.raises(
    ValueError, match="'bloom' is not .* qwen3, .* gemma2.*docs/adding"
  ):
    hf.config_of(tmp_path)


@pytest.mark.parametrize('content', ['{"model_type": "llama"', '[1]'])
def test_a_broken_file_is_named(content, tmp_path):
  (tmp_path / 'config.json').write_text(content)
  with pytest.raises(ValueError, match='config.json is not a JSON object'):
    hf.config_of(tmp_path)


@pytest.mark.parametrize(
  'field, value', [('hidden_size', 'wide'), ('num_attention_heads', 7)]
)
def test_what_transformers_refuses_is_one_line(field, value, tmp_path):
  fields = {'model_type': 'llama', 'hidden_size': 32, field: value}
  (tmp_path / 'config.json').write_text(json.dumps(fields))
  with pytest.raises(ValueError, match='refuses .*config.json: .*') as error:
    hf.config_of(tmp_path)
  assert '\n' not in str(error.value)


def test_a_folder_without_configuration_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match='has no config.json'):
    hf.config_of(tmp_path)


@pytest.mark.parametrize(
  'name, field, value, message',
  [
    ('llama2', 'hidden_act', 'relu', "'relu' is not one of"),
    ('llama2', 'attention_dropout', 0.1, 'attention_dropout=0.1'),
    ('gemma3', 'attn_logit_softcapping', 9.0, 'attn_logit_softcapping=9.0'),
    ('gemma2', 'use_bidirectional_attention', True, 'use_bidirectional'),
    ('qwen2', 'quantization_config', {'bits': 4}, 'and save that model'),
    ('qwen3_moe', 'decoder_sparse_step', 2, 'decoder_sparse_step=1 only'),
    ('qwen3_moe', 'mlp_only_layers', [1], r'mlp_only_layers=\[1\]'),
    ('qwen3_moe', 'output_router_logits', True, 'output_router_logits=True'),
    ('gemma4', 'num_kv_shared_layers', 3, 'each needs a layer of its kind'),
    ('gemma4', 'enable_moe_block', True, 'enable_moe_block=True'),
    ('gpt_oss', 'swiglu_alpha', 1.5, 'swiglu_alpha=1.702 only'),
    ('phi3', 'resid_pdrop', 0.1, 'resid_pdrop=0.1'),
    ('mixtral', 'router_jitter_noise', 0.1, 'router_jitter_noise=0.1'),
    ('qwen3_next', 'attention_bias', True, 'attention_bias=True'),
    ('qwen3_5', 'layer_types', ['mamba', 'full_attention'], "'mamba'"),
    ('qwen3', 'layer_types', ['full_attention', 'linear'] * 2, 'layer_types'),
    (
      'llama2',
      'rope_parameters',
      {'rope_type': 'dynamic', 'rope_theta': 1.0},
      "rope type 'dynamic' is not supported; supported are default, linear",
    ),
    (
      'llama2',
      'rope_parameters',
      {'rope_theta': 1.0, 'mrope_section': [1, 1]},
      'mrope_section',
    ),
    (
      'llama2',
      'rope_parameters',
      {'rope_theta': 1.0, 'partial_rotary_factor': 0.5},
      'partial rotation',
    ),
  ],
)
def test_unsupported_fields_are_refused_by_name(name, field, value, message):
  source = families.hf_config(name)
  # Past the checks of the class: files may say anything.
  source.__dict__[field] = value
  with pytest.raises(ValueError, match=message):
    hf.config_of(source)


_PLAIN = Config(
  vocab=8, width=8, layers=2, heads=4, kv_heads=2, head_dim=2, mlp_width=8
)


@pytest.mark.parametrize(
  'field, value, message',
  [
    ('kv_heads', 3, '4 heads do not share 3'),
    ('head_dim', 3, 'head_dim 3 is odd'),
    ('windows', (1,), '1 windows for 2 layers'),
    ('local_rope', Rope(share=0.5), 'one for all'),
    ('global_head_dim', 4, 'give both or neither'),
    ('deltas', (True, False), 'give sizes where there are such layers'),
    ('delta', Delta(1, 1, 2, 2, 2), 'give sizes where there are such layers'),
    ('shared_width', 8, 'beside experts, of which there are 0'),
    ('unrotated', (True,), '1 unrotated for 2 layers'),
    ('activation', 'tanh', "'tanh' is not one of"),
    ('experts', 4, 'cannot choose 0 of 4 experts'),
    ('experts_per_token', 2, 'cannot choose 2 of 0 experts'),
  ],
)
def test_impossible_sizes_are_refused(field, value, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(_PLAIN, **{'windows': (1, 0), field: value})


def test_layers_that_repeat_nothing_are_one_period():
  config = dataclasses.replace(
    _PLAIN,
    layers=3,
    deltas=(True, False, False),
    delta=Delta(2, 1, 2, 2, taps=2),
  )
  assert config.segments == ((0, 3, 3),)
  with pytest.raises(ValueError, match='leave at least one to attention'):
    dataclasses.replace(config, deltas=(True,) * 3)


def test_readers_need_someone_to_read():
  with pytest.raises(ValueError, match='needs a layer of its kind before it'):
    dataclasses.replace(_PLAIN, readers=2)
  assert dataclasses.replace(_PLAIN, readers=1).kinds == (
    'attention',
    'reader',
  )


def test_a_joint_norm_of_nothing_is_refused():
  with pytest.raises(ValueError, match='needs qk_norm=True'):
    dataclasses.replace(_PLAIN, qk_norm_joint=True)


def test_sizes_can_be_replaced_freely():
  config = dataclasses.replace(_PLAIN, layers=3, head_dim=4)
  assert config.layer_windows == (0, 0, 0)


def test_frequencies_fall_geometrically():
  np.testing.assert_allclose(
    Rope(10_000.0).frequencies(8), [1.0, 0.1, 0.01, 0.001], rtol=1e-6
  )


@pytest.mark.parametrize('kind', KINDS)
def test_a_factor_of_one_stretches_nothing(kind):
  rope = Rope(
    1000.0, kind, 1.0, length=64, low=1.0, high=4.0, factors=(1.0,) * 8
  )
  np.testing.assert_allclose(
    rope.frequencies(16), Rope(1000.0).frequencies(16), rtol=1e-6
  )


@pytest.mark.parametrize('kind', ['llama3', 'yarn'])
def test_slow_pairs_are_stretched_and_fast_ones_kept(kind):
  rope = Rope(1000.0, kind, 8.0, length=64, low=1.0, high=4.0)
  stretch = Rope(1000.0).frequencies(16) / rope.frequencies(16)
  assert stretch[0] == 1.0
  np.testing.assert_allclose(stretch[-1], 8.0, rtol=1e-6)
  assert np.all(np.diff(stretch) >= 0)


def test_yarn_raises_the_amplitude_with_the_factor():
  rope = hf.config_of(families.hf_config('qwen2_yarn')).rope
  assert rope.amplitude == pytest.approx(0.1 * math.log(4.0) + 1.0)
  assert (rope.low, rope.high) == (1.0, 32.0)


def test_only_the_first_pairs_turn_in_proportion():
  rope = Rope(100.0, 'proportional', factor=2.0, share=0.5)
  np.testing.assert_allclose(
    rope.frequencies(8), [0.5, 0.5 * 100**-0.25, 0, 0], rtol=1e-6
  )


def test_only_the_first_dimensions_of_a_share_turn():
  assert Rope(share=0.75).frequencies(8).shape == (3,)
