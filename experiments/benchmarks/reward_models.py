"""Reward models of six kinds of data and of two groups of people.

  python -m experiments.benchmarks.reward_models
  python -m experiments.benchmarks.reward_models --seeds=0 --models=likes

For each seed `experiments.train` makes one decoder, which imitates the careless
teacher of experiments/configs/preference.py, and from it each of the models
below; `experiments.rate` rates the responses to 256 words that were held out.

pairs           `reward_model`: Bradley and Terry's likelihood
likes           `unary_reward_model` (RLUF): single responses, right or not
scores          `regression_reward_model`: squared errors of those numbers
labels          the same of two numbers at once, how right each half is
demonstrations  `irl_reward_model` (DR-IRL): right ones above careless ones
references      `polar` (POLAR): which of two is of who wrote a reference
people          `experiments.assign` (MaxMin-RLHF): two models that begin as
                one, and 16 people, dealt out to them by lot, half of whom
                choose the wrong one of two responses to 480 words

Writes reward_models.jsonl, a line as soon as a model is measured, of which a
model that has one is not trained again; and reward_models.md.
"""

from __future__ import annotations

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from absl import flags

from experiments import command
from experiments.benchmarks import markdown

CONFIG = 'experiments/configs/preference.py'
SCORES = {'recipe.samples': 1, 'recipe.labels': 1}
REFERRED = {'data.responses': 'referred'}
# By the kind of data: the recipe, what it is trained with, what is rated.
MODELS: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
  'pairs': ('reward_model', {}, {}),
  'likes': ('unary_reward_model', {'recipe.samples': 1}, {}),
  'scores': ('regression_reward_model', SCORES, {}),
  'labels': ('regression_reward_model', SCORES | {'recipe.labels': 2}, {}),
  'demonstrations': ('irl_reward_model', {}, {}),
  'references': ('polar', REFERRED | {'sample.max_response': 20}, REFERRED),
}
PEOPLE, RECORDS, HELD_OUT = 16, 480, 16
# Rounds at most, and steps of each.
ROUNDS, EACH = 4, 8
# Of runs that are shorter than the warmup of the rate.
BRIEF = {'optimizer.warmup': 0}
BIASES = 'authority', 'bandwagon', 'distraction', 'reflection'
# One response beside the right one: ratings are of pairs.
_SAMPLES = 2
_WHICH = flags.DEFINE_multi_enum(
  'models',
  [*MODELS, 'people'],
  [*MODELS, 'people'],
  'Which.',
  allow_override=True,
)
_SEEDS = flags.DEFINE_multi_integer(
  'seeds', [0, 1, 2], 'Of data and models.', allow_override=True
)
_RESULTS = command.results_flag()

Run = Callable[[Sequence[str]], None]


def train(recipe: str, workdir, base='', **values: Any) -> list[str]:
  """The words of a command that trains and exports a model.

  Args:
    base: the folder of the decoder that it begins as; '' imitates first.
    values: settings.
  """
  own = {'warm_start.steps': 0, 'model.path': base} if base else {}
  own |= {'eval.every': 0}
  own |= values
  return [
    *('experiments.train', '--quiet', '--export'),
    f'--config={CONFIG}:{recipe}',
    *(f'--config.{name}={value}' for name, value in own.items()),
    f'--workdir={workdir}',
  ]


def rate(model, output, biases: Iterable[str] = (), **values: Any):
  """The words of a command that rates pairs that were held out."""
  return [
    *('experiments.rate', f'--models={model}', f'--samples={_SAMPLES}'),
    f'--biases={",".join(biases)}',
    *(f'--config.{name}={value}' for name, value in values.items()),
    f'--output={output}',
  ]


def one_model(kind: str, seed: int, base, folder: pathlib.Path, run: Run):
  """Trains and rates a model, and says what came out."""
  recipe, settings, rated = MODELS[kind]
  run(train(recipe, folder, base, seed=seed, **settings))
  biases = () if rated else BIASES
  run(rate(folder / 'export', folder / 'rating', biases, seed=seed, **rated))
  found = json.loads((folder / 'rating.json').read_text())
  [told] = found.values()
  swayed = {bias: one['swayed'] for bias, one in told['biases'].items()}
  numbers = {name: told[f'rating/{name}'] for name in ('accuracy', 'nll')}
  fit = {f'r^2 {label}': one['r^2'] for label, one in told['labels'].items()}
  return {**numbers, **swayed, **fit}


def two_groups(seed: int, base, folder: pathlib.Path, run: Run):
  """Trains models of two groups of people, and says who was told apart."""
  folder.mkdir(parents=True, exist_ok=True)
  lines = map(json.dumps, answered(seed))
  data = folder / 'people.jsonl'
  data.write_text('\n'.join(lines) + '\n')
  own: dict[str, Any] = {'data.path': data, 'data.held_out': HELD_OUT}
  own |= {'seed': seed, 'steps': EACH, 'eval.every': 0, **BRIEF}
  run(
    [
      *('experiments.assign', f'--models={base}', '--groups=2'),
      *(f'--output={folder / "parts"}', f'--rounds={ROUNDS}'),
      *(f'--config.{name}={value}' for name, value in own.items()),
    ]
  )
  first, *_, last = sorted((folder / 'parts').glob('**/annotators.json'))
  return {
    'at first': together(people_of(first)),
    'after training': together(people_of(last)),
  }


def answered(seed: int) -> list[dict[str, Any]]:
  """Records of people, of whom the second half chooses the worse response."""
  from experiments.configs import preference
  from jaxrl_llm.tasks import preferences

  config = preference.get_config('reward_model')
  train, _ = preferences.load(config.data, seed=100 + seed, samples=_SAMPLES)
  return [
    {
      'prompt': row['prompt'],
      'responses': row['responses'],
      'scores': row['scores'][:: -1 if _odd(i % PEOPLE) else 1],
      'annotator': str(i % PEOPLE),
    }
    for i, row in enumerate(train.rows[:RECORDS])
  ]


def _odd(person: int) -> bool:
  return person >= PEOPLE // 2


def people_of(path: pathlib.Path) -> list[list[str]]:
  return json.loads(path.read_text())


def together(people: Sequence[Sequence[str]]) -> float:
  """The share of people that stand beside the others of their kind.

  Example:
    >>> together([['0', '1', '8'], ['9']])
    0.75
  """
  odd = [[_odd(int(name)) for name in own] for own in people]
  straight = odd[0].count(False) + odd[1].count(True)
  count = sum(map(len, odd))
  return max(straight, count - straight) / count


def main() -> int:
  results = pathlib.Path(_RESULTS.value)
  kept = results / 'reward_models.jsonl'
  text = kept.read_text() if kept.exists() else ''
  lines = [json.loads(line) for line in text.splitlines()]
  known = {(line['model'], line['seed']) for line in lines}
  with tempfile.TemporaryDirectory() as scratch:
    for seed in sorted({*_SEEDS.value}):
      wanted = [k for k in _WHICH.value if (k, seed) not in known]
      place = pathlib.Path(scratch) / str(seed)
      if wanted:
        run(train('reward_model', place / 'base', seed=seed, **BRIEF, steps=1))
      for kind in wanted:
        started = time.monotonic()
        base, folder = place / 'base' / 'export', place / kind
        if kind == 'people':
          found = two_groups(seed, base, folder, run)
        else:
          found = one_model(kind, seed, base, folder, run)
        line = {'model': kind, 'seed': seed, **found}
        line['seconds'] = round(time.monotonic() - started)
        line['git_commit'] = command.commit()
        print(json.dumps(line), flush=True)
        lines.append(line)
        with kept.open('a') as file:
          file.write(json.dumps(line) + '\n')
  markdown.put(results / 'reward_models.md', [*tables(lines)])
  return 0


def run(words: Sequence[str]) -> None:
  """Runs a command of ours.

  Raises:
    command.Refused: it failed.
  """
  if code := subprocess.call([sys.executable, '-m', *words]):
    raise command.Refused(f'exit status {code} of: {" ".join(words)}')


def tables(lines: Sequence[Mapping[str, Any]]) -> Iterable[str]:
  """Of models, and of people: means and standard errors over seeds."""
  head = ('accuracy', 'nll', *BIASES)
  fit = 'r^2 0', 'r^2 1'
  for columns, kinds in (
    (head, [*MODELS]),
    (fit, ['labels']),
    (('at first', 'after training'), ['people']),
  ):
    rows = [
      (kind, len(own), *(shown(own, name) for name in columns))
      for kind in kinds
      if (own := [line for line in lines if line['model'] == kind])
    ]
    if rows:
      yield markdown.table(('model', 'seeds', *columns), rows)


def shown(lines: Sequence[Mapping[str, Any]], name: str) -> str:
  """The mean of a number, and its standard error; '' where it is not there."""
  values = [line[name] for line in lines if name in line]
  if not values:
    return ''
  if len(values) == 1:
    return f'{values[0]:.3f}'
  error = statistics.stdev(values) / len(values) ** 0.5
  return f'{statistics.mean(values):.3f} +- {error:.3f}'


if __name__ == '__main__':
  command.run(main)
