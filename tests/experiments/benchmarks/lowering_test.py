"""Programs for accelerators, made without one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import cases, lowering

_SHAPE = cases.Shape(prompts=2, samples=2, prompt=8, response=8)
_SMALL = {
  'vocab_size': 96,
  'hidden_size': 32,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'intermediate_size': 64,
}
_EXPERTS = {'head_dim': 8, 'moe_intermediate_size': 16, 'num_experts': 4}
_MODELS = {
  'Qwen2.5-0.5B': _SMALL,
  'Qwen3-30B-A3B': _SMALL | _EXPERTS | {'num_experts_per_tok': 2},
  'gpt-oss-20b': _SMALL | {'head_dim': 8, 'num_local_experts': 4},
}


@functools.cache
def programs(name, layers, unroll):
  changes = _MODELS[name] | {'num_hidden_layers': layers}
  config = lowering.config_of(name, **changes)
  return lowering.programs(config, _SHAPE, unroll=unroll)


@functools.cache
def lowered(name, layers, kind, unroll=False):
  return lowering.lower(*programs(name, layers, unroll)[kind])


@pytest.mark.parametrize(
  ('name', 'kind'),
  [
    ('Qwen3-30B-A3B', 'sample'),
    ('Qwen3-30B-A3B', 'score'),
    pytest.param('Qwen3-30B-A3B', 'learn', marks=pytest.mark.slow),
    *(
      pytest.param(name, kind, marks=pytest.mark.slow)
      for name in ('Qwen2.5-0.5B', 'gpt-oss-20b')
      for kind in ('sample', 'score', 'learn')
    ),
  ],
)
def test_programs_hold_nothing_that_accelerators_lack(name, kind):
  """And their size does not grow with depth."""
  # Windows of gpt-oss alternate: layers of a loop are two.
  deeper = 4 if name == 'gpt-oss-20b' else 3
  few, more = (lowered(name, layers, kind) for layers in (2, deeper))
  assert set(few) == {'cuda', 'tpu'}
  for platform, found in few.items():
    assert not found.faults, (platform, found)
    assert found.lines == more[platform].lines > 500


@pytest.mark.slow
def test_layers_that_are_written_out_are_seen():
  few, more = (lowered('Qwen2.5-0.5B', x, 'sample', True) for x in (2, 3))
  assert few['tpu'].lines + 100 < more['tpu'].lines


def test_tpus_loop_over_no_blocks_of_experts():
  found = lowered('Qwen3-30B-A3B', 2, 'score')
  assert found['tpu'].lines < found['cuda'].lines


def _wide(x):
  return x.astype(jnp.float64) + 1


def test_a_call_of_the_host_is_refused_by_jax():
  def called_back(x):
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(np.asarray, shape, x)

  with pytest.raises(ValueError, match='platform'):
    lowering.lower(called_back, (jnp.ones(4),), ['cuda'])


@pytest.mark.parametrize(
  ('program', 'fault'),
  [
    (_wide, 'f64'),
    (lambda x: jnp.linalg.qr(x)[0], 'householder|geqrf|Qr'),
  ],
)
def test_a_fault_is_named(program, fault):
  with jax.enable_x64(True):
    found = lowering.lower(program, (jnp.ones((4, 4), jnp.float32),), ['cuda'])
  assert any(
    word in name for word in fault.split('|') for name in found['cuda'].faults
  ), found


@pytest.mark.slow
def test_published_sizes_are_lowered_without_memory():
  """As many lines for 28 layers as for 64."""
  lines = {}
  for layers in (28, 64):
    config = lowering.config_of('Qwen2.5-7B', num_hidden_layers=layers)
    known = lowering.programs(config, lowering.SHAPE)
    for kind, (program, arguments) in known.items():
      for platform, found in lowering.lower(program, arguments).items():
        assert not found.faults
        seen = lines.setdefault((kind, platform), found.lines)
        assert seen == found.lines < 10_000


_FITTING = {'head_dim': 64, 'num_hidden_layers': 2}


@functools.cache
def attending(platform):
  config = lowering.config_of('Qwen2.5-0.5B', **_SMALL | _FITTING)
  return lowering.attending(config, platform)


@pytest.mark.parametrize('platform', lowering.PLATFORMS)
@pytest.mark.parametrize(
  ('kind', 'calls'),
  # A prompt's; the rows'; and forth, again forth and back, which is two kernels
  # of splash.
  [('sample', {1}), ('score', {1}), ('learn', {3, 4})],
)
def test_attention_calls_the_kernel_of_the_platform(platform, kind, calls):
  config, why = attending(platform)
  assert not why
  with lowering.elsewhere():
    program, arguments = lowering.programs(config, _SHAPE)[kind]
  found = lowering.lower(program, arguments, [platform])[platform]
  assert found.fused in calls
  assert not found.faults


def test_tiles_call_nothing_and_who_has_them_is_told_why():
  found = lowered('Qwen3-30B-A3B', 2, 'score')
  assert {each.fused for each in found.values()} == {0}
  for platform in lowering.PLATFORMS:
    config, why = lowering.attending(
      lowering.config_of('gpt-oss-20b', num_hidden_layers=2), platform
    )
    assert config.kernel == 'tiles' and 'windows' in why
