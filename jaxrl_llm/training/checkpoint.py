"""Checkpoints that a run can trust.

A checkpoint is one pytree of arrays plus a JSON record: what the caller wants
to remember (cursor, config, versions) and the name, dtype, shape and
fingerprint of every leaf. Orbax makes a checkpoint appear whole or not at
all; the fingerprints catch what happens to its files later.

    <workdir>/checkpoints/<step>/      the newest ones, by step
    <workdir>/checkpoints/corrupt/     moved aside, never read again

The folder may be a bucket's, gs://BUCKET/PATH: what Orbax and tensorstore read
and write themselves.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from jax import lax

from jaxrl_llm.training import hosts, programs, writers
from jaxrl_llm.training.workdir import WorkdirError, summary
from jaxrl_llm.types import Array, PyTree

_SET_ASIDE = 'corrupt'
# What a checkpoint takes beside its arrays, and a little room for the logs.
_OVERHEAD = 1 << 20
# Bytes of an array whose fingerprint is a program of its own.
_LARGE = 1 << 22
# Least bytes of a file. Orbax would keep 2 GB of what it has compressed before
# it writes any, which is a second copy of most states.
_FILE = 1 << 24
# Bytes of a state that no CPU shall hold twice.
_ONCE = 1 << 28


class Restored(NamedTuple):
  """A checkpoint read back.

  Attributes:
    step: its step.
    state: the pytree, with the target's types and shardings.
    metadata: the mapping that was saved with it.
    damaged: {step: why} of the newer checkpoints that could not be read.
  """

  step: int
  state: PyTree
  metadata: dict[str, Any]
  damaged: dict[int, str]


class OtherState(WorkdirError):
  """A checkpoint of other arrays than those asked for.

  Attributes:
    names: of the leaves that differ. told: what their kinds are.
  """

  def __init__(self, step: int, names: list[str], told: str):
    super().__init__(
      f'checkpoint {step} holds another state: {told}. Resume with the config,'
      ' code and data that wrote it, or choose another workdir'
    )
    self.names, self.told = names, told


class Checkpointer:
  """Saves and restores the state of one run.

  Only the process that holds the run's `Lock` may make one: construction
  removes what an interrupted save left behind.
  """

  def __init__(
    self,
    folder: str | os.PathLike,
    *,
    every: int = 1,
    keep: int = 2,
    keep_every: int = 0,
    asynchronous: bool = True,
  ):
    """Opens, or makes, a folder of checkpoints.

    Args:
      folder: where the checkpoints are.
      every: steps between checkpoints, see `due`.
      keep: the newest checkpoints that stay; 2 or more survive the loss of
        one.
      keep_every: checkpoints at multiples of it stay for ever; 0 for none.
      asynchronous: `save` returns once the arrays are copied to the host. On a
        CPU that would be a second copy of them, so there a large state is
        written first.

    Raises:
      ValueError: a count is too small.
    """
    for name, count, least in (
      ('every', every, 1),
      ('keep', keep, 1),
      ('keep_every', keep_every, 0),
    ):
      if count < least:
        raise ValueError(f'{name} is {count}; use {least} or more')
    self._every = every
    self._folder = _placed_at(folder)
    policies = ocp.checkpoint_managers
    kept = [policies.LatestN(keep)]
    if keep_every:
      kept.append(policies.EveryNSteps(keep_every))
    self._manager = ocp.CheckpointManager(
      self._folder,
      options=ocp.CheckpointManagerOptions(
        cleanup_tmp_directories=True,
        enable_async_checkpointing=asynchronous,
        preservation_policy=policies.AnyPreservationPolicy(kept),
      ),
    )

  @property
  def latest(self) -> int | None:
    """The newest complete step, None before the first."""
    return self._manager.latest_step()

  def due(self, step: int) -> bool:
    """Whether a checkpoint belongs after iteration `step`."""
    return step % self._every == 0

  def save(self, step: int, state: PyTree, metadata: Mapping[str, Any]) -> None:
    """Writes the state; a step that is there already is left alone.

    The arrays may be donated as soon as this returns.

    Args:
      step: finished iterations.
      state: pytree of `jax.Array`, typed PRNG keys included.
      metadata: what JSON can hold; it comes back as JSON gives it.

    Raises:
      DiskFull: this save, or the asynchronous one before, found no room. The
        checkpoints that were complete are untouched.
    """
    if step in self._manager.all_steps():
      return
    with writers.says_disk_full(self._folder):
      # Orbax would fail on several threads, each with a page of its own.
      size = sum(map(_bytes, _named(state).values()))
      writers.check_room(self._folder, size + _OVERHEAD)
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.PyTreeSave(
            state, ocdbt_target_data_file_size=max(_FILE, size // 64)
          ),
          record=ocp.args.JsonSave(_record(state, metadata)),
        ),
        force=True,
      )
      # What is being written cannot be donated: a step would copy all of it.
      if jax.default_backend() == 'cpu' and size > _ONCE:
        self._manager.wait_until_finished()
        programs.give_back()

  def restore(self, target: PyTree) -> Restored | None:
    """Reads the newest checkpoint that is whole, see `load`.

    Damaged ones that are newer are named in a warning and moved aside, so
    that their steps can be saved again.
    """
    self.wait()
    restored = load(self._folder, target)
    if restored is None:
      return None
    for step, why in restored.damaged.items():
      moved = hosts.on_first(functools.partial(_move_aside, self._folder, step))
      logging.warning(
        'checkpoint %d in %s is damaged (%s) and was moved to %s; going on'
        ' from checkpoint %d',
        step,
        self._folder,
        why,
        moved,
        restored.step,
      )
    if restored.damaged:
      self._manager.reload()
    return restored

  def wait(self) -> None:
    """Returns when the last save is complete.

    Raises:
      DiskFull: it found no room.
    """
    with writers.says_disk_full(self._folder):
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits for the last save and lets the folder go."""
    self.wait()
    self._manager.close()


def load(
  folder: str | os.PathLike, target: PyTree, *, partial: bool = False
) -> Restored | None:
  """Reads the newest whole checkpoint and changes nothing on disk.

  Args:
    folder: where the checkpoints are; a run may be writing to it.
    target: the pytree to fill, of arrays or of `jax.eval_shape` structs. A
      leaf is placed as its `sharding` says, on the first device without one.
    partial: the target is a part of what was saved, as in
      `{'params': ...}` of a `TrainState`.

  Returns:
    The checkpoint, or None where there is none.

  Raises:
    WorkdirError: the checkpoint holds another state (the leaves that differ
      are named), or none of the checkpoints can be read (each is named).
  """
  at = _placed_at(folder)
  if not at.is_dir():
    return None
  target = shapes(target)
  options = ocp.CheckpointManagerOptions(
    read_only=True, create=False, save_interval_steps=0
  )
  damaged = {}
  with _read_only(at, options) as manager:
    for step in sorted(manager.all_steps(), reverse=True):
      try:
        state, metadata = _read(manager, step, target, partial)
      except (WorkdirError, MemoryError, PermissionError):
        raise
      except Exception as error:  # Whatever a broken file makes Orbax raise.
        damaged[step] = summary(error)
        continue
      return Restored(step, state, metadata, damaged)
  if damaged:
    listed = '; '.join(f'{step}: {why}' for step, why in damaged.items())
    raise WorkdirError(
      f'none of the checkpoints in {folder} can be read ({listed}); delete'
      ' them to train from the start, or choose another workdir'
    )
  return None


def remove(folder: str | os.PathLike) -> None:
  """Deletes the checkpoints of a folder; what else is in it stays."""
  for path in [*steps(folder), _placed_at(folder) / _SET_ASIDE]:
    if path.exists():
      path.rmtree()


def steps(folder: str | os.PathLike) -> list[epath.Path]:
  """Where the checkpoints of a folder are; none where there is no folder."""
  at = _placed_at(folder)
  there = at.iterdir() if at.is_dir() else ()
  return sorted(path for path in there if path.name.isdecimal())


def _placed_at(folder: str | os.PathLike) -> epath.Path:
  """A folder, which is no other from another one, or that of a bucket."""
  bucket = '://' in os.fspath(folder)
  return epath.Path(folder if bucket else pathlib.Path(folder).absolute())


def shapes(tree: PyTree) -> PyTree:
  """A target for `load` that holds no array, so that the tree can be freed."""
  return jax.tree.map(_placed, tree)


def _read_only(folder, options):
  """A manager, without its warnings that it is what it was asked to be."""
  shown = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    return ocp.CheckpointManager(folder, options=options)
  finally:
    logging.set_verbosity(shown)


def _read(manager, step, target, partial):
  """State and metadata of one checkpoint; raises whatever is wrong with it."""
  item = ocp.args.Composite(record=ocp.args.JsonRestore())
  record = manager.restore(step, args=item)['record']
  if record['digest'] != _digest(record):
    raise ValueError('its record was altered')
  _check_leaves(step, record['leaves'], target, partial)
  item = ocp.args.PyTreeRestore(
    target,
    restore_args=ocp.checkpoint_utils.construct_restore_args(target),
    partial_restore=partial,
  )
  state = manager.restore(step, args=ocp.args.Composite(state=item))['state']
  state = jax.tree.map(_unbound, state)
  for name, leaf in _describe(state).items():
    if leaf != record['leaves'][name]:
      raise ValueError(f'the content of {name} was altered')
  return state, record['metadata']


def _check_leaves(step, leaves, target, partial):
  """Raises where the program's state is not the kind that was saved."""
  saved = {name: f'{leaf[0]}{leaf[1]}' for name, leaf in leaves.items()}
  asked = {
    name: f'{leaf.dtype}{list(leaf.shape)}'
    for name, leaf in _named(target).items()
  }
  names = asked if partial else {*saved, *asked}
  differ = sorted(name for name in names if saved.get(name) != asked.get(name))
  if differ:
    listed = '; '.join(
      f'{name} is {saved.get(name, "absent")} there and'
      f' {asked.get(name, "absent")} here'
      for name in differ[:8]
    )
    more = f'; and {len(differ) - 8} more' if len(differ) > 8 else ''
    raise OtherState(step, differ, f'{listed}{more}')


def _record(state: PyTree, metadata: Mapping[str, Any]) -> dict[str, Any]:
  # Through JSON first: what is saved is what will be read and digested.
  told = json.loads(json.dumps(dict(metadata)))
  record = {'metadata': told, 'leaves': _describe(state)}
  return {**record, 'digest': _digest(record)}


def _digest(record: Mapping[str, Any]) -> str:
  told = {'metadata': record['metadata'], 'leaves': record['leaves']}
  text = json.dumps(told, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def _describe(state: PyTree) -> dict[str, list]:
  """{leaf name: [dtype, shape, fingerprint]}, as JSON gives it back."""
  leaves = _named(state)
  small = {k: leaf for k, leaf in leaves.items() if _bytes(leaf) < _LARGE}
  found = jax.device_get(jax.jit(_fingerprints)([*small.values()]))
  prints = dict(zip(small, found))
  for name in (name for name in leaves if name not in small):
    # Each holds a copy of its leaf while it runs: one after the other.
    [prints[name]] = jax.device_get(jax.jit(_fingerprints)([leaves[name]]))
  return {
    name: [str(leaf.dtype), list(leaf.shape), int(prints[name])]
    for name, leaf in leaves.items()
  }


def _bytes(leaf: Array) -> int:
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  return leaf.nbytes


def _named(tree: PyTree) -> dict[str, Any]:
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def _fingerprints(leaves: list[Array]) -> list[Array]:
  """One number per array that tells whether a bit of it has changed.

      fingerprint(x) = sum_i (2 i + 1) bits(x_i)    modulo 2^32

  Integer sums wrap in any order alike, so the number does not depend on the
  mesh. A change of one word always shows, because odd factors are invertible;
  any other change shows but for one in 2^32.
  """
  return [_fingerprint(leaf) for leaf in leaves]


def _fingerprint(x: Array) -> Array:
  if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    x = jax.random.key_data(x)
  if x.dtype == jnp.bool_:
    x = x.astype(jnp.uint8)
  # 64-bit elements become two words along a new last axis.
  unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}
  x = lax.bitcast_convert_type(x, unsigned[x.dtype.itemsize])
  place = jnp.zeros(x.shape, jnp.uint32)
  for axis, size in enumerate(x.shape):
    place = place * jnp.uint32(size) + lax.broadcasted_iota(
      jnp.uint32, x.shape, axis
    )
  return jnp.sum((2 * place + 1) * x.astype(jnp.uint32), dtype=jnp.uint32)


def _placed(leaf: Any) -> jax.ShapeDtypeStruct:
  """The leaf as a restore target; Orbax turns unplaced keys into integers."""
  sharding = getattr(leaf, 'sharding', None)
  if sharding is None:
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _unbound(leaf: Array) -> Array:
  """A leaf that is bound to no device where that is the only one.

  As the arrays of a run that begins: `jit` tells those from bound ones, and
  would compile all programs of a run again when it goes on.
  """
  alone = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  if leaf.sharding != alone:
    return leaf
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    data = _unbound(jax.random.key_data(leaf))
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
  free = jnp.array(np.asarray(leaf))
  leaf.delete()  # One leaf at a time is there twice.
  return free


def _move_aside(folder: epath.Path, step: int) -> epath.Path:
  """Moves a checkpoint to the first free name in the folder of bad ones."""
  aside = folder / _SET_ASIDE
  aside.mkdir(exist_ok=True)
  count = len(list(aside.glob(f'{step}.*')))
  return (folder / str(step)).rename(aside / f'{step}.{count}')
