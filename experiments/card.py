"""The README.md of an export: how the policy came about, how good it is."""

from __future__ import annotations

import json
import pathlib

from experiments import runs
from jaxrl_llm import recipes


def of_run(workdir: pathlib.Path, step: int, *, base: str = '') -> str:
  """The model card of a run after an iteration, out of its folder.

  Args:
    base: the model under an adapter; '' for a whole model.
  """
  record = json.loads((workdir / 'config.json').read_bytes())
  config = record['config']
  entry = recipes.get(config['recipe']['name'])
  paper = entry.paper.title
  if entry.paper.arxiv:
    paper += f' (arXiv {entry.paper.arxiv})'
  model = config['model']['path']
  changed = {
    name: value
    for name, value in config['recipe'].items()
    if name != 'name' and value != _plain(entry.defaults.get(name))
  }
  versions = ', '.join(f'{k} {v}' for k, v in record['versions'].items())
  rows = {
    'recipe': f'`{entry.name}`, {paper}',
    'other hyper-parameters than the defaults': changed or 'none',
    'began from': f'`{model}`' if model else 'a fresh model',
    'data': f'`{config["data"]["path"]}`',
    'verifiers': ', '.join(f'`{x}`' for x in config['verify']['names']),
    'iterations': f'{step} of {config["steps"]}, seed {config["seed"]}',
    'command': f'`{record["command"]}`',
    'code': record['git_commit'] or 'of no commit',
    'versions': versions,
  }
  lines = [
    '---',
    *(
      ('library_name: peft', f'base_model: {base}')
      if base
      else ('library_name: transformers',)
    ),
    'pipeline_tag: text-generation',
    f'tags: [reinforcement-learning, jaxrl_llm, {entry.name}]',
    '---',
    f'# {config["recipe"]["name"]}, after {step} iterations',
    '',
    entry.summary,
    '',
    '| | |',
    '|---|---|',
    *(f'| {name} | {_cell(value)} |' for name, value in rows.items()),
    '',
    *_metrics(workdir, step),
  ]
  return '\n'.join(lines) + '\n'


def _metrics(workdir: pathlib.Path, step: int) -> list[str]:
  """What was measured on held-out data, as rows of a table."""
  found = runs.held_out(workdir, step)
  if not found:
    return ['Nothing was measured on held-out data.']
  rows = [f'| {name} | {a:.3f} | {b:.3f} |' for name, a, b in found]
  return ['| held out | before | after |', '|---|---|---|', *rows]


def _plain(value):
  """As JSON gives it back."""
  return list(value) if isinstance(value, tuple) else value


def _cell(value) -> str:
  return str(value).replace('|', '\\|').replace('\n', ' ')
