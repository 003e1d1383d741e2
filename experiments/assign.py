"""Gives every annotator to the reward model that explains their choices best.

  python -m experiments.assign --models=FOLDER,FOLDER --output=parts \\
      --config.data.path=pairs.jsonl

The records are preferences, as docs/records.md describes, with a field
`annotator`. Written are parts/0.jsonl, parts/1.jsonl, ..., the records of the
annotators of each model, and parts/annotators.json, who they are. Training each
model on its part, and assigning again until nobody moves, is the expectation
maximisation of MaxMin-RLHF, arXiv 2402.08925:

  python -m experiments.assign --models=FOLDER,FOLDER --output=parts \\
      --rounds=5 --config.data.path=pairs.jsonl --config.steps=60

trains by experiments.train, with all settings that are given, in runs
parts/round-1/0, ..., whose exports the next round goes on from. A model without
annotators stays as it is. Models have to differ at first. With

  python -m experiments.assign --models=FOLDER --groups=2 ...

all begin as one, and people are dealt out to them at first, evenly, as in the
published code; by lot here, which the seed decides. What a model learns of a
part must hold for people whom it has not seen, so a round should be so short
that nothing is learned by heart, or nobody ever moves.

The models are then the verifiers of the recipe `maxmin_rlhf`, one for each
group of people.
"""

from __future__ import annotations

import json
import pathlib
import random
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from experiments import command, settings

_CONFIG = command.config_flag(command.here('configs', 'preference.py'))
_MODELS = flags.DEFINE_multi_string(
  'models',
  [],
  'Folders of reward models, with commas between them or a flag each.',
  allow_override=True,
)
_OUTPUT = flags.DEFINE_string(
  'output', 'parts', 'Folder to write.', allow_override=True
)
_ROUNDS = flags.DEFINE_integer(
  'rounds',
  0,
  'Times that models are trained on their parts and people assigned again, at '
  'most; 0 assigns once.',
  allow_override=True,
)
_GROUPS = flags.DEFINE_integer(
  'groups',
  0,
  'Models that a single one becomes; 0 takes --models as they are.',
  allow_override=True,
)
_MOST = 16  # responses of a record

# The records of each model's people, and who these are.
Parts = tuple[list[list[dict[str, Any]]], list[list[str]]]


def main() -> int:
  groups = _GROUPS.value
  models = begun(command.folders(_MODELS.value), groups)
  if _ROUNDS.value < 0:
    raise command.Refused(f'--rounds={_ROUNDS.value} must be 0 or more')
  config = _CONFIG.value
  settings.check_values(config)
  output = command.folder('output', _OUTPUT.value)

  def assigned(folders: Sequence[str], number: int) -> Parts:
    by_lot = groups and number == 0
    parts, people = dealt(groups, config) if by_lot else assign(folders, config)
    _write(_place(output, number), parts, people)
    for folder, own, rows in zip(folders, people, parts):
      print(f'{folder}: {len(own)} annotators, {len(rows)} records', flush=True)
    return parts, people

  def trained(folder: str, number: int, model: int) -> str:
    part = _place(output, number - 1) / f'{model}.jsonl'
    workdir = _place(output, number) / str(model)
    words = training(folder, part, workdir, command.overridden())
    if code := subprocess.call(words):
      raise command.Refused(f'exit status {code} of: {shlex.join(words)}')
    return str(workdir / 'export')

  alternated(models, _ROUNDS.value, assigned, trained)
  return 0


def begun(models: Sequence[str], groups: int) -> list[str]:
  """The folders that several models begin as.

  Raises:
    command.Refused: less than two of them.
  """
  if groups and (groups < 2 or len(models) != 1):
    raise command.Refused(
      f'--groups={groups} makes two or more models of a single one, and '
      f'--models names {len(models)}'
    )
  if len(models) * max(groups, 1) < 2:
    raise command.Refused(
      'one model explains everybody: give --models=FOLDER,FOLDER, or --groups=2'
    )
  return [*models] * max(groups, 1)


def alternated(
  folders: Sequence[str],
  rounds: int,
  assigned: Callable[[Sequence[str], int], Parts],
  trained: Callable[[str, int, int], str],
) -> list[str]:
  """Assigns and trains in turn, until nobody moves or for so many rounds.

  Args:
    assigned: f(folders, round) -> `Parts`; round 0 is before any training.
    trained: f(folder, round, model) -> the folder of that model, trained.

  Returns:
    The folders of the last models.
  """
  folders = list(folders)
  parts, people = assigned(folders, 0)
  for number in range(1, rounds + 1):
    folders = [
      trained(folder, number, model) if parts[model] else folder
      for model, folder in enumerate(folders)
    ]
    before, (parts, people) = people, assigned(folders, number)
    if people == before:
      print(f'nobody moved in round {number}')
      break
  return folders


def training(
  folder: str,
  part: pathlib.Path,
  workdir: pathlib.Path,
  given: Mapping[str, object],
) -> list[str]:
  """The command that trains a model on the records of its annotators."""
  own = {
    'warm_start.steps': 0,
    **given,
    'data.path': part,
    'model.path': folder,
  }
  return [
    *(sys.executable, '-m', 'experiments.train', '--quiet', '--export'),
    f'--config={command.here("configs", "preference.py")}:reward_model',
    *(f'--config.{name}={value}' for name, value in own.items()),
    f'--workdir={workdir}',
  ]


def _place(output: pathlib.Path, number: int) -> pathlib.Path:
  return output / f'round-{number}' if number else output


def _write(folder: pathlib.Path, parts, people) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  for number, rows in enumerate(parts):
    lines = ''.join(json.dumps(row) + '\n' for row in rows)
    (folder / f'{number}.jsonl').write_text(lines, encoding='utf-8')
  told = json.dumps(people, indent=2) + '\n'
  (folder / 'annotators.json').write_text(told, encoding='utf-8')


def assign(folders: Sequence[str], config) -> Parts:
  """The records of each model's annotators, and who these are.

  Raises:
    command.Refused: a record without an annotator.
  """
  import jax.numpy as jnp

  from jaxrl_llm.problems.text import calibration, reward_models
  from jaxrl_llm.rewards import learned

  rows, names = _read(config)
  known = sorted(set(names))
  flat = [(row['prompt'], said) for row in rows for said in row['responses']]
  ratings = reward_models.load(folders)(*zip(*flat))
  ends = np.cumsum([len(row['responses']) for row in rows])[:-1]
  margins, who = [], []
  for name, row, own in zip(names, rows, np.split(ratings, ends, axis=1)):
    gold = np.asarray(row['scores'])[None]
    live = np.ones(gold.shape, bool)
    pairs = [calibration.margins(r[None], gold, live) for r in own]
    margins.append(np.stack(pairs, axis=1))
    who += [known.index(name)] * len(pairs[0])
  model = learned.assigned(
    jnp.asarray(np.concatenate(margins)), jnp.asarray(who), len(known)
  )
  people = [
    [name for name, own in zip(known, model.tolist()) if own == number]
    for number in range(len(folders))
  ]
  return _parted(rows, names, people)


def dealt(groups: int, config) -> Parts:
  """The same by lot, as many annotators to each group as to any other.

  Raises:
    command.Refused: a record without an annotator, or fewer annotators than
      groups.
  """
  rows, names = _read(config)
  if len({*names}) < groups:
    raise command.Refused(
      f'--groups={groups} are more than the {len({*names})} annotators of the '
      f'records; use at most {len({*names})}'
    )
  lots = random.Random(config.seed).sample(sorted({*names}), len({*names}))
  return _parted(rows, names, [sorted(lots[i::groups]) for i in range(groups)])


def _read(config) -> tuple[list[dict[str, Any]], list[str]]:
  """All records, and who wrote each."""
  from jaxrl_llm.tasks import preferences

  both = preferences.load(config.data, seed=config.seed, samples=_MOST)
  rows = [row for part in both for row in part.rows]
  return rows, [_annotator(row) for row in rows]


def _parted(rows, names, people) -> Parts:
  fields = 'prompt', 'responses', 'scores', 'annotator'
  parts = [
    [{f: row[f] for f in fields} for n, row in zip(names, rows) if n in own]
    for own in people
  ]
  return parts, people


def _annotator(row: Mapping[str, Any]) -> str:
  if not isinstance(row.get('annotator'), str | int):
    raise command.Refused(
      f'the record of {str(row["prompt"])[:60]!r} has no annotator; write who '
      'chose into the field "annotator"'
    )
  return str(row['annotator'])


if __name__ == '__main__':
  command.run(main)
