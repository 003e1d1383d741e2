"""Meshes and where arrays live on them.

Two mesh axes: rows of a batch are split over `data`, and so are parameters
(FSDP); heads, MLP columns and the vocabulary are split over `model` (tensor
parallelism). Every parameter names its logical axes once, in the model's
table; `RULES` maps a logical axis to a mesh axis.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

RULES: Mapping[str | None, str | None] = {
  'layers': None,
  'vocab': 'model',
  'embed': 'data',
  'heads': 'model',
  'kv_heads': 'model',
  'head_dim': None,
  'mlp': 'model',
  None: None,
}


def make_mesh(data: int = -1, model: int = 1, devices=None) -> Mesh:
  """A ('data', 'model') mesh; -1 takes the rest of the devices.

  Raises:
    ValueError: the axes do not multiply to the number of devices.
  """
  devices = jax.devices() if devices is None else devices
  sizes = [data, model]
  if -1 in sizes:
    known = -int(np.prod(sizes))
    sizes[sizes.index(-1)] = max(len(devices) // known, 1)
  if sizes[0] * sizes[1] > len(devices):
    raise ValueError(
      f'mesh data={data}, model={model} needs {sizes[0] * sizes[1]} devices '
      f'and there are {len(devices)}; use -1 for the rest'
    )
  used = devices[: sizes[0] * sizes[1]]
  return jax.make_mesh(
    sizes,
    ('data', 'model'),
    axis_types=(AxisType.Auto, AxisType.Auto),
    devices=used,
  )


def spec(
  axes: tuple[str | None, ...], shape: tuple[int, ...], mesh: Mesh
) -> PartitionSpec:
  """The partition of an array with these logical axes.

  A dimension that its mesh axis does not divide is kept whole, as is a second
  dimension on the same mesh axis.

  Raises:
    KeyError: an axis that `RULES` does not cover.
  """
  taken: list[str | None] = []
  for name, size in zip(axes, shape, strict=True):
    if name not in RULES:
      raise KeyError(f'no sharding rule for axis {name!r}; add it to RULES')
    place = RULES[name]
    free = place is not None and place not in taken
    taken.append(place if free and size % mesh.shape[place] == 0 else None)
  return PartitionSpec(*taken)


def sharding(
  axes: tuple[str | None, ...], shape: tuple[int, ...], mesh: Mesh
) -> NamedSharding:
  """Where an array with these logical axes lives."""
  return NamedSharding(mesh, spec(axes, shape, mesh))


def rows(mesh: Mesh) -> NamedSharding:
  """Leading axis over `data`, the rest whole."""
  return NamedSharding(mesh, PartitionSpec('data'))


def replicated(mesh: Mesh) -> NamedSharding:
  """The whole array on every device."""
  return NamedSharding(mesh, PartitionSpec())


def constrain_rows(mesh: Mesh):
  """A function that splits the leading axis of every leaf over `data`."""
  if mesh.size == 1:
    return lambda tree: tree

  def constrain(tree):
    def place(x):
      split = x.ndim and x.shape[0] % mesh.shape['data'] == 0
      where = rows(mesh) if split else replicated(mesh)
      return jax.lax.with_sharding_constraint(x, where)

    return jax.tree.map(place, tree)

  return constrain
