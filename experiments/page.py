"""A run as one HTML page, which needs nothing but itself.

What it was, what came out, its curves, and the responses that were kept: those
of one iteration at a time, groups ordered by what they earned, tokens shaded by
their log-prob, their entropy, their advantage, what it weighs, or their ratio.
"""

from __future__ import annotations

import base64
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from flax import traverse_util

from experiments import runs, samples
from experiments.configs import base
from jaxrl_llm import recipes

# Iterations whose responses are on the page, evenly over the run.
_ITERATIONS = 24
# What tokens are shaded by: its name, and what the colours say.
SHADES = {
  'logp': ('log-prob', 'the redder, the less likely'),
  'entropy': ('entropy', 'the redder, the more the policy was unsure'),
  'advantage': ('advantage', 'blue is to be said more often, red less'),
  'weighed': (
    'advantage × weight',
    'blue is to be said more often, red less, as much as the token counts '
    'beside the average one',
  ),
  'ratio': (
    'ratio',
    'in the last optimizer step, blue was more likely than when it was '
    'sampled, red less',
  ),
}
_TEMPLATE = pathlib.Path(__file__).with_suffix('.html')


def of_run(workdir: pathlib.Path) -> str:
  """The page of a run, out of its folder.

  Raises:
    Refused: the folder is that of no run.
  """
  import jinja2

  from jaxrl_llm.training import curve, writers

  config = runs.config_of(workdir)
  record = json.loads((workdir / 'config.json').read_bytes())
  history = writers.read(workdir / 'metrics.jsonl')
  lines = writers.read(workdir / 'samples.jsonl')
  name = config.recipe.name
  known = name in recipes.names()
  template = jinja2.Environment(
    autoescape=True, undefined=jinja2.StrictUndefined
  ).from_string(_TEMPLATE.read_text(encoding='utf-8'))
  kept = spread({line['step'] for line in lines}, _ITERATIONS)
  shown = [
    (step, [_group(g) for g in samples.grouped(samples.chosen(lines, step))])
    for step in kept
  ]
  return template.render(
    name=name,
    summary=recipes.get(name).summary if known else '',
    folder=workdir.resolve().name,
    seed=config.seed,
    step=max((line['step'] for line in history), default=0),
    steps=config.steps,
    command=record['command'],
    origin=record.get('from'),
    held_out=runs.held_out(workdir),
    settings=changed(config, known),
    shades={name: SHADES[name] for name in SHADES if name in _known(shown)},
    curve=base64.b64encode(curve.png(history)).decode(),
    iterations=shown,
    left_out=len({line['step'] for line in lines}) - len(kept),
  )


def changed(config, known: bool) -> list[tuple[str, Any, Any]]:
  """(name, value, default) of settings that are not the defaults."""
  values = traverse_util.flatten_dict(config.to_dict(), sep='.')
  if not known:
    return [(name, value, '') for name, value in sorted(values.items())]
  plain = base.base(config.recipe.name, config.problem).to_dict()
  defaults = traverse_util.flatten_dict(plain, sep='.')
  return [
    (name, value, defaults.get(name, ''))
    for name, value in sorted(values.items())
    if value != defaults.get(name)
  ]


def spread(steps, most: int) -> list[int]:
  """At most so many of some iterations, evenly, with the first and last."""
  known = sorted(steps)
  if len(known) <= most:
    return known
  places = {round(i * (len(known) - 1) / (most - 1)) for i in range(most)}
  return [known[place] for place in sorted(places)]


def _group(lines: Sequence[samples.Line]) -> dict[str, Any]:
  mean = samples.mean_of(lines)
  return {
    'prompt': samples.prompt_of(lines[0]),
    'answer': lines[0].get('answer'),
    'mean': mean,
    'spread': samples.variance_of(lines),
    'rows': [_row(line, mean) for line in lines],
  }


def _row(line: samples.Line, mean: float) -> dict[str, Any]:
  reward = line['reward']
  better = reward is not None and reward > mean
  worse = reward is not None and reward < mean
  return {
    'about': samples.about(line),
    'kind': 'better' if better else 'worse' if worse else '',
    'response': samples.response_of(line),
    'turns': [next(iter(turn.items())) for turn in line.get('turns', ())],
    'tokens': _tokens(line),
  }


def _known(iterations) -> set[str]:
  """What is known of some token of the page."""
  return {
    name
    for _, groups in iterations
    for group in groups
    for row in group['rows']
    for _, known in row['tokens']
    for name in known
  }


def _tokens(line: samples.Line) -> list[tuple[str, dict[str, float]]]:
  """The tokens of a response, each with what is known of it, by its shade."""
  found = []
  for i, token in enumerate(line.get('tokens', ())):
    known: dict[str, float] = {
      name: line[name][i]
      for name in ('logp', 'entropy', 'advantage', 'weight', 'ratio')
      if name in line and line[name][i] is not None
    }
    if {'advantage', 'weight'} <= known.keys():
      known['weighed'] = known['advantage'] * known.pop('weight')
    found.append((token, known))
  return found


def write(workdir: pathlib.Path) -> pathlib.Path:
  """Writes report.html into the folder of a run; its path."""
  path = workdir / 'report.html'
  path.write_text(of_run(workdir), encoding='utf-8', errors='replace')
  return path
