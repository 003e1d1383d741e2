"""Kills processes of runs at random moments: what ends, and what is lost.

  python -m experiments.benchmarks.kills --kills=20
      SIGKILL to any process, or to the launcher, at any moment; what is left
      is started again by RESTARTS, or by hand where the launcher is gone
  python -m experiments.benchmarks.kills --kills=6 --apart
      without launch/local_cluster.sh, as on machines of their own: nobody
      ends the survivors

A run that is killed again and again must end as one that nobody disturbed, in
samples, metrics and state, to the last bit. Lines go to --results, one for
each kill; --table prints them. A kill takes about
20 s of two cores.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import flags, logging

from experiments import command
from experiments.benchmarks import clusters, tables

_KILLS = flags.DEFINE_integer('kills', 20, 'How many.')
_PROCESSES = flags.DEFINE_integer('processes', 2, 'Of each run.')
_STEPS = flags.DEFINE_integer(
  'steps', 20, 'Iterations of each run.', allow_override=True
)
_SEED = flags.DEFINE_integer(
  'seed', 0, 'Of victims and moments.', allow_override=True
)
_APART = flags.DEFINE_bool('apart', False, 'No launcher; see above.')
_TABLE = flags.DEFINE_bool(
  'table', False, 'Only print the table.', allow_override=True
)
_RESULTS = command.results_flag()
# What says that a process was lost: the launcher, which names it, or, where
# there is none, a survivor, and JAX where the first process is the lost one.
_NAMED = 'process {} of {} was killed by SIGKILL'
_LAUNCHER = 'local_cluster.sh: was killed'
_SURVIVORS = ('has lost another one', 'another task died')
_LONGEST = 120.0


def main() -> None:
  logging.set_verbosity(logging.ERROR)
  results = pathlib.Path(_RESULTS.value) / 'kills.jsonl'
  if _TABLE.value:
    print(
      tables.kills([json.loads(x) for x in results.read_text().splitlines()])
    )
    return
  draw = random.Random(_SEED.value)
  kill_some = killed_apart if _APART.value else killed_in_a_cluster
  with tempfile.TemporaryDirectory() as scratch:
    folder = pathlib.Path(scratch)
    whole, seconds = folder / 'whole', undisturbed(folder / 'whole')
    left, runs = _KILLS.value, 0
    while left:
      workdir = folder / f'killed-{runs}'
      runs += 1
      lines = list(kill_some(workdir, left, seconds, draw))
      left -= len(lines)
      same = {'equal': clusters.equal(whole, workdir)}
      with open(results, 'a') as file:
        for line in lines:
          file.write(json.dumps(_given() | line | same) + '\n')


def _given():
  return {
    'git_commit': command.commit(),
    'processes': _PROCESSES.value,
    'steps': _STEPS.value,
    'seed': _SEED.value,
  }


def undisturbed(workdir: pathlib.Path) -> float:
  """Seconds of the run that the others are compared with, once compiled."""
  for _ in range(2):
    subprocess.run(['rm', '-rf', workdir], check=True)
    began = time.monotonic()
    running = clusters.start(*_run(workdir))
    if running.wait():
      raise RuntimeError(_log(workdir).read_text())
    seconds = time.monotonic() - began
  return seconds


def _run(workdir):
  given = clusters.words(workdir, _STEPS.value)
  return _PROCESSES.value, given, _log(workdir)


def _log(workdir):
  return workdir.with_suffix('.log')


def killed_in_a_cluster(workdir, kills, seconds, draw):
  """Yields a line for each kill of one run, which goes on to its end."""
  running = clusters.start(*_run(workdir), RESTARTS=str(kills))
  while kills:
    time.sleep(draw.uniform(0, seconds))
    if running.poll() is not None:
      break
    found = clusters.processes(running)
    if not found:
      continue  # Between two starts.
    victims: dict[Any, int] = {**found, 'launcher': running.pid}
    victim = draw.choice(list(victims))
    kills -= 1
    yield _killed(workdir, victim, victims[victim], found, _log(workdir))
    if victim == 'launcher':
      running.wait()
      running = clusters.start(*_run(workdir), RESTARTS=str(kills))
  if running.wait():
    raise RuntimeError(_log(workdir).read_text())


def killed_apart(workdir, kills, seconds, draw):
  """The same without a launcher, from when the processes have met."""
  while True:
    log = workdir.with_suffix(f'.{kills}.log')
    running = _start_apart(workdir, log)
    while not clusters.met(log) and None in [x.poll() for x in running]:
      time.sleep(0.01)
    time.sleep(draw.uniform(0, seconds / 2))
    if not kills or None not in [x.poll() for x in running]:
      break
    victim = draw.randrange(len(running))
    kills -= 1
    pids = {i: x.pid for i, x in enumerate(running)}
    yield _killed(workdir, victim, pids[victim], pids, log)
    for each in running:
      each.wait()
  if any([each.wait() for each in running]):
    raise RuntimeError(log.read_text())


def _start_apart(workdir, log):
  count, given, _ = _run(workdir)
  address = f'127.0.0.1:{clusters.free_port()}'
  return [
    clusters.start_one(number, count, address, given, log)
    for number in range(count)
  ]


def _killed(workdir, victim, pid, others, log):
  """Kills a process and waits for the others; a line of what was seen."""
  said = len(log.read_text())
  line = {'apart': _APART.value, 'victim': victim}
  line['iteration'] = clusters.iteration(workdir)
  line['checkpoint'] = clusters.saved(workdir)
  os.kill(pid, signal.SIGKILL)
  line['seconds'] = round(
    clusters.ended(list(others.values()), within=_LONGEST), 2
  )
  if victim == 'launcher':
    line['orphans'] = len(clusters.in_folder(workdir))
  if victim == 'launcher':
    awaited: tuple[str, ...] = (_LAUNCHER,)
  elif _APART.value:
    awaited = _SURVIVORS
  else:
    awaited = (_NAMED.format(victim + 1, _PROCESSES.value),)
  # The launcher tells it a moment after the processes have ended.
  until = time.monotonic() + 5
  while not any(words in log.read_text()[said:] for words in awaited):
    if time.monotonic() > until:
      break
    time.sleep(0.05)
  line['sentence'] = any(words in log.read_text()[said:] for words in awaited)
  print(json.dumps(line), file=sys.stderr)
  return line


if __name__ == '__main__':
  command.run(main)
