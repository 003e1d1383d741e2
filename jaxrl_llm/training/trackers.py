"""Dashboards that a run reports to beside its folder.

  --config.log.trackers="('wandb',)" --config.log.project=sums

names any of `wandb` (Weights & Biases), `trackio` and `mlflow`, each an extra.
Where they send to is said as their own documents say it: `WANDB_MODE=offline`,
`TRACKIO_SPACE_ID`, `MLFLOW_TRACKING_URI`.

The folder stays the record of a run: a tracker that fails is told once and left
behind, and the run goes on. One that goes on from a checkpoint reports to the
same page as before, whose name `trackers.json` keeps; steps that are made again
are reported again, with equal numbers.
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from absl import logging

from jaxrl_llm.spelling import suggestion


class Tracker(Protocol):
  """One page of a dashboard."""

  # What it is known by there: a later part of the run asks for it.
  identity: str

  def log(self, step: int, metrics: Mapping[str, float]) -> None:
    """Metrics of a step, by name; steps grow, but for those made again."""

  def table(self, step: int, name: str, rows: Sequence[Mapping]) -> None:
    """Rows of text and numbers to look at, before their step's `log`."""

  def close(self) -> None:
    """Sends what is left."""


class Wandb:
  """Weights & Biases."""

  def __init__(self, project, name, folder, config, identity):
    import wandb

    self._table = wandb.Table
    self.identity = identity or uuid.uuid4().hex[:12]
    self._run = wandb.init(
      project=project,
      id=self.identity,
      name=name,
      dir=str(folder),
      config=dict(config),
      resume='allow',
    )

  def log(self, step, metrics):
    self._run.log(dict(metrics), step=step)

  def table(self, step, name, rows):
    columns = _columns(rows)
    cells = [[row.get(column) for column in columns] for row in rows]
    self._run.log({name: self._table(columns, cells)}, step=step)

  def close(self):
    self._run.finish()


class Trackio:
  """Trackio of Hugging Face: local, or a Space."""

  def __init__(self, project, name, folder, config, identity):
    del folder
    import trackio

    self._table = trackio.Table
    # A page is known by its name there, and two folders may share theirs.
    self.identity = identity or f'{name}-{uuid.uuid4().hex[:6]}'
    self._run = trackio.init(
      project=project,
      name=self.identity,
      config=dict(config),
      resume='allow',
      embed=False,
    )

  def log(self, step, metrics):
    self._run.log(dict(metrics), step=step)

  def table(self, step, name, rows):
    columns = _columns(rows)
    data: Any = [{name: row.get(name) for name in columns} for row in rows]
    self._run.log({name: self._table(data=data)}, step=step)

  def close(self):
    self._run.finish()


class Mlflow:
  """MLflow: its client alone, which needs a server or another store's URI."""

  def __init__(self, project, name, folder, config, identity):
    del folder
    import mlflow
    from mlflow import entities

    # Of 7, its default, the last waits for two minutes, and so does the run.
    os.environ.setdefault('MLFLOW_HTTP_REQUEST_MAX_RETRIES', '3')

    self._metric = entities.Metric
    self._client = mlflow.MlflowClient()
    self.identity = identity
    if not identity:
      experiment = mlflow.set_experiment(project).experiment_id
      made = self._client.create_run(experiment, run_name=name)
      self.identity = made.info.run_id
      fields = [
        entities.Param(key, str(value)[:6000])
        for key, value in _leaves(config).items()
      ]
      # As many as one request may hold.
      for first in range(0, len(fields), 100):
        self._client.log_batch(
          self.identity, params=fields[first : first + 100]
        )

  def log(self, step, metrics):
    now = time.time_ns() // 1_000_000
    numbers = [
      self._metric(key, value, now, step) for key, value in metrics.items()
    ]
    self._client.log_batch(self.identity, metrics=numbers)

  def table(self, step, name, rows):
    text = ''.join(json.dumps(dict(row)) + '\n' for row in rows)
    self._client.log_text(self.identity, text, f'{name}/{step:06}.jsonl')

  def close(self):
    self._client.set_terminated(self.identity)


KINDS: dict[str, Callable[..., Tracker]] = {
  'wandb': Wandb,
  'trackio': Trackio,
  'mlflow': Mlflow,
}


def check(names: Sequence[str]) -> None:
  """Refuses trackers that are unknown, named twice or not installed.

  Raises:
    ValueError: naming it and the remedy.
  """
  if len({*names}) < len(names):
    raise ValueError(
      f'log.trackers {tuple(names)} names one twice; say it once'
    )
  for name in names:
    if name not in KINDS:
      raise ValueError(f'log.trackers has {name!r}. {suggestion(name, KINDS)}')
    try:
      importlib.import_module(name)
    except ImportError as error:
      raise ValueError(
        f'log.trackers has {name!r}, which cannot be imported ({error}); '
        f"install it, pip install 'jaxrl_llm[{name}]'"
      ) from error


def begin(
  names: Sequence[str],
  folder: pathlib.Path,
  *,
  project: str,
  config: Mapping[str, Any],
) -> All:
  """Opens the page of a run on every dashboard of that name.

  Args:
    folder: of the run, whose name is that of the page. `trackers.json` in it
      keeps what the pages are known by.
    project: what they stand under.
    config: nested settings, to be shown there.

  Raises:
    ValueError: one cannot be opened, with what it says.
  """
  path = folder / 'trackers.json'
  known = json.loads(path.read_text()) if path.exists() else {}
  opened: dict[str, Tracker] = {}
  for name in names:
    try:
      opened[name] = KINDS[name](
        project, folder.resolve().name, folder, config, known.get(name, '')
      )
    except Exception as error:  # Theirs to choose, and a run has not begun.
      raise ValueError(
        f'{name} cannot be reached ({type(error).__name__}: {error}); see its '
        'documents for where it sends to, or leave it out of log.trackers'
      ) from error
  known |= {name: tracker.identity for name, tracker in opened.items()}
  if known:
    path.write_text(json.dumps(known, indent=2) + '\n')
  return All(opened)


class All:
  """Several trackers as one that never raises."""

  def __init__(self, trackers: Mapping[str, Tracker]):
    self._trackers = dict(trackers)

  def log(self, step: int, metrics: Mapping[str, float | None]) -> None:
    """Metrics of a step; those that were not finite are left out."""
    known = {
      name: float(value)
      for name, value in metrics.items()
      if value is not None and name != 'step'
    }
    self._each(lambda tracker: tracker.log(step, known))

  def table(self, step: int, name: str, rows: Sequence[Mapping]) -> None:
    """Rows to look at; what is neither text nor a number is left out."""
    shown = [
      {
        key: value
        for key, value in row.items()
        if isinstance(value, (str, int, float))
      }
      for row in rows
    ]
    if shown:
      self._each(lambda tracker: tracker.table(step, name, shown))

  def close(self) -> None:
    self._each(lambda tracker: tracker.close())

  def _each(self, do) -> None:
    for name, tracker in list(self._trackers.items()):
      try:
        do(tracker)
      except Exception as error:  # A network, a quota, a server that is gone.
        del self._trackers[name]
        logging.warning(
          '%s failed (%s: %s); the run goes on without it, and its folder has '
          'all that was not reported',
          name,
          type(error).__name__,
          error,
        )


def _columns(rows: Sequence[Mapping]) -> list[Any]:
  return list(dict.fromkeys(key for row in rows for key in row))


def _leaves(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  found: dict[str, Any] = {}
  for key, value in tree.items():
    if isinstance(value, Mapping):
      found |= _leaves(value, f'{prefix}{key}.')
    else:
      found[f'{prefix}{key}'] = value
  return found
