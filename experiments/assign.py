"""Gives every annotator to the reward model that explains their choices best.

  python -m experiments.assign --models=FOLDER,FOLDER --output=parts \\
      --config.data.path=pairs.jsonl

The records are preferences, as docs/records.md describes, with a field
`annotator`. Written are parts/0.jsonl, parts/1.jsonl, ..., the records of the
annotators of each model, and parts/annotators.json, who they are. Training each
model on its part, and assigning again until nobody moves, is the expectation
maximisation of MaxMin-RLHF, arXiv 2402.08925:

  python -m experiments.train --config.model.path=FOLDER --export \\
      --config=experiments/configs/preference.py:reward_model \\
      --config.data.path=parts/0.jsonl

Its head begins anew there, its decoder where it was.

The models are then the verifiers of the recipe `maxmin_rlhf`, one for each
group of people. Models have to differ at first, as those of two seeds do.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
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
_MOST = 16  # responses of a record


def main() -> int:
  models = command.folders(_MODELS.value)
  if len(models) < 2:
    raise command.Refused(
      'one model explains everybody: give --models=FOLDER,FOLDER'
    )
  config = _CONFIG.value
  settings.check_values(config)
  parts, people = assign(models, config)
  output = pathlib.Path(_OUTPUT.value)
  output.mkdir(parents=True, exist_ok=True)
  for number, rows in enumerate(parts):
    lines = ''.join(json.dumps(row) + '\n' for row in rows)
    (output / f'{number}.jsonl').write_text(lines, encoding='utf-8')
  told = json.dumps(people, indent=2) + '\n'
  (output / 'annotators.json').write_text(told, encoding='utf-8')
  for folder, own, rows in zip(models, people, parts):
    print(f'{folder}: {len(own)} annotators, {len(rows)} records')
  return 0


def assign(folders: Sequence[str], config):
  """The records of each model's annotators, and who these are.

  Raises:
    command.Refused: a record without an annotator.
  """
  import jax.numpy as jnp

  from jaxrl_llm.problems.text import calibration, reward_models
  from jaxrl_llm.rewards import learned
  from jaxrl_llm.tasks import preferences

  both = preferences.load(config.data, seed=config.seed, samples=_MOST)
  rows = [row for part in both for row in part.rows]
  names = [_annotator(row) for row in rows]
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
