"""Each dashboard by its own library, in the mode that needs no network."""

import importlib
import json
import logging
import sqlite3
import struct
import time

import pytest

from jaxrl_llm.training import trackers, writers

ROWS = [
  {'prompt': 'a', 'reward': 0.5, 'tokens': [1, 2]},
  {'prompt': 'b', 'reward': 1.0, 'answer': 'c'},
]


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
  monkeypatch.setenv('WANDB_MODE', 'offline')
  monkeypatch.setenv('WANDB_SILENT', 'true')
  monkeypatch.setenv('TRACKIO_DIR', str(tmp_path / 'trackio'))
  monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
  monkeypatch.setenv('MLFLOW_TRACKING_URI', f'file://{tmp_path}/mlruns')


def _run(tmp_path, name, steps, resume_step=None):
  opened = trackers.begin(
    [name], tmp_path / 'run', project='p', config={'a': {'b': 1}}
  )
  run = writers.Run(
    tmp_path / 'run',
    total_steps=10,
    resume_step=resume_step,
    quiet=True,
    trackers=opened,
  )
  for step in steps:
    run.samples(step, ROWS)
    run.log(step, {'reward/mean': step / 4, 'loss': float('nan')})
  run.close()
  if name == 'wandb':
    importlib.import_module(name).teardown()  # Waits until all is written.
  return json.loads((tmp_path / 'run' / 'trackers.json').read_text())[name]


@pytest.mark.parametrize(
  'name',
  [
    # The others take ten times as long to begin and to end.
    pytest.param(name, marks=[] if name == 'trackio' else pytest.mark.slow)
    for name in trackers.KINDS
  ],
)
def test_a_run_that_goes_on_reports_to_its_own_page(tmp_path, name):
  (tmp_path / 'run').mkdir()
  first = _run(tmp_path, name, [0, 1, 2])
  time.sleep(1.1)  # W&B names its files by the second.
  again = _run(tmp_path, name, [2, 3], resume_step=1)
  assert first == again
  found = {'wandb': _wandb, 'trackio': _trackio, 'mlflow': _mlflow}[name]
  metrics, settings, rows = found(tmp_path, first)
  assert metrics == {0: 0.0, 1: 0.25, 2: 0.5, 3: 0.75}
  assert settings == 1
  assert rows == [('a', 0.5), ('b', 1.0)]


def _wandb(tmp_path, identity):
  """What the two parts of the run wrote to be sent later."""
  from wandb.proto import wandb_internal_pb2 as records

  metrics, settings = {}, []
  for path in sorted(
    (tmp_path / 'run' / 'wandb').glob('offline-*/run-*.wandb')
  ):
    assert path.name == f'run-{identity}.wandb'
    for data in _logged(path.read_bytes()):
      record = records.Record.FromString(data)
      for item in record.run.config.update:
        if item.key == 'a':
          settings.append(json.loads(item.value_json)['b'])
      values = {
        '.'.join(item.nested_key) or item.key: json.loads(item.value_json)
        for item in record.history.item
      }
      if 'reward/mean' in values:
        metrics[record.history.step.num] = values['reward/mean']
        assert 'loss' not in values
  assert set(settings) == {1}
  (table, *_) = sorted(
    (tmp_path / 'run').glob('wandb/off*/files/media/table/*')
  )
  table = json.loads(table.read_text())
  assert table['columns'] == ['step', 'prompt', 'reward', 'answer']
  return metrics, settings[0], [tuple(row[1:3]) for row in table['data']]


def _logged(data):
  """Records of a log in LevelDB's format, behind a header of 7 bytes."""
  record, place = b'', 7
  while place + 7 <= len(data):
    if place % 32768 > 32768 - 7:  # Too little of a block for another header.
      place += -place % 32768
      continue
    _, length, kind = struct.unpack('<IHB', data[place : place + 7])
    record += data[place + 7 : place + 7 + length]
    place += 7 + length
    if kind in (1, 4):  # Whole, or the last part of one.
      yield record
      record = b''


def _trackio(tmp_path, identity):
  with sqlite3.connect(tmp_path / 'trackio' / 'p.db') as store:
    lines = store.execute('select step, run_name, metrics from metrics')
    lines = [(step, name, json.loads(text)) for step, name, text in lines]
    (settings,) = store.execute('select config from configs limit 1').fetchone()
  assert {name for _, name, _ in lines} == {identity}
  metrics = {
    step: found['reward/mean']
    for step, _, found in lines
    if 'reward/mean' in found
  }
  tables = [found['samples'] for *_, found in lines if 'samples' in found]
  rows = [(row['prompt'], row['reward']) for row in tables[0]['_value']]
  return metrics, json.loads(settings)['a']['b'], rows


def _mlflow(tmp_path, identity):
  import mlflow

  client = mlflow.MlflowClient()
  run = client.get_run(identity)
  assert run.info.status == 'FINISHED' and run.info.run_name == 'run'
  history = client.get_metric_history(identity, 'reward/mean')
  assert 'loss' not in run.data.metrics
  (path,) = (tmp_path / 'mlruns').glob('*/*/artifacts/samples/000002.jsonl')
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  return (
    {metric.step: metric.value for metric in history},
    int(run.data.params['a.b']),
    [(row['prompt'], row['reward']) for row in rows],
  )


class _Fails:
  identity = 'x'

  def log(self, step, metrics):
    raise ConnectionError('gone')

  table = close = None


def test_one_that_fails_is_told_once_and_the_run_goes_on(tmp_path, caplog):
  (tmp_path / 'run').mkdir()
  run = writers.Run(
    tmp_path / 'run',
    total_steps=3,
    quiet=True,
    trackers=trackers.All({'mine': _Fails()}),
  )
  with caplog.at_level(logging.WARNING):
    for step in range(3):
      run.log(step, {'loss': 1.0})
    run.close()
  told = [r.getMessage() for r in caplog.records if 'mine failed' in r.message]
  assert len(told) == 1 and 'ConnectionError: gone' in told[0]
  assert len(writers.read(tmp_path / 'run' / 'metrics.jsonl')) == 3


def test_what_cannot_be_opened_is_refused_with_the_remedy(
  tmp_path, monkeypatch
):
  with pytest.raises(ValueError, match="'wandb2'.*Did you mean 'wandb'"):
    trackers.check(['wandb2'])
  with pytest.raises(ValueError, match='names one twice'):
    trackers.check(['wandb', 'trackio', 'wandb'])
  monkeypatch.setitem(trackers.KINDS, 'nowhere', trackers.Wandb)
  with pytest.raises(ValueError, match=r"pip install 'jaxrl_llm\[nowhere\]'"):
    trackers.check(['nowhere'])
  monkeypatch.setenv('MLFLOW_TRACKING_URI', 'gopher://x')
  with pytest.raises(ValueError, match='mlflow cannot be reached'):
    trackers.begin(['mlflow'], tmp_path, project='p', config={})
  assert not (tmp_path / 'trackers.json').exists()
