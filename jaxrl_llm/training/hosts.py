"""One program on every process, and what only the first of them does.

Every process of a run executes the same Python on the same values: draws and
keys are functions of (seed, step), and what Python reads of an iteration is
whole on every device. A process differs from the others in three things: it
feeds its own devices, it verifies its own rows, and the first one alone
writes the run folder and speaks. All of that is here.

The processes share a file system, for the run folder, the model and the data.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxrl_llm.types import PyTree


class Silent:
  """Has every method, which does nothing; what the others get of the first."""

  def __getattr__(self, name):
    return lambda *args, **kwargs: None

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass


def initialize() -> None:
  """Joins the processes of a run, as the environment describes them.

      JAX_COORDINATOR_ADDRESS   host:port of the first process, with
      JAX_NUM_PROCESSES, JAX_PROCESS_ID    as `launch/` sets them
      SLURM_STEP_NUM_TASKS      more than one: JAX reads the rest from SLURM
      JAX_DISTRIBUTED=auto      JAX finds out: TPU slices, Open MPI

  Call it before anything else of JAX. Without any of these a process is
  alone, as on a laptop.

  Raises:
    ValueError: half of a description, or numbers that are none.
  """
  env = os.environ
  count, number = env.get('JAX_NUM_PROCESSES'), env.get('JAX_PROCESS_ID')
  if env.get('JAX_COORDINATOR_ADDRESS') and (count or number):
    if not (count and number and count.isdigit() and number.isdigit()):
      raise ValueError(
        f'JAX_NUM_PROCESSES={count!r} and JAX_PROCESS_ID={number!r} must both '
        'be numbers'
      )
    jax.distributed.initialize(
      env['JAX_COORDINATOR_ADDRESS'], int(count), int(number)
    )
  elif int(env.get('SLURM_STEP_NUM_TASKS', 1)) > 1:
    jax.distributed.initialize()
  elif env.get('JAX_DISTRIBUTED') == 'auto':
    jax.distributed.initialize()


def description() -> str:
  """How many processes and devices there are, as the first one sees them."""
  return (
    f'process 1 of {jax.process_count()}, {jax.local_device_count()} of '
    f'{jax.device_count()} devices of kind {jax.devices()[0].device_kind}'
  )


def is_first() -> bool:
  """Whether this process writes and speaks."""
  return jax.process_index() == 0


def say(text: str) -> None:
  """A line on stderr, once."""
  if is_first():
    print(text, file=sys.stderr, flush=True)


def on_first(make: Callable[[], Any]) -> Any:
  """`make()` on the first process, while the others wait; there `Silent`.

  Raises:
    Exception: what `make` raised, on the first process.
    ValueError: on the others, if it did.
  """
  if jax.process_count() == 1:
    return make()
  made, error = Silent(), None
  if is_first():
    try:
      made = make()
    except Exception as raised:  # They wait: none may be left behind.
      error = raised
  failed = multihost_utils.broadcast_one_to_all(np.bool_(error is not None))
  if error is not None:
    raise error
  if failed:
    raise ValueError('the first process could not go on, and says why')
  return made


def agreed(wish: bool) -> bool:
  """Whether any process wishes it; every one must ask."""
  if jax.process_count() == 1:
    return wish
  return bool(multihost_utils.process_allgather(np.bool_(wish)).any())


def own(rows: int) -> slice:
  """The rows that fall to this process, of as many."""
  size = -(-rows // jax.process_count())
  return slice(jax.process_index() * size, (jax.process_index() + 1) * size)


def joined(tree: PyTree, rows: int) -> PyTree:
  """NumPy arrays [rows, ...] out of the `own` rows of every process."""
  if jax.process_count() == 1:
    return tree
  size = -(-rows // jax.process_count())

  def join(x):
    # Even pieces, for the collective; what the last ones lack is at the end.
    x = np.pad(x, ((0, size - len(x)),) + ((0, 0),) * (x.ndim - 1))
    return np.asarray(multihost_utils.process_allgather(x, tiled=True))[:rows]

  return jax.tree.map(join, tree)


def summed(counts: dict[str, int]) -> dict[str, int]:
  """Counts over all processes, which must have the same names."""
  if jax.process_count() == 1:
    return counts
  mine = np.array(list(counts.values()), np.int64)
  total = multihost_utils.process_allgather(mine).sum(axis=0)
  return dict(zip(counts, total.tolist()))
