"""The commands in processes of their own, and what two runs must share."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

from experiments.benchmarks import clusters

TINY = pathlib.Path(__file__).with_name('tiny.py')
ROOT = TINY.parents[2]


def words(module: str, *flags: str, config: str = '') -> list[str]:
  """The command line of `python -m experiments.MODULE`."""
  given = [f'--config={TINY}{config}'] if module == 'train' else []
  return [sys.executable, '-m', f'experiments.{module}', *given, *flags]


def start(workdir: pathlib.Path, *flags: str) -> subprocess.Popen:
  """The training command, running."""
  return subprocess.Popen(
    words('train', f'--workdir={workdir}', *flags),
    cwd=ROOT,
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    env=_environment(),
  )


def _environment() -> dict[str, str]:
  """That of the tests, but for what commands must say to XLA themselves."""
  return {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}


def run(
  module: str, *flags: str, config: str = '', **environment: str
) -> subprocess.CompletedProcess:
  """A command, finished."""
  return subprocess.run(
    words(module, *flags, config=config),
    cwd=ROOT,
    text=True,
    capture_output=True,
    env=_environment() | environment,
    timeout=300,
    check=False,
  )


def state_of(workdir: pathlib.Path) -> tuple[int, dict[str, bytes]]:
  """The newest step and the bytes of every leaf of its checkpoint."""
  return clusters.saved(workdir), {
    name: leaf.tobytes() for name, leaf in clusters.state(workdir).items()
  }


def assert_same_run(one: pathlib.Path, other: pathlib.Path) -> None:
  """State, metrics and samples are equal to the last bit."""
  (step, state), (other_step, other_state) = state_of(one), state_of(other)
  assert step == other_step
  assert state.keys() == other_state.keys()
  assert [k for k in state if state[k] != other_state[k]] == []
  assert any(name.startswith('opt/') for name in state)
  assert clusters.metrics(one) == clusters.metrics(other)
  samples = [(run / 'samples.jsonl').read_bytes() for run in (one, other)]
  assert samples[0] and samples[0] == samples[1]
