"""Rows in pieces: taken apart, worked through one by one, put together.

A microbatch is a piece of the rows of an optimizer step. What objectives sum
over rows adds up over pieces and over devices; what ends in `_max` is the
largest of them.
"""

import jax
import jax.numpy as jnp


def split(tree, pieces, devices=1):
  """[rows, ...] -> [pieces, rows / pieces, ...].

  Each piece takes a part of the rows of every device, so none has to move.
  """

  def cut(x):
    x = x.reshape(devices, pieces, -1, *x.shape[1:]).swapaxes(0, 1)
    return x.reshape(pieces, -1, *x.shape[3:])

  return jax.tree.map(cut, tree)


def joined(tree, devices=1):
  """The inverse of `split`."""

  def join(x):
    x = x.reshape(x.shape[0], devices, -1, *x.shape[2:]).swapaxes(0, 1)
    return x.reshape(-1, *x.shape[3:])

  return jax.tree.map(join, tree)


def accumulated(of_piece, pieces):
  """Gradients and metrics of all pieces, one after the other."""

  def add(total, piece):
    return added(total, of_piece(piece)), None

  zeros = nothing(of_piece, jax.tree.map(lambda x: x[0], pieces))
  return jax.lax.scan(add, zeros, pieces)[0]


def nothing(of_piece, *arguments):
  """What no piece at all comes to."""
  shapes = jax.eval_shape(of_piece, *arguments)
  return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def added(total, new):
  """Gradients and metrics of some pieces, and those of one more."""
  grads = jax.tree.map(jnp.add, total[0], new[0])
  both = jax.tree.map(lambda *pair: jnp.stack(pair), total[1], new[1])
  return grads, merged(both, jnp.sum)


def summed(parts):
  """Gradients and metrics over the leading axis: sums, but for maxima."""
  grads, metrics = parts
  grads = jax.tree.map(lambda x: jnp.sum(x, axis=0), grads)
  return grads, merged(metrics, jnp.sum)


def merged(metrics, reduce):
  """Metrics over their leading axis, by `reduce` or, where `_max`, the most."""
  return {
    name: (jnp.max if name.endswith('_max') else reduce)(x, axis=0)
    for name, x in metrics.items()
  }
