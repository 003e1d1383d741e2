"""Optimizer steps that write where the parameters are, block by block.

A step whose result is not finite must change nothing, and that is known only
once all of it has been computed. Kept until then, new parameters and moments
are copies of three of the largest arrays of a run, and a compiler of a CPU adds
one for every sum over them. Where each number moves by itself, blocks are
computed twice instead: once to look, once to write.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Array = jax.Array

# Numbers of a block: what the caches of a CPU hold of all that a step reads;
# elsewhere a block is rather work for the whole device.
AT_ONCE = {'cpu': 2**18}
ELSEWHERE = 2**28


class Separable(NamedTuple):
  """An optimizer that moves each number by itself, but for one global clip.

  Attributes:
    init, update: as optax has them, of whole trees.
    direction: what follows the clipping, whose update of a number depends on
      that number, its gradient, its moments and counts alone.
    clip_norm: the largest norm of the gradient.
  """

  init: optax.TransformInitFn
  update: optax.TransformUpdateFn
  direction: optax.GradientTransformation
  clip_norm: float


def separable(
  direction: optax.GradientTransformation, clip_norm: float
) -> Separable:
  """Clipping by the global norm, then a direction that is of each number."""
  whole = optax.chain(optax.clip_by_global_norm(clip_norm), direction)
  return Separable(whole.init, whole.update, direction, clip_norm)


def pays(params) -> bool:
  """Whether a leaf of the parameters is worth several blocks."""
  return any(_in_blocks(x) for x in jax.tree.leaves(params))


def step(tx: Separable, params, opt, grads, healthy: Array):
  """One step, or none: then all is as it was, to the last bit.

  Args:
    params, opt: which are written to, where the program may have them.
    healthy: bool[], whether there may be a step.

  Returns:
    Parameters, the optimizer's state, and metrics: the gradient's norms, and
    `bad_steps`, 1 where the gradient or new parameters are not finite.
  """
  square, total = _sums(grads)
  norm = jnp.sqrt(square)
  scale = jnp.where(norm < tx.clip_norm, 1.0, tx.clip_norm / norm)
  clip, held = opt
  leaves = _Leaves.of(tx.direction, params, held)
  own = [leaves.of_leaf(i, x, held) for i, x in enumerate(leaves.params)]
  slopes = jax.tree.leaves(grads)

  def moved(number, slope, old):
    return leaves.moved(number, scale * slope, old)

  def broken(number, slope, old):
    new, *_ = moved(number, slope, old)
    return jnp.sum(~jnp.isfinite(new) * 1.0)

  bad = sum(
    _over(lambda *x, n=n: broken(n, *x), slope, old)
    for n, (slope, old) in enumerate(zip(slopes, own))
  )
  finite = healthy & jnp.isfinite(norm) & (bad == 0)

  def written(number, slope, old):
    # Not a choice between arrays: what a branch returns is computed before
    # any of it is written, so that no block reads what another has changed.
    return jax.lax.cond(finite, lambda: moved(number, slope, old), lambda: old)

  new = [
    _rewritten(lambda *x, n=n: written(n, *x), slope, old)
    for n, (slope, old) in enumerate(zip(slopes, own))
  ]
  counts = jax.tree.map(
    lambda a, b: jnp.where(finite, a, b), leaves.counted(), leaves.counts
  )
  metrics = {
    'grad/norm': norm,
    'grad/norm_l1': total,
    'bad_steps': 1.0 - finite,
  }
  params, held = leaves.joined(new, counts)
  return params, (clip, held), metrics


class _Leaves(NamedTuple):
  """Parameters and the state of a direction, apart by parameter.

  Attributes:
    structure: of the parameters. outer: of the state, where trees of that
      structure, the moments, are leaves. is_moment: by leaf of `outer`.
    params: their leaves. counts: leaves of `outer` that are no moments.
  """

  direction: optax.GradientTransformation
  structure: jax.tree_util.PyTreeDef
  outer: jax.tree_util.PyTreeDef
  is_moment: tuple[bool, ...]
  params: list[Array]
  counts: list[Array]

  @classmethod
  def of(cls, direction, params, held):
    leaves, structure = jax.tree.flatten(params)
    shapes = [x.shape for x in leaves]

    def same(tree):
      other: Any = jax.tree.structure(tree)
      alike = other == structure
      return alike and [jnp.shape(x) for x in jax.tree.leaves(tree)] == shapes

    nodes, outer = jax.tree.flatten(held, is_leaf=same)
    is_moment = tuple(map(same, nodes))
    counts = [x for x, moment in zip(nodes, is_moment) if not moment]
    return cls(direction, structure, outer, is_moment, leaves, counts)

  def of_leaf(self, number, param, held) -> tuple[Array, ...]:
    """A parameter and its moments."""
    moments = self._moments(held)
    return (param, *(jax.tree.leaves(each)[number] for each in moments))

  def moved(self, number, slope, old) -> tuple[Array, ...]:
    """A parameter, or a block of it, and its moments, after a step."""
    param, *moments = old
    updates, held = self._updated(number, slope, param, moments)
    new = optax.apply_updates(param, *jax.tree.leaves(updates))
    kept = [jax.tree.leaves(each) for each in self._moments(held)]
    return (new, *(each for (each,) in kept))

  def counted(self) -> list[Array]:
    """The counts after a step."""
    absent = [None] * sum(self.is_moment)
    _, held = self._updated(-1, None, None, absent)
    return [
      x for x, moment in zip(self._nodes(held), self.is_moment) if not moment
    ]

  def joined(self, new, counts):
    """Parameters and the state out of what is of each parameter."""
    params, *moments = map(self.structure.unflatten, zip(*new))
    return params, self._state(moments, counts)

  def _updated(self, number, slope, param, moments):
    slope, param, *moments = (
      self._alone(number, x) for x in (slope, param, *moments)
    )
    held = self._state(moments, self.counts)
    return self.direction.update(slope, held, param)

  def _alone(self, number, x):
    """A tree of one leaf, with holes for the others."""
    holes = [optax.MaskedNode()] * self.structure.num_leaves
    if number >= 0:
      holes[number] = x
    return self.structure.unflatten(holes)

  def _state(self, moments, counts):
    moments, counts = iter(moments), iter(counts)
    nodes = [next(moments if moment else counts) for moment in self.is_moment]
    return self.outer.unflatten(nodes)

  def _nodes(self, held):
    return self.outer.flatten_up_to(held)

  def _moments(self, held):
    return [x for x, moment in zip(self._nodes(held), self.is_moment) if moment]


def _sums(grads):
  """The sums of squares and of sizes of all numbers."""
  sums = [
    _over(lambda x, _: jnp.stack([jnp.sum(x * x), jnp.sum(jnp.abs(x))]), x, ())
    for x in jax.tree.leaves(grads)
  ]
  return sum(sums)


def _over(f, slope, old):
  """The sum of f(block, blocks) over the blocks of some arrays."""
  count, rows, rest = _blocks(slope)
  total = f(_cut(slope, count * rows, rest), _cut(old, count * rows, rest))
  if not count:
    return total

  def add(i, total):
    at = i * rows
    return total + f(_cut(slope, at, rows), _cut(old, at, rows))

  return jax.lax.fori_loop(0, count, add, total)


def _rewritten(f, slope, old):
  """`old` with every block in place of it, f(block, blocks)."""
  count, rows, rest = _blocks(slope)

  def write(at, size, old):
    new = f(_cut(slope, at, size), _cut(old, at, size))
    return jax.tree.map(
      lambda x, y: jax.lax.dynamic_update_slice_in_dim(x, y, at, 0), old, new
    )

  if not count:
    return f(slope, old)
  old = jax.lax.fori_loop(0, count, lambda i, x: write(i * rows, rows, x), old)
  return write(count * rows, rest, old) if rest else old


def _blocks(x):
  """Whole blocks of an array, rows of one, and rows that are left over."""
  if not _in_blocks(x):
    return 0, 0, len(x) if x.ndim else 0
  rows = max(_at_once() * len(x) // x.size, 1)
  return len(x) // rows, rows, len(x) % rows


def _cut(tree, start, rows):
  return jax.tree.map(
    lambda x: jax.lax.dynamic_slice_in_dim(x, start, rows) if x.ndim else x,
    tree,
  )


def _in_blocks(x) -> bool:
  return x.ndim > 0 and len(x) > 1 and x.size > 2 * _at_once()


def _at_once() -> int:
  return AT_ONCE.get(jax.default_backend(), ELSEWHERE)
