"""Small runs of several processes, for what disturbs and moves them.

The default experiment with a model of 20,000 parameters: an iteration takes
a tenth of a second, and starting a process most of the time.
"""

from __future__ import annotations

import os
import pathlib
import re
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp

from experiments import command
from jaxrl_llm.training import writers

_UNITS = {'B': 1, 'KiB': 2**10, 'MiB': 2**20, 'GiB': 2**30}
ROOT = pathlib.Path(command.here('..')).resolve()
_WORDS = (
  'experiments.train',
  '--config=experiments/configs/default.py',
  '--config.mesh.data=-1',
  '--config.model.fresh.layers=1',
  '--config.model.fresh.width=32',
  '--config.model.fresh.heads=2',
  '--config.model.fresh.kv_heads=1',
  '--config.model.fresh.mlp_width=64',
  '--config.data.size=64',
  '--config.data.held_out=8',
  '--config.sample.prompts=8',
  '--config.sample.max_response=6',
  '--config.recipe.samples=4',
  '--config.learn.microbatches=1',
  '--config.warm_start.steps=0',
  "--config.verify.names=('exact','format:[aeiou]')",
  '--config.verify.weights=(1.0,1.0)',
  '--config.eval.every=10',
  '--config.eval.samples=0',
  '--config.checkpoint.every=2',
)


def words(workdir: pathlib.Path, steps: int) -> list[str]:
  """Module and flags of such a run."""
  return [*_WORDS, f'--config.steps={steps}', f'--workdir={workdir}']


def start(
  count: int, given: list[str], log: pathlib.Path, **environment: str
) -> subprocess.Popen:
  """launch/local_cluster.sh with `count` processes, writing to a log."""
  with open(log, 'a') as file:
    return subprocess.Popen(
      [ROOT / 'launch' / 'local_cluster.sh', str(count), *given],
      env=surroundings() | environment,
      stdout=file,
      stderr=subprocess.STDOUT,
    )


def start_one(
  number: int, count: int, address: str, given: list[str], log: pathlib.Path
) -> subprocess.Popen:
  """One process of a run that no launcher watches over."""
  with open(log, 'a') as file:
    return subprocess.Popen(
      [sys.executable, '-m', *given],
      cwd=ROOT,
      env=surroundings()
      | {
        'JAX_PLATFORMS': 'cpu',
        'JAX_CPU_COLLECTIVES_IMPLEMENTATION': 'gloo',
        'JAX_NUM_CPU_DEVICES': '1',
        'JAX_COORDINATOR_ADDRESS': address,
        'JAX_NUM_PROCESSES': str(count),
        'JAX_PROCESS_ID': str(number),
      },
      stdout=file,
      stderr=subprocess.STDOUT,
    )


def free_port() -> int:
  """One of the loopback interface."""
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    return probe.getsockname()[1]


def met(log: pathlib.Path) -> bool:
  """Whether the processes that write to this log have found each other."""
  return 'process 1 of' in log.read_text()


def surroundings() -> dict[str, str]:
  inherited = os.environ.get('PYTHONPATH', '')
  return os.environ | {
    'PYTHON': sys.executable,
    'PYTHONPATH': f'{ROOT}{os.pathsep}{inherited}',
  }


def processes(launcher: subprocess.Popen) -> dict[int, int]:
  """{number: pid} of those that a launcher has started, and that live."""
  pid = launcher.pid
  found = {}
  try:
    children = pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text()
    for child in map(int, children.split()):
      number = _number(child)
      if number is not None:
        found[number] = child
  except OSError:
    pass  # Something ended while it was being read.
  return found


def _number(pid: int) -> int | None:
  """Which process of its run this is; None for another program."""
  try:
    stated = pathlib.Path(f'/proc/{pid}/environ').read_bytes().split(b'\0')
    training = b'experiments.train' in _command(pid)
  except OSError:
    return None
  prefix = b'JAX_PROCESS_ID='
  numbers = [int(x[len(prefix) :]) for x in stated if x.startswith(prefix)]
  return numbers[0] if numbers and training else None


def _command(pid: int) -> list[bytes]:
  return pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')


def alive(pid: int) -> bool:
  """Whether the process still runs: what is only not yet buried does not."""
  try:
    stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
  except OSError:
    return False
  return stat.rpartition(')')[2].split()[0] not in 'ZX'


def in_folder(workdir: pathlib.Path) -> list[int]:
  """All processes that train in this run folder, whoever started them."""
  flag = f'--workdir={workdir}'.encode()
  found = []
  for path in pathlib.Path('/proc').glob('[0-9]*'):
    try:
      named = flag in _command(int(path.name))
    except OSError:
      continue
    if named and _number(int(path.name)) is not None and alive(int(path.name)):
      found.append(int(path.name))
  return found


def ended(pids, *, within: float) -> float:
  """Seconds until none of them runs.

  Raises:
    TimeoutError: one still does after `within` seconds.
  """
  began = time.monotonic()
  while any(map(alive, pids)):
    if time.monotonic() - began > within:
      raise TimeoutError(f'{list(filter(alive, pids))} run after {within} s')
    time.sleep(0.01)
  return time.monotonic() - began


def iteration(workdir: pathlib.Path) -> int:
  """The newest that is logged; -1 before the first line."""
  path = workdir / 'metrics.jsonl'
  return path.read_bytes().count(b'\n') - 1 if path.exists() else -1


def saved(workdir: pathlib.Path) -> int:
  """The newest whole checkpoint; 0 without one."""
  folder = workdir / 'checkpoints'
  return max(
    (int(p.name) for p in folder.glob('*') if p.name.isdigit()), default=0
  )


def metrics(workdir: pathlib.Path) -> list[dict[str, float]]:
  """Logged lines without what reads a clock."""
  return [
    {k: v for k, v in line.items() if not k.startswith('time/')}
    for line in logged(workdir)
  ]


def logged(workdir: pathlib.Path) -> list[dict[str, float]]:
  """Lines of metrics.jsonl."""
  return writers.read(workdir / 'metrics.jsonl')


def state(workdir: pathlib.Path) -> dict[str, np.ndarray]:
  """Every array of the newest checkpoint, by name, on the host."""
  folder = workdir.absolute() / 'checkpoints' / str(saved(workdir)) / 'state'
  with ocp.PyTreeCheckpointer() as checkpointer:
    tree = checkpointer.metadata(folder).item_metadata.tree
    to_numpy = jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree
    )
    leaves = checkpointer.restore(folder, restore_args=to_numpy)
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(leaves)
  }


def equal(one: pathlib.Path, other: pathlib.Path) -> bool:
  """Whether two runs logged, sampled and saved the same, to the last bit."""
  states = [
    {name: x.tobytes() for name, x in state(run).items()}
    for run in (one, other)
  ]
  samples = [(run / 'samples.jsonl').read_bytes() for run in (one, other)]
  logged = [metrics(run) for run in (one, other)]
  return all(a == b for a, b in (states, samples, logged))


def dry_run_sizes(said: str) -> dict[str, float]:
  """Numbers of the report of a dry run."""
  found: dict[str, float] = {}
  program = ''
  for line in said.splitlines():
    kept = re.match(
      r'  (trained parameters|optimiser|reference) +[\d,]+ ', line
    )
    if kept:
      number, unit = line.split()[-2:]
      found['kept'] = found.get('kept', 0) + float(number) * _UNITS[unit]
    start = re.match(r'  (\w+) +per device: .*activations ([\d.]+) (\w+)', line)
    if start:
      program = start.group(1)
      number, unit = start.groups()[1:]
      found[f'{program} activations'] = float(number) * _UNITS[unit]
      found[f'{program} sends'] = found[f'{program} sends a turn'] = 0
    sent = re.match(r' +\d+ [a-z\-]+ +([\d,]+) bytes( a turn)?', line)
    if sent and program:
      name = f'{program} sends{sent.group(2) or ""}'
      found[name] += int(sent.group(1).replace(',', ''))
  return found
