"""Who may write to a run folder, and whose it is."""

import os
import signal

import pytest

from jaxrl_llm.training import workdir as workdir_lib
from jaxrl_llm.training import writers
from tests.training import snippets


def test_the_second_run_in_a_folder_is_refused(tmp_path):
  with workdir_lib.Lock(tmp_path):
    with pytest.raises(workdir_lib.WorkdirError, match=f'{os.getpid()} on'):
      workdir_lib.Lock(tmp_path)
  workdir_lib.Lock(tmp_path).close()


def test_a_folder_in_the_place_of_the_lock_is_named(tmp_path):
  (tmp_path / 'lock').mkdir()
  with pytest.raises(workdir_lib.WorkdirError, match='lock is a folder.*move'):
    workdir_lib.Lock(tmp_path)


def test_a_start_that_fails_leaves_no_folder_of_its_own(tmp_path):
  workdir_lib.Lock(tmp_path / 'new').withdraw()
  assert not (tmp_path / 'new').exists()
  for name in ('there', 'used'):
    (tmp_path / name).mkdir()
  (tmp_path / 'used' / 'notes.txt').write_text('')
  for name, left in (('there', ['lock']), ('used', ['lock', 'notes.txt'])):
    workdir_lib.Lock(tmp_path / name).withdraw()
    assert sorted(x.name for x in (tmp_path / name).iterdir()) == left
    workdir_lib.Lock(tmp_path / name).close()


def test_a_run_is_cleared_and_nothing_else(tmp_path):
  (tmp_path / 'notes.txt').write_text('')
  (tmp_path / 'checkpoints' / '2').mkdir(parents=True)
  workdir_lib.clear(tmp_path)
  assert (tmp_path / 'checkpoints' / '2').exists()  # Of no run.
  writers.write_config(tmp_path, {'config': {}})
  workdir_lib.clear(tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ['notes.txt']


def test_code_that_has_changed_is_refused_with_its_name(tmp_path):
  code = {'config mine.py': 'a', 'module other': 'b'}
  writers.write_config(tmp_path, {'config': {}, 'files': {}, 'code': code})
  workdir_lib.check_files(tmp_path, code, kind='code')
  with pytest.raises(workdir_lib.WorkdirError) as refused:
    workdir_lib.check_files(tmp_path, code | {'module other': 'c'}, kind='code')
  assert 'began with other code: module other has changed' in str(refused.value)
  assert '--fresh' in str(refused.value)


def test_a_worker_that_outlives_a_killed_run_does_not_hold_its_folder(
  tmp_path,
):
  code = """
  import os, sys, time
  from jaxrl_llm.training import workdir as workdir_lib
  lock = workdir_lib.Lock(sys.argv[1])
  if not os.fork():
    print(os.getpid(), flush=True)
  time.sleep(60)
  """
  run = snippets.start(code, tmp_path)
  worker = int(run.stdout.readline())
  try:
    with pytest.raises(workdir_lib.WorkdirError):
      workdir_lib.Lock(tmp_path)
    run.kill()
    run.wait()
    workdir_lib.Lock(tmp_path).close()
  finally:
    os.kill(worker, signal.SIGKILL)
    run.communicate()


def test_a_folder_of_another_config_is_refused_with_the_fields(tmp_path):
  config = {'lr': 1e-3, 'clip': (0.2, 0.28), 'buffer': float('inf')}
  config['checkpoint'] = {'every': 5, 'extra': {}}
  workdir_lib.check_config(tmp_path, config)
  writers.write_config(tmp_path, {'config': config, 'seed': 1})
  workdir_lib.check_config(tmp_path, config)
  other = {**config, 'lr': 2e-3, 'checkpoint': {'every': 9}, 'new': None}
  with pytest.raises(workdir_lib.WorkdirError) as error:
    workdir_lib.check_config(tmp_path, other, allowed=['checkpoint.every'])
  message = str(error.value)
  assert 'lr is 0.001 there and 0.002 here' in message
  assert 'new is absent there and null here' in message
  assert 'every' not in message and 'clip' not in message


@pytest.mark.parametrize('content', ['{"config": 1', '[]', '{}', '7'])
def test_a_config_file_that_cannot_be_read_is_refused(tmp_path, content):
  (tmp_path / 'config.json').write_text(content)
  with pytest.raises(workdir_lib.WorkdirError, match='cannot be read'):
    workdir_lib.check_config(tmp_path, {})
  with pytest.raises(workdir_lib.WorkdirError, match='cannot be read'):
    workdir_lib.check_files(tmp_path, {})


def test_a_run_that_began_with_other_files_names_them(tmp_path):
  files = {'a.jsonl': '1', 'b.jsonl': '2', 'c.jsonl': '3'}
  workdir_lib.check_files(tmp_path, files)
  writers.write_config(tmp_path, {'config': {}, 'files': files})
  workdir_lib.check_files(tmp_path, files)
  other = {'a.jsonl': '1', 'b.jsonl': '9', 'd.jsonl': '3'}
  with pytest.raises(workdir_lib.WorkdirError) as error:
    workdir_lib.check_files(tmp_path, other)
  assert (
    'other files: b.jsonl has changed; c.jsonl is gone; d.jsonl is new. Put'
  ) in str(error.value)


def test_a_run_of_a_version_that_recorded_no_files_goes_on(tmp_path):
  writers.write_config(tmp_path, {'config': {}})
  workdir_lib.check_files(tmp_path, {'a.jsonl': '1'})


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
  (tmp_path / 'file').touch()
  for workdir in ('/proc/run', tmp_path / 'file', tmp_path / 'file' / 'run'):
    with pytest.raises(workdir_lib.WorkdirError, match='cannot be written to'):
      workdir_lib.Lock(workdir)
