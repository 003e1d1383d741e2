"""Rows put beside each other, and columns put elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxrl_llm.plans import given
from jaxrl_llm.types import Array, Prompts, PyTree, Rollouts


def together(prompts: int, *parts: PyTree) -> PyTree:
  """The rows of each prompt, those of the first part before the next one's.

  Args:
    parts: each with as many rows for every one of the `prompts`, adjacent.
  """

  def joint(*arrays):
    split = [x.reshape(prompts, -1, *x.shape[1:]) for x in arrays]
    both = jnp.concatenate(split, axis=1)
    return both.reshape(-1, *both.shape[2:])

  return jax.tree.map(joint, *parts)


def beside(prompts: int, *parts: Rollouts, **marks: Sequence[bool]):
  """The same of rollouts, with extras bool[N] that tell the parts apart.

  Args:
    marks: by the name of the extra, its value in the rows of each part.
  """
  marked = [
    part.with_extras(
      **{name: jnp.full_like(part.valid, marks[name][i]) for name in marks}
    )
    for i, part in enumerate(parts)
  ]
  return together(prompts, *marked)


def repeated(rollouts: Rollouts, times: int) -> Rollouts:
  """Every row `times` times, copies adjacent."""
  return jax.tree.map(lambda x: jnp.repeat(x, times, axis=0), rollouts)


@jax.jit
def picked(first: PyTree, behind: PyTree, index: Array) -> PyTree:
  """Rows by index into some and into others behind them."""

  def pick(a, b):
    return jnp.concatenate([a, b])[index]

  return jax.tree.map(pick, first, behind)


def asked(rollouts: Rollouts, samples: int) -> Prompts:
  """The prompt of each group of `samples` rows."""
  return Prompts(
    tokens=rollouts.content.prompt[::samples],
    mask=rollouts.content.prompt_mask[::samples],
    task=rollouts.task[::samples],
    domain=rollouts.domain[::samples],
  )


def moved(rollouts: Rollouts, source: Array) -> Rollouts:
  """The responses, each column from another one.

  Args:
    rollouts: N rows of T columns.
    source: i32[N, S], the columns; outside of [0, T) there is nothing.

  Returns:
    N rows of S columns.
  """
  columns = rollouts.content.response.shape[1]
  there = (source >= 0) & (source < columns)
  place = jnp.clip(source, 0, columns - 1)

  def taken(x, empty):
    tail = (1,) * (x.ndim - 2)
    x = jnp.take_along_axis(x, place.reshape(place.shape + tail), axis=1)
    return jnp.where(there.reshape(there.shape + tail), x, empty)

  extras = {
    name: taken(rollouts.extras[name], empty)
    for name, empty in given.EMPTY.items()
    if name in rollouts.extras
  }
  response = taken(rollouts.content.response, 0)
  return rollouts.replace(
    content=rollouts.content.replace(response=response),
    response_mask=taken(rollouts.response_mask, False),
    action_mask=taken(rollouts.action_mask, False),
    logp=taken(rollouts.logp, 0.0),
    paid=taken(rollouts.paid, 0.0),
  ).with_extras(**extras)
