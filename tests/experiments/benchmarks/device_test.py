"""The parts that measure an accelerator, on this machine and at small sizes."""

import dataclasses

import jax
import pytest

from experiments import command
from experiments.benchmarks import cases, device

_SMALL = dataclasses.replace(
  device.SIZES['toy'],
  model=cases.Model(1, 32, 2, 1, 16, 64, 64),
  deep=cases.Model(2, 32, 2, 1, 16, 64, 64),
  train=('steps=1', 'optimizer.warmup=0', 'eval.samples=0'),
)


@pytest.fixture(scope='module')
def found():
  return device.measure(['decode', 'learn', 'memory', 'gap'], _SMALL)


@pytest.mark.slow
def test_rates_are_fractions_of_what_this_machine_can_do(found):
  decode, learn = found['decode'], found['learn']
  tokens = _SMALL.shape.rows * _SMALL.shape.response
  assert decode['tokens'] == pytest.approx(tokens / decode['seconds'])
  assert decode['share'] == decode['floor'] / decode['seconds'] > 0
  assert learn['mfu'] > 0 and learn['bad_steps'] == 0
  assert learn['attention'] == 'tiles'
  assert found['memory']['bytes'] > 1e7
  # Nothing is said of a chip that is not there.
  assert found['device']['platform'] == jax.default_backend()
  assert 'mfu of the sheet' not in learn


@pytest.mark.slow
def test_two_programs_agree_where_nothing_is_rounded(found):
  gap = found['gap']
  assert gap['sampler and scorer in float32, largest'] < 1e-4
  rounding = gap['bfloat16 and float32 of the scorer, mean']
  assert 1e-5 < rounding < 0.1


@pytest.mark.slow
def test_a_page_has_a_row_for_each_number(found):
  page = device.page(found)
  assert page.startswith('# One cpu\n')
  assert f'| learn | mfu | {found["learn"]["mfu"]:.4g} |' in page


def test_full_sizes_are_refused_without_an_accelerator(monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: 'cpu')
  with pytest.raises(command.Refused, match='use --size=toy'):
    device.check('full')


@pytest.mark.slow
def test_a_run_that_was_stopped_is_the_one_that_was_not():
  found = device.measure(['train', 'resume'], _SMALL)
  assert found['resume'] | {'took': 0} == {
    'iterations': 5,
    'differ': [],
    'took': 0,
  }
  assert 0 <= found['train']['after'] <= 1
