"""A run begins with the policy of another one, and needs it no more."""

import json
import shutil
import types

import jax
import numpy as np
import optax
import pytest

from experiments import command, fork, train
from experiments.configs import control, sft
from jaxrl_llm import problems
from jaxrl_llm.training import checkpoint, writers
from tests.end_to_end import processes


def settings(**changed):
  config = control.get_config('ppo')
  config.policy.widths = (4,)
  for name, value in changed.items():
    config[name] = value
  return config


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run with a checkpoint whose every number is its own."""
  folder = tmp_path_factory.mktemp('runs') / 'first'
  config = settings()
  writers.write_config(folder, {'config': config.to_dict()})
  session, params = problems.assemble(config, folder)
  state = jax.tree.map(lambda x: x + x.dtype.type(3), session.init(params))
  keeper = checkpoint.Checkpointer(folder / 'checkpoints')
  keeper.save(7, state, {})
  keeper.close()
  return folder, state


@pytest.mark.parametrize('optimizer', [False, True])
def test_policy_and_moments_are_the_other_runs_and_schedules_are_not(
  run, optimizer, tmp_path, capsys
):
  folder, before = run
  config = settings(seed=1)
  config.optimizer.learning_rate = 0.5
  session, params = problems.assemble(config, tmp_path)
  found = fork.Fork(str(folder), optimizer)
  fork.check(found, config, tmp_path)
  step, state = fork.begin(found, session, params)
  said = capsys.readouterr().err
  assert step == 7 and int(state.step) == 0
  assert 'iteration 7 of' in said and 'seed is 0 there and 1 here' in said
  jax.tree.map(np.testing.assert_array_equal, state.params, before.params)
  own, other = jax.tree.leaves(state.opt), jax.tree.leaves(before.opt)
  same = [np.array_equal(a, b) for a, b in zip(own, other, strict=True)]
  counts = [
    x.count
    for x in jax.tree.leaves(
      state.opt, is_leaf=lambda x: isinstance(x, optax.ScaleByScheduleState)
    )
    if isinstance(x, optax.ScaleByScheduleState)
  ]
  assert [int(count) for count in counts] == [0]
  assert same.count(True) == (len(same) - len(counts) if optimizer else 0)


def test_what_does_not_fit_is_refused_with_the_way_out(run, tmp_path):
  folder, _ = run
  found = fork.Fork(str(folder), True)
  wide = settings()
  wide.policy.widths = (5,)
  with pytest.raises(
    command.Refused, match=r'policy.widths is \(4,\) there and \(5,\) here.*exp'
  ):
    fork.check(found, wide, tmp_path)
  with pytest.raises(command.Refused, match='is the folder of this run'):
    fork.check(found, settings(), folder)
  with pytest.raises(command.Refused, match='is no run folder'):
    fork.check(fork.Fork(str(tmp_path), True), settings(), folder)
  with pytest.raises(command.Refused, match='is no run folder'):
    fork.check(
      fork.Fork(str(folder / 'config.json'), True), settings(), tmp_path
    )
  with pytest.raises(command.Refused) as refused:
    fork.check(found, sft.get_config(), tmp_path)
  told = str(refused.value)
  assert 'problem is control there and text here; ' in told
  # An error is cut after so many characters, and the remedy stands at its end.
  assert '--config.model.path=' in told and len(told) < 800
  shutil.copy(folder / 'config.json', tmp_path)
  with pytest.raises(command.Refused, match='no checkpoint yet'):
    fork.check(fork.Fork(str(tmp_path), True), settings(), folder)
  other = settings()
  other.optimizer.name = 'muon'
  with pytest.raises(
    command.Refused, match='name is adamw there.*optimizer out'
  ):
    fork.check(found, other, tmp_path)
  other.optimizer.name, other.optimizer.moment_dtype = 'adamw', 'bfloat16'
  session, params = problems.assemble(other, tmp_path)
  fork.check(found, other, tmp_path)
  with pytest.raises(command.Refused, match='opt/.*Leave --from_optimizer out'):
    fork.begin(found, session, params)


def test_a_run_keeps_to_what_it_began_from(tmp_path):
  asked = fork.Fork('/a', False)
  assert fork.of(tmp_path, asked) == asked
  record = {'config': {}, 'from': asked._asdict() | {'step': 3}}
  (tmp_path / 'config.json').write_text(json.dumps(record))
  assert fork.of(tmp_path, None) == fork.of(tmp_path, asked) == asked
  with pytest.raises(command.Refused, match='began with --from=/a. Leave'):
    fork.of(tmp_path, fork.Fork('/a', True))
  del record['from']
  (tmp_path / 'config.json').write_text(json.dumps(record))
  assert fork.of(tmp_path, None) is None
  with pytest.raises(command.Refused, match='began from no other run'):
    fork.of(tmp_path, asked)


@pytest.mark.parametrize('optimizer', [False, True])
def test_a_run_of_no_name_is_refused(optimizer, monkeypatch):
  monkeypatch.setattr(train, '_FROM', types.SimpleNamespace(value=''))
  monkeypatch.setattr(
    train, '_FROM_OPTIMIZER', types.SimpleNamespace(value=optimizer)
  )
  with pytest.raises(command.Refused, match='--from= names no run'):
    train._asked()


def test_the_model_that_a_run_made_goes_along(tmp_path):
  for name in ('model', 'warm_start'):
    (tmp_path / 'run' / name).mkdir(parents=True)
    (tmp_path / 'run' / name / 'config.json').write_text(name)
  own = tmp_path / 'own'
  (own / 'model').mkdir(parents=True)  # Of an earlier start, and complete.
  fork.take_folders(fork.Fork(str(tmp_path / 'run'), False), own)
  assert (own / 'warm_start' / 'config.json').read_text() == 'warm_start'
  assert sorted(path.name for path in own.iterdir()) == ['model', 'warm_start']
  assert not any((own / 'model').iterdir())


@pytest.mark.slow
def test_a_fork_is_resumed_byte_for_byte_without_the_run_it_began_from(
  tmp_path,
):
  first = tmp_path / 'first'
  done = processes.run('train', f'--workdir={first}', '--config.steps=2')
  assert done.returncode == 0, done.stderr
  flags = (
    f'--from={first}',
    '--from_optimizer',
    '--config.recipe.kl_weight=0.01',
    '--config.optimizer.learning_rate=2e-3',
    # A run of two iterations is also evaluated after the second one.
    '--config.eval.every=0',
  )
  whole, cut = tmp_path / 'whole', tmp_path / 'cut'
  done = processes.run(
    'train', *flags, f'--workdir={whole}', '--config.steps=4'
  )
  assert done.returncode == 0, done.stderr
  assert 'recipe.kl_weight is 0.04 there and 0.01 here' in done.stderr
  done = processes.run('train', *flags, f'--workdir={cut}', '--config.steps=2')
  assert done.returncode == 0, done.stderr
  shutil.rmtree(first)
  done = processes.run('train', *flags, f'--workdir={cut}', '--config.steps=4')
  assert done.returncode == 0, done.stderr
  assert 'going on from iteration 2' in done.stderr
  processes.assert_same_run(whole, cut)
  record = json.loads((cut / 'config.json').read_text())['from']
  assert record == {'run': str(first), 'optimizer': True, 'step': 2}
