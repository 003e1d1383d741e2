"""One program on every process, and what only the first of them does.

Every process of a run executes the same Python on the same values: draws and
keys are functions of (seed, step), and what Python reads of an iteration is
whole on every device. A process differs from the others in three things: it
feeds its own devices, it verifies its own rows, and the first one alone
writes the run folder and speaks. All of that is here.

The processes share a file system, for the run folder, the model and the data.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax._src import distributed  # Where its store is, which is not public.
from jax.experimental import multihost_utils

from jaxrl_llm.training import watch
from jaxrl_llm.types import PyTree

# How transports and the coordination service begin to speak of a lost peer.
_LOST = re.compile(
  r'(UNKNOWN|INTERNAL|ABORTED|CANCELLED|UNAVAILABLE|DEADLINE_EXCEEDED): .*'
  r'(gloo|nccl|connection|heartbeat|barrier|coordination|unavailable)',
  re.IGNORECASE | re.DOTALL,
)
# How much later than `watch` JAX ends a run, in words of its own: times as
# much silence, and seconds. On a busy machine `watch` itself comes late.
_LATER, _LATER_SECONDS = 3, 30
# How much longer than the others the first process stays where it failed.
_LAST_SECONDS = 10


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
      JAX_HEARTBEAT_SECONDS     100: the others end once a process has been
                                silent for so long, with the status 75

  Call it before anything else of JAX. Without any of these a process is
  alone, as on a laptop. One that never joins is waited for 300 s. Where a
  process ends, its connections close, and the others know at their next
  collective; the heartbeat is for machines that vanish, and for processes that
  are stopped.

  Raises:
    ValueError: half of a description, or numbers that are none.
  """
  env = os.environ
  count, number = env.get('JAX_NUM_PROCESSES'), env.get('JAX_PROCESS_ID')
  heartbeat = env.get('JAX_HEARTBEAT_SECONDS', '100')
  if not heartbeat.isdigit() or not int(heartbeat):
    raise ValueError(
      f'JAX_HEARTBEAT_SECONDS={heartbeat!r} must be a number of whole seconds'
    )
  # It would catch SIGTERM in place of our own handler, and tell nobody.
  jax.config.update('jax_enable_preemption_service', False)
  join = functools.partial(
    jax.distributed.initialize,
    heartbeat_timeout_seconds=_LATER * int(heartbeat) + _LATER_SECONDS,
  )
  if env.get('JAX_COORDINATOR_ADDRESS') and (count or number):
    if not (count and number and count.isdigit() and number.isdigit()):
      raise ValueError(
        f'JAX_NUM_PROCESSES={count!r} and JAX_PROCESS_ID={number!r} must both '
        'be numbers'
      )
    join(env['JAX_COORDINATOR_ADDRESS'], int(count), int(number))
  elif int(env.get('SLURM_STEP_NUM_TASKS', 1)) > 1:
    join()
  elif env.get('JAX_DISTRIBUTED') == 'auto':
    join()
  if jax.distributed.is_initialized():
    _watch(int(heartbeat))


def _watch(seconds):
  joined = distributed.global_state
  client, count = joined.client, joined.num_processes
  if client is not None and count > 1:
    watch.Watch(
      client,
      joined.process_id,
      count,
      seconds,
      watch.ending(count, seconds),
    ).start()


@contextlib.contextmanager
def ending_at_once(tell: Callable[[Exception], None]) -> Iterator[None]:
  """Where a process of several fails, it says why and is gone.

  Otherwise it would wait for the others, for minutes: the end of a save does,
  and so does that of JAX. They in turn wait for it. What is whole on disk
  stays, as after a kill. Of a process alone, errors are raised as usual.

  Args:
    tell: prints an error; that another process is lost is said here.
  """
  try:
    yield
  except Exception as error:
    if jax.process_count() == 1:
      raise
    if lost(error):
      first = str(error).strip().splitlines()[0]
      print(
        f'error: process {jax.process_index() + 1} of {jax.process_count()} '
        f'has lost another one, whose own output says why ({first}). The same '
        'command goes on from the newest checkpoint',
        file=sys.stderr,
      )
    else:
      tell(error)
      if is_first() and jax.distributed.is_initialized():
        # The others may be about to find the same mistake, and JAX would end
        # them in words of its own as soon as the first is gone.
        time.sleep(_LAST_SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def lost(error: Exception) -> bool:
  """Whether it says that another process ended, or cannot be reached."""
  spoken = isinstance(error, (jax.errors.JaxRuntimeError, ValueError))
  return spoken and _LOST.match(str(error)) is not None


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
  if failed:
    # All know, and none has to wait at the end, or to take the others for dead.
    jax.distributed.shutdown()
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


def texts(mine: Sequence[str], rows: int) -> list[str]:
  """`rows` texts out of those of the `own` rows of every process."""
  if jax.process_count() == 1 or not rows:
    return list(mine)
  data = [text.encode() for text in mine]
  lengths = joined(np.array([len(x) for x in data], np.int32), rows)
  packed = np.zeros((len(data), max(1, lengths.max())), np.uint8)
  for row, x in enumerate(data):
    packed[row, : len(x)] = np.frombuffer(x, np.uint8)
  packed = joined(packed, rows)
  return [row[:n].tobytes().decode() for row, n in zip(packed, lengths)]


def summed(counts: dict[str, int]) -> dict[str, int]:
  """Counts over all processes, which must have the same names."""
  if jax.process_count() == 1:
    return counts
  mine = np.array(list(counts.values()), np.int64)
  total = multihost_utils.process_allgather(mine).sum(axis=0)
  return dict(zip(counts, total.tolist()))
