"""Meshes and where arrays live on them.

Mesh axes: rows of a batch are split over `data`, and so is all that is kept
between programs (FSDP); heads, MLP columns, experts and the vocabulary are
split over `model` (tensor and expert parallelism); `context`, where there is
one, splits the tokens of rows while they are learned from. Every parameter
names its logical axes once, in the model's table; `RULES` maps a logical axis
to a mesh axis, and `Layout` derives from the two where everything else lives.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ('data', 'model', 'context')
RULES: Mapping[str | None, str | None] = {
  'rows': 'data',
  'layers': None,
  'vocab': 'model',
  'embed': 'data',
  'heads': 'model',
  'kv_heads': 'model',
  'head_dim': None,
  'mlp': 'model',
  'experts': 'model',
  'routes': None,
  'shared': 'model',
  'reader_mlp': 'model',
  'token': None,
  'global_kv_heads': 'model',
  'global_head_dim': None,
  'delta_heads': 'model',
  'delta_key_heads': 'model',
  None: None,
}


def make_mesh(
  data: int = -1, model: int = 1, devices=None, *, context: int = 1
) -> Mesh:
  """A ('data', 'model') mesh; -1 takes the rest of the devices.

  Beyond 1, `context` is its third axis.

  Raises:
    ValueError: the axes do not multiply to the number of devices, or leave a
      process without one.
  """
  devices = jax.devices() if devices is None else devices
  sizes = [data, model] + [context] * (context != 1)
  if -1 in sizes:
    known = -int(np.prod(sizes))
    sizes[sizes.index(-1)] = max(len(devices) // known, 1)
  asked = ', '.join(
    f'{name}={size}' for name, size in zip(AXES, (data, model, context))
  )
  count = int(np.prod(sizes))
  if count > len(devices):
    raise ValueError(
      f'mesh {asked} needs {count} devices and there are {len(devices)}; use '
      '-1 for the rest'
    )
  used = devices[:count]
  if len({each.process_index for each in used}) < jax.process_count():
    raise ValueError(
      f'mesh {asked} leaves some of the {jax.process_count()} processes '
      'without a device; use -1 for the rest'
    )
  return jax.make_mesh(
    sizes,
    AXES[: len(sizes)],
    axis_types=(AxisType.Auto,) * len(sizes),
    devices=used,
  )


def spec(
  axes: tuple[str | None, ...],
  shape: tuple[int, ...],
  mesh: Mesh,
  *,
  whole: str | None = None,
) -> PartitionSpec:
  """The partition of an array with these logical axes.

  A dimension that its mesh axis does not divide is kept whole, as is a second
  dimension on the same mesh axis.

  Args:
    whole: a mesh axis over which nothing is split.

  Raises:
    KeyError: an axis that `RULES` does not cover.
  """
  taken: list[str | None] = []
  for name, size in zip(axes, shape, strict=True):
    if name not in RULES:
      raise KeyError(f'no sharding rule for axis {name!r}; add it to RULES')
    place = RULES[name]
    free = place not in (None, whole, *taken)
    taken.append(place if free and size % mesh.shape[place] == 0 else None)
  return PartitionSpec(*taken)


def rows(mesh: Mesh, *more: str) -> NamedSharding:
  """Leading axis over `data`, and `more` mesh axes, the rest whole."""
  return NamedSharding(mesh, PartitionSpec(('data', *more) if more else 'data'))


def replicated(mesh: Mesh) -> NamedSharding:
  """The whole array on every device."""
  return NamedSharding(mesh, PartitionSpec())


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
  """Where the arrays of a run live.

      parameters, optimiser, reference    split over `data` and `model`
      parameters while a program runs     whole over `data`
      rows that a model reads             split over `data`
      everything else                     whole on every device

  So parameters cross the network once a program, and gradients once an
  optimizer step, whatever the number of microbatches. The price is room for
  one whole copy of the parameters and one of the gradients on the devices of
  each `model` axis while they learn.

  The methods take and return pytrees, placed anew; inside `jit` they are
  constraints. Without a mesh they return what they are given.

  Attributes:
    mesh: None is one device, where nothing is placed.
    axes: logical axes of every parameter, by path.
    also: mesh axes that rows are split over beside `data`.
  """

  mesh: Mesh | None = None
  axes: Mapping[tuple[str, ...], tuple[str | None, ...]] = dataclasses.field(
    default_factory=dict
  )
  also: tuple[str, ...] = ()

  @property
  def data(self) -> int:
    """Devices that rows are split over."""
    return self.mesh.shape['data'] if self.mesh else 1

  def known(self):
    """A context in which models that are traced can ask for the mesh.

    `policies.language.experts` does, to say where its arithmetic is done; all
    else follows from where the arrays are.
    """
    if self.mesh is None:
      return contextlib.nullcontext()
    return jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh)

  def kept(self, tree):
    """Parameters, or a state made of them, as between programs."""
    return self._place(tree, self.shardings(tree))

  def gathered(self, tree):
    """Parameters as a program uses them."""
    return self._place(tree, self.shardings(tree, whole='data'))

  def rows(self, tree):
    """Leaves [rows, ...], split over the axes that divide the rows."""
    mesh = self.mesh
    if mesh is None:
      return tree
    most = self.data * math.prod(mesh.shape[name] for name in self.also)

    def place(x):
      if x.ndim and x.shape[0] % most == 0:
        return rows(mesh, *self.also)
      split = x.ndim and x.shape[0] % self.data == 0
      return rows(mesh) if split else replicated(mesh)

    return self._place(tree, jax.tree.map(place, tree))

  def sampling(self) -> Layout:
    """Where rows live that are sampled, a token of all of them at a time.

    What splits the tokens of rows that are learned from splits these rows.
    """
    if self.mesh is None or 'context' not in self.mesh.shape:
      return self
    return dataclasses.replace(self, also=('context',))

  def everywhere(self, tree):
    """Whole on every device, and so readable by every process."""
    return self._place(tree, self.mesh and replicated(self.mesh))

  def abstract(self, tree, *, whole: str | None = None):
    """Shapes of arrays that live as `shardings` says."""
    if self.mesh is None:
      return tree
    return jax.tree.map(
      lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
      tree,
      self.shardings(tree, whole=whole),
    )

  def shardings(self, tree, *, whole: str | None = None):
    """The sharding of every leaf; None without a mesh.

    A leaf whose path ends as that of a parameter is split as the parameter
    is, which covers moments of the optimiser and copies in the reference.
    """
    mesh = self.mesh
    if mesh is None:
      return None

    def place(path, leaf):
      names = tuple(_name(key) for key in path)
      ends = (names[i:] for i in range(len(names)))
      axes = next((self.axes[end] for end in ends if end in self.axes), ())
      if len(axes) != len(leaf.shape):
        return replicated(mesh)
      return NamedSharding(mesh, spec(axes, leaf.shape, mesh, whole=whole))

    return jax.tree_util.tree_map_with_path(place, tree)

  def _place(self, tree, shardings):
    if self.mesh is None:
      return tree
    return jax.lax.with_sharding_constraint(tree, shardings)


# One device.
ALONE = Layout()


def layout(
  mesh: Mesh, axes: Mapping[tuple[str, ...], tuple[str | None, ...]], params
) -> Layout:
  """The layout of a model's parameters; that of one device for a mesh of one.

  Args:
    axes: logical axes by path. params: nested dicts, of which all are placed.

  Raises:
    ValueError: parameters without logical axes, or with one that `RULES` does
      not cover; all are listed.
  """
  paths = traverse_util.flatten_dict(params)
  bare = [
    '.'.join(path)
    for path in paths
    if path not in axes or not RULES.keys() >= {*axes[path]}
  ]
  if bare:
    raise ValueError(
      f'no sharding rule covers {", ".join(bare)}; give their logical axes in '
      f'the table of their model, out of {sorted(filter(None, RULES))}'
    )
  # One device stays unplaced, as the programs' results are: a sharding, even
  # of one device, would make the second iteration compile everything again.
  return Layout(mesh, axes) if mesh.size > 1 else ALONE


def _name(key: Any) -> str:
  """The word in a path of `jax.tree_util`: a key, a field or an index."""
  return str(getattr(key, 'key', getattr(key, 'name', getattr(key, 'idx', ''))))
