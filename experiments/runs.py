"""Reads a run folder back: its config, its session, its newest state."""

from __future__ import annotations

import json
import math
import os
import pathlib
import runpy

from absl import logging
from ml_collections import ConfigDict

from experiments.command import Refused
from jaxrl_llm import recipes


def config_of(workdir: pathlib.Path) -> ConfigDict:
  """The settings that a run was made with.

  Raises:
    Refused: the folder is not that of a run.
  """
  path = workdir / 'config.json'
  try:
    record = dict(json.loads(path.read_bytes()))
    config = dict(record['config'])
  except (FileNotFoundError, NotADirectoryError):
    raise Refused(f'{workdir} is no run folder: no {path.name}') from None
  except (ValueError, RecursionError, KeyError, TypeError) as error:
    raise Refused(
      f'{path} is not the record of a run: {type(error).__name__}: {error}'
    ) from None
  _register(config, record.get('config_file', ''))
  # JSON has no tuples, and a ConfigDict keeps the type of a field.
  return ConfigDict(_tuples(config))


def _register(config, path: str) -> None:
  """Executes a config file that enters the recipe, or family, of a run."""
  name = dict(config.get('recipe', {})).get('name')
  known = name in recipes.names() and _family_is_known(config)
  if not known and os.path.isfile(path):
    runpy.run_path(path, run_name='config')


def _family_is_known(config) -> bool:
  """Whether the model that a run began with is of a family of ours."""
  from jaxrl_llm.policies.language.hf import families

  folder = dict(config.get('model', {})).get('path', '')
  try:
    said = json.loads((pathlib.Path(folder) / 'config.json').read_bytes())
    family = said.get('model_type', '')
  except (OSError, ValueError, AttributeError):
    return True  # Of the hub, made by the run, or refused by who reads it.
  return family in families.FAMILIES or family in families.COMPOSITES


def _tuples(value):
  if isinstance(value, dict):
    return {key: _tuples(each) for key, each in value.items()}
  return tuple(value) if isinstance(value, list) else value


def restore(workdir: pathlib.Path):
  """The session of a run and the state of its newest whole checkpoint.

  Args:
    workdir: the run folder; nothing in it is changed.

  Newer ones that cannot be read are named in warnings.

  Raises:
    Refused: there is no checkpoint yet.
    WorkdirError: the run read other files than are there now.
  """
  from jaxrl_llm import problems
  from jaxrl_llm.training import checkpoint
  from jaxrl_llm.training import workdir as workdir_lib

  config = config_of(workdir)
  workdir_lib.check_files(workdir, problems.fingerprints(config))
  parts, params = problems.assemble(config, workdir)
  target = checkpoint.shapes(parts.init(params))
  del params  # One state at a time.
  # Rows that wait to be learned from stay where they are.
  folder = workdir_lib.checkpoints(workdir)
  restored = checkpoint.load(folder, target, partial=True)
  if restored is None:
    parts.close()
    raise Refused(
      f'{workdir} has no checkpoint yet; let it reach iteration '
      f'{config.checkpoint.every}'
    )
  for step, why in restored.damaged.items():
    logging.warning(
      'checkpoint %d in %s is damaged (%s); reading that of iteration %d',
      step,
      folder,
      why,
      restored.step,
    )
  return parts, restored.state


def held_out(
  workdir: pathlib.Path, step: float = math.inf
) -> list[tuple[str, float, float]]:
  """(name, before, after) of what was measured on held-out data.

  Args:
    step: the last iteration that counts.
  """
  from jaxrl_llm.training import writers

  lines = writers.read(workdir / 'metrics.jsonl')
  tested = [x for x in lines if any(map(_shown, x)) and x['step'] <= step]
  if not tested:
    return []
  first, last = tested[0], tested[-1]
  return [
    (name.removeprefix('eval/'), first[name], last[name])
    for name in filter(_shown, first)
    if first[name] is not None and last.get(name) is not None
  ]


def _shown(name: str) -> bool:
  return name.startswith('eval/') and not name.endswith(('/low', '/high'))
