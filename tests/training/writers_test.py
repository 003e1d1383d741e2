import errno
import json
import math
import os
import pathlib
import shutil
import time

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies
from tensorboardX import event_file_writer
from tensorboardX.proto import event_pb2

from jaxrl_llm.training import writers


def _metrics(step: int) -> dict:
  return {
    'reward/mean': jnp.float32(math.sin(step)),
    'accuracy': np.float64(step / 7),
    'tokens/sampled': step * 10,
    'time/sample': 0.5,
  }


def _run(workdir, steps, *, resume_step=None, total_steps=10):
  run = writers.Run(
    workdir, total_steps=total_steps, resume_step=resume_step, quiet=True
  )
  for step in steps:
    run.samples(step, [{'response': f'answer {step}', 'score': step / 3}])
    run.log(step, _metrics(step))
  return run


def _events(workdir) -> list[event_pb2.Event]:
  """The events of all files, by the order in which TensorBoard reads them."""
  events = []
  for path in sorted((workdir / 'tensorboard').iterdir()):
    data = path.read_bytes()
    while data:
      # A record: length (8), its checksum (4), content, its checksum (4).
      length = int.from_bytes(data[:8], 'little')
      events.append(event_pb2.Event.FromString(data[12 : 12 + length]))
      data = data[16 + length :]
  return events


def test_a_line_per_step_with_sorted_keys_and_exact_numbers(tmp_path):
  _run(tmp_path, [0, 1, 2]).close()
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  assert len(lines) == 3
  for step, line in enumerate(lines):
    read = json.loads(line)
    assert list(read) == sorted(read)
    assert read['step'] == step
    assert read['reward/mean'] == float(_metrics(step)['reward/mean'])
    assert read['accuracy'] == step / 7
    assert isinstance(read['tokens/sampled'], int)


@hypothesis.given(strategies.floats(width=32))
@hypothesis.settings(
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_numbers_round_trip_and_others_are_null(tmp_path, number):
  run = writers.Run(tmp_path, total_steps=1, quiet=True)
  run.log(1, {'x': np.float32(number), 'half': jnp.bfloat16(1.5)})
  run.sync()
  (line,) = writers.read(tmp_path / 'metrics.jsonl')
  assert line['x'] == (number if math.isfinite(number) else None)
  assert line['half'] == 1.5


def test_what_is_no_scalar_is_refused_by_name(tmp_path):
  run = _run(tmp_path, [])
  for value in (np.ones(2), 'high', None):
    with pytest.raises(TypeError, match="metric 'x' is"):
      run.log(1, {'x': value})
  run.close()


def test_a_step_is_logged_once(tmp_path):
  run = _run(tmp_path, [1, 2])
  with pytest.raises(ValueError, match='step 2 was logged before'):
    run.log(2, {})
  run.close()


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path):
  whole, resumed = tmp_path / 'whole', tmp_path / 'resumed'
  _run(whole, range(10)).close()
  _run(resumed, range(7))  # Killed: nothing is closed.
  with open(resumed / 'metrics.jsonl', 'ab') as file:
    file.write(b'{"step": 7, "accur')
  with open(resumed / 'samples.jsonl', 'ab') as file:
    file.write(b'\0\0\0\0\n{"step": 2')
  _run(resumed, range(5, 10), resume_step=4).close()
  for name in ('metrics.jsonl', 'samples.jsonl'):
    assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_a_resume_without_a_checkpoint_starts_anew(tmp_path):
  _run(tmp_path, range(3))
  _run(tmp_path, [0]).close()
  assert len(writers.read(tmp_path / 'metrics.jsonl')) == 1


def test_tensorboard_hides_what_a_resume_dropped(tmp_path):
  _run(tmp_path, range(4))
  _run(tmp_path, [2], resume_step=1).close()
  events = _events(tmp_path)
  starts = [
    event.step
    for event in events
    if event.session_log.status == event_pb2.SessionLog.START
    and event.HasField('session_log')
  ]
  assert starts == [0, 2]
  last = {each.tag: each.simple_value for each in events[-1].summary.value}
  assert events[-1].step == 2
  assert last['tokens/sampled'] == 20 and 'step' not in last


def test_any_text_can_be_a_sample(tmp_path):
  run = _run(tmp_path, [])
  row = {
    'text': 'naïve \ud800 \0 \n {"',
    'scores': np.array([1.0, np.nan], np.float32),
    'length': np.int32(3),
  }
  run.samples(1, [row, row])
  run.close()
  lines = (tmp_path / 'samples.jsonl').read_bytes().splitlines()
  assert 'naïve' in lines[0].decode()
  expected = {**row, 'scores': [1.0, None], 'length': 3, 'step': 1}
  assert [json.loads(line) for line in lines] == [expected] * 2


@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_sentence_and_whole_lines(
  tmp_path, monkeypatch, code
):
  run = _run(tmp_path, [1])
  before = (tmp_path / 'metrics.jsonl').read_bytes()
  write, calls = os.write, []

  def short_write(file, data):
    calls.append(file)
    if len(calls) > 1:
      raise OSError(code, os.strerror(code))
    return write(file, data[: len(data) // 2])

  monkeypatch.setattr(writers.os, 'write', short_write)
  with pytest.raises(writers.DiskFull) as error:
    run.log(2, _metrics(2))
  assert len(str(error.value).splitlines()) == 1
  assert str(tmp_path) in str(error.value)
  assert (tmp_path / 'metrics.jsonl').read_bytes() == before
  monkeypatch.undo()
  run.log(2, _metrics(2))
  run.close()
  assert len(writers.read(tmp_path / 'metrics.jsonl')) == 2


def test_the_config_is_replaced_whole(tmp_path, monkeypatch):
  record = {'config': {'lr': 0.1, 'buffer': math.inf}, 'seed': 3}
  writers.write_config(tmp_path, record)
  path = tmp_path / 'config.json'
  assert json.loads(path.read_text()) == record

  def refuse(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(writers.os, 'fsync', refuse)
  with pytest.raises(writers.DiskFull):
    writers.write_config(tmp_path, {'config': {}})
  assert json.loads(path.read_text()) == record
  assert [each.name for each in tmp_path.iterdir()] == ['config.json']


def test_the_curve_is_drawn_at_the_end(tmp_path):
  _run(tmp_path, range(5)).close()
  assert (tmp_path / 'curve.png').read_bytes().startswith(b'\x89PNG')
  leftovers = [path for path in tmp_path.iterdir() if path.suffix == '.tmp']
  assert not leftovers


def test_a_quiet_run_shows_nothing(tmp_path, capsys):
  _run(tmp_path, range(3)).close()
  assert capsys.readouterr() == ('', '')


def test_reading_leaves_out_a_torn_line(tmp_path):
  path = pathlib.Path(tmp_path, 'metrics.jsonl')
  path.write_bytes(b'{"step": 1}\n{"step": 2}')
  assert writers.read(path) == [{'step': 1}]


def test_a_folder_that_is_deleted_stops_the_run(tmp_path):
  run = _run(tmp_path / 'run', [1])
  shutil.rmtree(tmp_path / 'run')
  with pytest.raises(FileNotFoundError, match='deleted while the run wrote'):
    run.log(2, _metrics(2))


def test_a_clock_that_is_set_back_changes_no_order(tmp_path, monkeypatch):
  _run(tmp_path, [1, 2]).close()
  year = 365 * 24 * 3600
  monkeypatch.setattr(writers.time, 'time', lambda: time.monotonic() - year)
  monkeypatch.setattr(
    event_file_writer.time, 'time', lambda: time.monotonic() + 10 * year
  )
  _run(tmp_path, [3], resume_step=2).close()
  monkeypatch.undo()
  lines = writers.read(tmp_path / 'metrics.jsonl')
  assert [line['step'] for line in lines] == [1, 2, 3]
  steps = [
    event.step for event in _events(tmp_path) if event.HasField('summary')
  ]
  assert steps == [1, 2, 3]


def test_what_does_not_fit_is_not_begun(tmp_path, monkeypatch):
  writers.check_room(tmp_path, 1)
  writers.check_room(tmp_path / 'absent', 1 << 80)
  with pytest.raises(OSError) as error:
    writers.check_room(tmp_path, 1 << 80)
  assert error.value.errno == errno.ENOSPC
