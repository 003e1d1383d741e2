"""The commands in processes of their own, and what two runs must share."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxrl_llm.training import writers

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
  )


def run(
  module: str, *flags: str, config: str = '', **environment: str
) -> subprocess.CompletedProcess:
  """A command, finished."""
  return subprocess.run(
    words(module, *flags, config=config),
    cwd=ROOT,
    text=True,
    capture_output=True,
    env=os.environ | environment,
    timeout=300,
    check=False,
  )


def state_of(workdir: pathlib.Path) -> tuple[int, dict[str, bytes]]:
  """The newest step and the bytes of every leaf of its checkpoint."""
  folder = workdir / 'checkpoints'
  step = max(int(path.name) for path in folder.iterdir() if path.name.isdigit())
  with ocp.PyTreeCheckpointer() as checkpointer:
    described = checkpointer.metadata(folder / str(step) / 'state')
    # On the host, wherever its devices and processes were.
    to_numpy = jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
      described.item_metadata.tree,
    )
    state = checkpointer.restore(
      folder / str(step) / 'state', restore_args=to_numpy
    )
  leaves = jax.tree_util.tree_leaves_with_path(state)
  return step, {
    jax.tree_util.keystr(path): np.asarray(leaf).tobytes()
    for path, leaf in leaves
  }


def metrics_of(workdir: pathlib.Path) -> list[dict[str, float]]:
  """The lines of metrics.jsonl without what reads a clock."""
  return [
    {k: v for k, v in line.items() if not k.startswith('time/')}
    for line in writers.read(workdir / 'metrics.jsonl')
  ]


def assert_same_run(one: pathlib.Path, other: pathlib.Path) -> None:
  """State, metrics and samples are equal to the last bit."""
  (step, state), (other_step, other_state) = state_of(one), state_of(other)
  assert step == other_step
  assert state.keys() == other_state.keys()
  assert [k for k in state if state[k] != other_state[k]] == []
  assert any(name.startswith("['opt']") for name in state)
  assert metrics_of(one) == metrics_of(other)
  samples = [(run / 'samples.jsonl').read_bytes() for run in (one, other)]
  assert samples[0] and samples[0] == samples[1]
