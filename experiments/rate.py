"""Measures reward models on held-out preferences: a table and a figure.

  python -m experiments.rate --models=runs/a/export,runs/b/export \\
      --config.data.path=FILE.jsonl
  python -m experiments.rate --models=runs/preference-reward_model-0/export
      on the generated pairs and lists of experiments/configs/preference.py

Prints, for each model and for their ensembles (mean, worst, mean less
variance), accuracy, negative log-likelihood, Brier score and expected
calibration error on the pairs that were held out. Records of more responses
than two also give the curve of the best of n: the record's score of the
response that is rated highest, against the divergence of that choice. Of
single responses with labels, a rating above 0 says that one is liked. Of models
of several labels their mean is rated, and R^2 told of each label. With
--config.data.responses=referred models read a reference before a response.

With --biases=authority,bandwagon,distraction,reflection also how many pairs are
judged rightly, and as before, once a sentence that says nothing is put behind
the worse response. Of the 256 pairs of the second command 0.996 are right, and
0.879, 0.922, 0.934 and 0.793 with those four sentences.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Sequence

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
_BIASES = flags.DEFINE_list(
  'biases',
  [],
  'What is tried to sway the models with, see problems/text/biases.py.',
  allow_override=True,
)
_SAMPLES = flags.DEFINE_integer(
  'samples',
  8,
  'The most responses to a prompt, and their number if generated.',
  allow_override=True,
)
_OUTPUT = flags.DEFINE_string(
  'output',
  'rating',
  'Files to write: OUTPUT.json and OUTPUT.png.',
  allow_override=True,
)
# What the measurement reads of the settings, and what of that it does not.
_READ = ('seed', 'data')
_UNREAD = (
  'data.system',
  'data.chat',
  'data.chat_template_kwargs',
  'data.too_long',
  'data.shots',
)


def main() -> int:
  models = command.folders(_MODELS.value)
  if not models:
    raise command.Refused('nothing to rate with: give --models=FOLDER,FOLDER')
  if _SAMPLES.value < 1:
    raise command.Refused(f'--samples={_SAMPLES.value} must be 1 or more')
  check(command.overridden())
  config = _CONFIG.value
  settings.check_values(config)
  found = measure(models, config, _SAMPLES.value, _BIASES.value)
  print(table(found))
  output = pathlib.Path(_OUTPUT.value)
  output.parent.mkdir(parents=True, exist_ok=True)
  output.with_suffix('.json').write_text(json.dumps(found, indent=2) + '\n')
  output.with_suffix('.png').write_bytes(figure(found))
  print(f'written to {output.with_suffix(".json")} and .png')
  return 0


def check(names: Iterable[str]) -> None:
  """Refuses settings on the command line that would do nothing."""
  for name in names:
    if name.split('.')[0] not in _READ or name in _UNREAD:
      raise command.Refused(
        f'--config.{name} would do nothing: only {" and ".join(_READ)} are '
        f'read, without {", ".join(_UNREAD)}'
      )


def measure(
  folders, config, samples: int, biases: Sequence[str] = ()
) -> dict[str, dict]:
  """For each model and ensemble: statistics, best of n, and what sways it.

  Of a model of several labels also how much of the spread of each it explains.
  """
  from jaxrl_llm.problems.text import biases as biases_lib
  from jaxrl_llm.problems.text import calibration, reward_models
  from jaxrl_llm.rewards import learned

  models, held_out = _loaded(folders, config, samples)
  flat = [(row['prompt'], r) for row in held_out.rows for r in row['responses']]
  prompts, responses = zip(*flat)
  ends = np.cumsum([len(row['responses']) for row in held_out.rows])[:-1]
  gold = [np.asarray(row['scores']) for row in held_out.rows]
  fewest = min(map(len, gold))
  if fewest == 1 and biases:
    raise command.Refused(
      '--biases edits the worse of two responses, and these are single '
      'responses; leave it out'
    )

  def rated(texts):
    each = models(prompts, texts)
    ratings = dict(zip(folders, each))
    if len(folders) > 1:
      for name in reward_models.ENSEMBLES:
        ratings[name] = reward_models.combined(name, each)
    return {name: np.split(x, ends) for name, x in ratings.items()}

  swayed = {
    bias: rated([biases_lib.edited(text, bias) for text in responses])
    for bias in biases
  }
  found = {}
  for name, groups in rated(responses).items():
    best = {
      n: [learned.best_of(r, g, n) for r, g in zip(groups, gold)]
      for n in range(1, fewest + 1)
    }
    before = _margins(groups, gold, groups)
    found[name] = {
      **calibration.summarize(before),
      'best_of_n': {n: float(np.mean(each)) for n, each in best.items()},
      'biases': {
        bias: biases_lib.robustness(before, _margins(groups, gold, other[name]))
        for bias, other in swayed.items()
      },
      'labels': {},
    }
  if models.labels > 1:
    truth = np.concatenate([np.asarray(row['labels']) for row in held_out.rows])
    for folder, said in zip(folders, models.by_label(prompts, responses)):
      found[folder]['labels'] = {
        str(label): {'r^2': float(learned.r_squared(x, y))}
        for label, (x, y) in enumerate(zip(said.T, truth.T))
      }
  return found


def _loaded(folders, config, samples):
  """The models, and the records that are held out for them."""
  from jaxrl_llm.problems.text import reward_models
  from jaxrl_llm.tasks import preferences

  kind = config.data.responses
  if kind not in ('recorded', 'referred'):
    raise command.Refused(
      f'data.responses={kind} is not rated here; use recorded, or referred'
    )
  referred = kind == 'referred'
  models = reward_models.load(folders, compared=referred)
  _, held_out = preferences.load(
    config.data,
    seed=config.seed,
    samples=samples,
    labels=models.labels,
    by_policy=referred,
  )
  if referred:
    held_out = preferences.referred(held_out, models.tokenizer.eos_token)
  return models, held_out


def _margins(ratings, gold, worse):
  """How much higher the better of two responses is rated; of all pairs.

  Of single responses, how much a rating is on the side of its label.

  Args:
    ratings, gold: of the responses to each prompt. worse: ratings of the worse
      ones of pairs, where these were edited.
  """
  from jaxrl_llm.problems.text import calibration

  if min(map(len, gold)) == 1:
    each = [np.where(g > 0.5, r, -r) for r, g in zip(ratings, gold)]
  else:
    each = [
      calibration.margins(r[None], g[None], np.ones((1, len(g)), bool), w[None])
      for r, g, w in zip(ratings, gold, worse)
    ]
  return np.concatenate(each)


def table(found: dict[str, dict]) -> str:
  """One line per model and ensemble."""
  columns = ('accuracy', 'nll', 'brier', 'ece')
  width = max(map(len, found)) + 2
  lines = [f'{"":{width}}' + ''.join(f'{c:>10}' for c in columns)]
  for name, values in found.items():
    shown = ''.join(f'{values[f"rating/{c}"]:>10.4f}' for c in columns)
    lines.append(f'{name:{width}}{shown}')
  for name, values in found.items():
    for word, told in (values['biases'] | values['labels']).items():
      shown = ''.join(f'  {key} {value:.4f}' for key, value in told.items())
      lines.append(f'{name:{width}}{word:>12}{shown}')
  return '\n'.join(lines)


def figure(found: dict[str, dict]) -> bytes:
  """The curves of the best of n, as a PNG file."""
  import io

  from matplotlib import figure as figures

  from jaxrl_llm.rewards import learned

  canvas = figures.Figure(figsize=(6, 4), dpi=120, layout='constrained')
  panel = canvas.subplots()
  for name, values in found.items():
    curve = values['best_of_n']
    divergence = [learned.best_of_divergence(n) for n in curve]
    panel.plot(divergence, list(curve.values()), 'o-', markersize=4, label=name)
  panel.set_xlabel('KL of the best of n, at most (nats)')
  panel.set_ylabel('score of the chosen response')
  panel.grid(True, color='0.9', linewidth=0.8)
  panel.spines[['top', 'right']].set_visible(False)
  panel.legend(frameon=False)
  picture = io.BytesIO()
  canvas.savefig(picture, format='png')
  return picture.getvalue()


if __name__ == '__main__':
  command.run(main)
