"""Measures this codebase on this machine, beside another one if asked.

  python -m experiments.bench --model=small --shape=short
      the sampler and the learner, in tokens a second, and as fractions of
      what this machine can do: its matmul and its copy are measured in the
      same minutes
  ... --peer=trl --peer_python=FOLDER/bin/python
      the same work by a peer, round by round in turn, and the ratio. Peers
      live in environments of their own: `pip install torch trl` for hf and
      trl, `pip install google-tunix` for tunix. Before the rounds, the peer
      tries several microbatches and keeps the one that learns fastest
  ... --model=FOLDER
      a pretrained model of yours; peers read Llama and Qwen 3
  ... --all --peer_python=trl=PATH --peer_python=tunix=PATH
      every row of performance.md whose peer has a Python
  ... --growth
      how time and memory grow with the sizes of an iteration, into growth.md
  ... --render
      the pages from the rows measured so far

An iteration is: B prompts, G responses to each of T tokens (`ragged`: a heavy
tail up to T), their rewards, GRPO without a KL term, one AdamW step in float32.
Everybody gets the same weights, prompts, verifier and distribution of lengths.
Compilation is apart. Medians are over rounds in which other programs took less
than a tenth of the processors, where there are any. Rows are appended to
experiments/results/bench.jsonl.
"""

from __future__ import annotations

import json
import os
import pathlib
import shlex
from typing import Any

from absl import flags

from experiments import command
from experiments.benchmarks import cases, growth, measuring, peers, rendering

_PEER = flags.DEFINE_enum('peer', 'none', ('none', *peers.PEERS), 'With whom.')
_MODEL = flags.DEFINE_string(
  'model', 'tiny', f'One of {", ".join(cases.MODELS)}, or a folder.'
)
_SHAPE = flags.DEFINE_enum('shape', 'short', tuple(cases.SHAPES), 'Sizes.')
_DTYPE = flags.DEFINE_enum(
  'dtype',
  'float32',
  ('float32', 'bfloat16'),
  'Of our arithmetic.',
  allow_override=True,
)
_SET = flags.DEFINE_multi_string(
  'set', [], 'A setting of our run, as sample.widths=3.'
)
_SHARE_PROMPTS = flags.DEFINE_bool(
  'share_prompts', True, 'Our learner reads a prompt once a group.'
)
_ROUNDS = flags.DEFINE_integer(
  'rounds', 5, 'Timed iterations.', 1, allow_override=True
)
_MICROBATCH = flags.DEFINE_integer('microbatch', 8, 'Rows of ours.', 1)
_PEER_MICROBATCH = flags.DEFINE_integer(
  'peer_microbatch', 0, 'Rows of the peer; 0: the best of several.', 0
)
_PEER_COMPILE = flags.DEFINE_bool(
  'peer_compile', False, 'The peer uses torch.compile.'
)
_PEER_PYTHON = flags.DEFINE_multi_string(
  'peer_python', [], "The peer's interpreter; NAME=PATH with --all."
)
_ALL = flags.DEFINE_bool(
  'all', False, 'Measure every row, one by one.', allow_override=True
)
_GROWTH = flags.DEFINE_bool(
  'growth', False, 'Measure how time and memory grow with each size.'
)
_RENDER = flags.DEFINE_bool(
  'render', False, 'Only write the pages.', allow_override=True
)
_RESULTS = command.results_flag()

# What --all measures; peers with the settings that served them best.
_OF_SHAPE: dict[str, dict[str, Any]] = {
  'short': {},
  'long': {'microbatch': 16, 'peer_microbatch': 16},
  'ragged': {
    'microbatch': 2,
    'peer_microbatch': 8,
    'set': ['learn.widths=4'],
  },
}
_WHOM = (
  ('tiny', 'short', ('none', *peers.PEERS)),
  ('small', 'short', ('none', *peers.PEERS)),
  ('small', 'long', ('none', 'trl', 'tunix')),
  ('small', 'ragged', ('none', 'trl', 'tunix')),
)
ROWS = tuple(
  {
    'model': model,
    'shape': shape,
    'peer': peer,
    'peer_compile': peer in peers.TORCH,
    **_OF_SHAPE[shape],
  }
  for model, shape, whom in _WHOM
  for peer in whom
)


_PAGES = {'bench.jsonl': rendering.write, 'growth.jsonl': growth.draw}


def main() -> int:
  results = pathlib.Path(_RESULTS.value)
  if _GROWTH.value:
    growth.write(results)
  elif not _RENDER.value:
    pythons = _pythons()
    for cell in _cells(pythons):
      measuring.say(', '.join(f'{k}={value}' for k, value in cell.items()))
      row = measuring.measure(cell, pythons.get(cell['peer'], ''))
      row['command'] = _command(cell)
      with open(results / 'bench.jsonl', 'a') as file:
        file.write(json.dumps(row) + '\n')
      print(rendering.summary(row))
  for name, write in _PAGES.items():
    if (results / name).exists():
      print(f'wrote {write(results)}')
  return 0


def _cells(pythons) -> list[dict]:
  flagged = {
    'peer': _PEER.value,
    'model': _MODEL.value,
    'shape': _SHAPE.value,
    'dtype': _DTYPE.value,
    'rounds': _ROUNDS.value,
    'microbatch': _MICROBATCH.value,
    'peer_microbatch': _PEER_MICROBATCH.value,
    'peer_compile': _PEER_COMPILE.value,
    'set': _SET.value,
    'share_prompts': _SHARE_PROMPTS.value,
  }
  if _ALL.value:
    known = ('none', *pythons)
    cells = [{**flagged, **row} for row in ROWS]
    return [cell for cell in cells if cell['peer'] in known]
  for word in _SET.value:
    if '=' not in word:
      raise command.Refused(f'--set={word} is not NAME=VALUE')
  if _PEER.value != 'none' and _PEER.value not in pythons:
    raise command.Refused(f'--peer={_PEER.value} needs --peer_python=PATH')
  if _PEER_COMPILE.value and _PEER.value not in peers.TORCH:
    raise command.Refused(
      f'--peer_compile would do nothing with --peer={_PEER.value}'
    )
  return [flagged]


def _pythons() -> dict[str, str]:
  """The interpreter of each peer, as the flags give them."""
  pythons = {}
  for word in _PEER_PYTHON.value:
    name, separator, path = word.partition('=')
    if not separator:
      name, path = _PEER.value, word
    if name not in peers.PEERS:
      known = ', '.join(peers.PEERS)
      raise command.Refused(f'--peer_python={word} names none of {known}')
    if not os.access(path, os.X_OK):
      raise command.Refused(f'--peer_python: no program at {path!r}')
    pythons[name] = path
  return pythons


def _command(cell) -> str:
  """What measures one cell again."""
  words = ['python', '-m', 'experiments.bench']
  for name, value in cell.items():
    if isinstance(value, list):
      words += [f'--{name}={each}' for each in value]
    elif value != flags.FLAGS[name].default:
      is_switch = isinstance(value, bool)
      switch = f'--{name}' if value else f'--no{name}'
      words.append(switch if is_switch else f'--{name}={value}')
  if cell['peer'] != 'none':
    words.append('--peer_python=PATH')
  return shlex.join(words)


if __name__ == '__main__':
  command.run(main)
