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
  ... --all --peer_python=trl=PATH --peer_python=tunix=PATH
      every row of performance.md whose peer has a Python
  ... --render
      performance.md from the rows measured so far

An iteration is: B prompts, G responses to each of T tokens (`ragged`: a heavy
tail up to T), their rewards, GRPO without a KL term, one AdamW step in float32.
Everybody gets the same weights, prompts, verifier and distribution of lengths.
Compilation is apart. Medians are over rounds in which other programs took less
than a tenth of the processors, where there are any. Rows are appended to
experiments/results/bench.jsonl.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shlex
import sys
import tempfile
import time

from absl import flags

from experiments import command
from experiments.benchmarks import cases, peers, protocol, rendering

_PEER = flags.DEFINE_enum('peer', 'none', ('none', *peers.PEERS), 'With whom.')
_MODEL = flags.DEFINE_string(
  'model', 'tiny', f'One of {", ".join(cases.MODELS)}, or a folder.'
)
_SHAPE = flags.DEFINE_enum('shape', 'short', tuple(cases.SHAPES), 'Sizes.')
_DTYPE = flags.DEFINE_enum(
  'dtype', 'float32', ('float32', 'bfloat16'), 'Of our arithmetic.'
)
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'Timed iterations.', 1)
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
_ALL = flags.DEFINE_bool('all', False, 'Measure every row, one by one.')
_RENDER = flags.DEFINE_bool('render', False, 'Only write performance.md.')
_RESULTS = flags.DEFINE_string(
  'results', command.here('results'), 'Folder of bench.jsonl.'
)

# What --all measures; peers with the settings that served them best.
ROWS = (
  {'model': 'tiny', 'shape': 'short'},
  {'model': 'small', 'shape': 'short'},
  {'model': 'small', 'shape': 'long', 'microbatch': 16},
  {'model': 'tiny', 'shape': 'ragged'},
  *(
    {
      'model': model,
      'shape': shape,
      'peer': peer,
      'peer_compile': peer in peers.TORCH,
      'microbatch': 16 if shape == 'long' else 8,
    }
    for model, shape, whom in (
      ('tiny', 'short', peers.PEERS),
      ('small', 'short', peers.PEERS),
      ('small', 'long', ('trl', 'tunix')),
      ('tiny', 'ragged', ('trl', 'tunix')),
    )
    for peer in whom
  ),
)


def main() -> int:
  results = pathlib.Path(_RESULTS.value)
  if not _RENDER.value:
    pythons = _pythons()
    for cell in _cells(pythons):
      _say(', '.join(f'{name}={value}' for name, value in cell.items()))
      row = measure(cell, pythons.get(cell['peer'], ''))
      with open(results / 'bench.jsonl', 'a') as file:
        file.write(json.dumps(row) + '\n')
      print(rendering.summary(row))
  print(f'wrote {rendering.write(results)}')
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
  }
  if _ALL.value:
    known = ('none', *pythons)
    cells = [{**flagged, 'peer': 'none', **row} for row in ROWS]
    return [cell for cell in cells if cell['peer'] in known]
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


def measure(cell: dict, peer_python: str) -> dict:
  """One row: what was measured, of whom, on what, by which command."""
  from experiments.benchmarks import folders

  shape = cases.SHAPES[cell['shape']]
  if shape.rows % cell['microbatch']:
    raise command.Refused(
      f'--microbatch={cell["microbatch"]} does not divide the {shape.rows} '
      f'rows of {cell["shape"]}'
    )
  with contextlib.ExitStack() as stack:
    scratch = stack.enter_context(tempfile.TemporaryDirectory())
    folder = folders.folder_of(cell['model'], pathlib.Path(scratch))
    request = {'model': str(folder), 'shape': cell['shape']}
    systems = {
      'machine': (sys.executable, {'dtypes': ['float32', 'bfloat16']}),
      'ours': (
        sys.executable,
        {'dtype': cell['dtype'], 'microbatch': cell['microbatch']},
      ),
    }
    tried = {}
    if peer_python:
      own, tried = _peer(cell, peer_python, request)
      systems[cell['peer']] = (peer_python, own)
    measured = _alternate(systems, request, cell['rounds'], stack)
    sizes = cases.model_of(folder)
  return {
    'cell': cell,
    'sizes': vars(sizes),
    'cores': len(os.sched_getaffinity(0)),
    'measured': measured,
    'tried': tried,
    'command': shlex.join(['python', '-m', 'experiments.bench', *_words(cell)]),
    'git_commit': command.commit(),
  }


def _peer(cell, python, request):
  """The peer's own settings, and how long each microbatch tried has learned."""
  own = {'compile': cell['peer_compile']}
  if cell['peer_microbatch']:
    return own | {'microbatch': cell['peer_microbatch']}, {}
  tried = {}
  for size in peers.microbatches(cell['peer'], cases.SHAPES[cell['shape']]):
    system = _started(
      cell['peer'], python, request | own | {'microbatch': size}
    )
    with contextlib.closing(system):
      tried[size] = min(system.iterate()['learn'] for _ in range(2))
    _say(f'  {cell["peer"]}: {size} rows learn in {tried[size]:.2f} s')
  best = min(tried, key=tried.get)
  return own | {'microbatch': best}, tried


def _started(name, python, request) -> protocol.System:
  _say(f'  {name}: starting and compiling')
  module = f'experiments.benchmarks.{peers.MODULES.get(name, name)}'
  return protocol.System(python, module, request)


def _alternate(systems, request, rounds, stack) -> dict[str, dict]:
  """Rounds of every system in turn, in processes that live throughout."""
  running = {}
  for name, (python, own) in systems.items():
    running[name] = _started(name, python, request | own)
    stack.callback(running[name].kill)
  measured = {name: s.ready | {'rounds': []} for name, s in running.items()}
  _rounds(running, measured, rounds)
  return measured


def _rounds(running, measured, rounds) -> None:
  """Runs the rounds, ends the processes, and writes down what they say.

  A system whose rounds were disturbed by other programs gets more of them, up
  to three times as many.
  """
  for number in range(3 * rounds):
    for name, system in running.items():
      found = measured[name]['rounds']
      if len(rendering.calm(found)) >= rounds and number >= rounds:
        continue
      found.append(_watched(system))
      others = found[-1]['others']
      seconds = found[-1].get('step', 0)
      _say(f'  round {number + 1} {name}: {seconds:.2f} s, others {others:.0%}')
  for name, system in running.items():
    measured[name] |= system.close()


def _watched(system) -> dict[str, float]:
  """An iteration, and the part of the processors that others took from it."""
  started = time.perf_counter()
  busy, own = protocol.busy_seconds(), system.seconds()
  outcome = system.iterate()
  own, busy = system.seconds() - own, protocol.busy_seconds() - busy
  cores = len(os.sched_getaffinity(0))
  whole = cores * (time.perf_counter() - started)
  return outcome | {'others': max(busy - own, 0) / whole}


def _words(cell) -> list[str]:
  """The flags that measure one cell again."""
  words = []
  for name, value in cell.items():
    if value != flags.FLAGS[name].default:
      words.append(f'--{name}' if value is True else f'--{name}={value}')
  if cell['peer'] != 'none':
    words.append('--peer_python=PATH')
  return words


def _say(text: str) -> None:
  print(text, file=sys.stderr, flush=True)


if __name__ == '__main__':
  command.run(main)
