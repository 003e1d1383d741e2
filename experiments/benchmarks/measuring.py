"""Measures one row of a benchmark: every system in turn, round by round."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
import tempfile
import time

from experiments import command
from experiments.benchmarks import cases, peers, protocol, rendering


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
        {k: cell[k] for k in ('dtype', 'microbatch', 'set', 'share_prompts')},
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
    say(f'  {cell["peer"]}: {size} rows learn in {tried[size]:.2f} s')
  best = min(tried, key=tried.__getitem__)
  return own | {'microbatch': best}, tried


def _started(name, python, request) -> protocol.System:
  say(f'  {name}: starting and compiling')
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
      say(f'  round {number + 1} {name}: {seconds:.2f} s, others {others:.0%}')
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


def say(text: str) -> None:
  print(text, file=sys.stderr, flush=True)
