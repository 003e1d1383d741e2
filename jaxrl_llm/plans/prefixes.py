"""Responses as prefixes: to go on from, to write into, to branch at.

A prefix moved into the left-padded prompt is sampled from by the ordinary
sampler, at one shape whatever the cuts, and what comes of it is put behind the
prefix again. Rows keep their T columns throughout.

    prompts = as_prompts(rollouts, cut)
    more    = tools.generate(prompts, key, 1)
    rows    = joined(rollouts, cut, more)

which is `continued(tools, rollouts, cut, key)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.types import Array, Prompts, PyTree, Rollouts, Tokens

# What the sampler says of every token, and its value where there is none.
EMPTY = {'log_mass': 0.0, 'support': -1, 'routes': -1}


@jax.jit
def as_prompts(rollouts: Rollouts, cut: Array) -> Prompts:
  """Prompts that end with the first `cut` tokens of each response.

  Args:
    rollouts: N rows of P + T columns.
    cut: i32[N] in [0, length].

  Returns:
    N prompts of P + T columns, left padded without gaps between prompt and
    prefix.
  """
  width = rollouts.content.response.shape[1]
  chex.assert_shape(cut, rollouts.valid.shape)
  tokens = jnp.concatenate(
    [rollouts.content.prompt, rollouts.content.response], axis=1
  )
  mask = jnp.concatenate(
    [rollouts.content.prompt_mask, rollouts.response_mask], axis=1
  )
  source = jnp.arange(tokens.shape[1]) - (width - cut)[:, None]
  place = jnp.maximum(source, 0)
  tokens = jnp.take_along_axis(tokens, place, axis=1)
  mask = jnp.take_along_axis(mask, place, axis=1) & (source >= 0)
  return Prompts(
    tokens=jnp.where(mask, tokens, 0),
    mask=mask,
    task=rollouts.task,
    domain=rollouts.domain,
  )


@jax.jit
def joined(
  rollouts: Rollouts, cut: Array, more: Rollouts, going: Array | None = None
) -> Rollouts:
  """The first `cut` tokens of each response, then those of `more`.

  Args:
    rollouts: N rows. cut: i32[N] in [0, length].
    more: N rows, in the same order, of any number of columns.
    going: bool[N]; others stay as they are. None is all.

  Returns:
    N rows in the T columns of `rollouts`. What does not fit is lost, and the
    row then counts as truncated.
  """
  columns = rollouts.content.response.shape[1]
  going = jnp.ones_like(rollouts.valid) if going is None else going
  source = jnp.arange(columns) - cut[:, None]
  inside = (source >= 0) & (source < more.content.response.shape[1])
  place = jnp.clip(source, 0, more.content.response.shape[1] - 1)

  def splice(old, new, empty):
    tail = (1,) * (old.ndim - 2)
    new = jnp.take_along_axis(new, place.reshape(place.shape + tail), axis=1)
    new = jnp.where(inside.reshape(inside.shape + tail), new, empty)
    before = (source < 0) | ~going[:, None]
    return jnp.where(before.reshape(before.shape + tail), old, new)

  extras = dict(rollouts.extras)
  for name, empty in EMPTY.items():
    if name in more.extras:
      new = more.extras[name]
      none = jnp.full((*source.shape, *new.shape[2:]), empty, new.dtype)
      extras[name] = splice(extras.get(name, none), new, empty)
  late = more.truncated | (cut + more.length > columns)
  return rollouts.replace(
    content=rollouts.content.replace(
      response=splice(rollouts.content.response, more.content.response, 0)
    ),
    response_mask=splice(rollouts.response_mask, more.response_mask, False),
    action_mask=splice(rollouts.action_mask, more.action_mask, False),
    logp=splice(rollouts.logp, more.logp, 0.0),
    paid=splice(rollouts.paid, more.paid, 0.0),
    truncated=jnp.where(going, late, rollouts.truncated),
    extras=extras,
  )


def continued(
  tools,
  rollouts: Rollouts,
  cut: Array,
  key: Array,
  *,
  samples: int = 1,
  most: int = 0,
  going: Array | None = None,
) -> Rollouts:
  """The first `cut` tokens of each response, then what the policy writes.

  Args:
    rollouts: N rows. cut: i32[N] in [0, length]. `samples` adjacent rows have
      the same cut and the same tokens before it, which are read once for all
      of them.
    most: tokens that are written; 0 is the budget of the run.
    going: as of `joined`.

  Returns:
    N rows in the T columns of `rollouts`.
  """
  parents = jax.tree.map(lambda x: x[::samples], (rollouts, cut))
  more = tools.generate(as_prompts(*parents), key, samples, most=most)
  return joined(rollouts, cut, more, going)


def shortened(rollouts: Rollouts, cut: Array) -> Rollouts:
  """The first `cut` tokens of each response alone, i32[N]."""
  return joined(rollouts, cut, written(rollouts, [()] * len(rollouts.valid)))


def written(rollouts: Rollouts, ids: Sequence[Sequence[int]]) -> Rollouts:
  """Rows with the same prompts whose responses the policy did not choose.

  Args:
    rollouts: N rows of T columns.
    ids: the tokens of each response, N sequences of at most T.

  Returns:
    N rows of T columns, without actions.
  """
  response = np.zeros(rollouts.content.response.shape, np.int32)
  for row, tokens in enumerate(ids):
    response[row, : len(tokens)] = tokens
  length = np.array([len(tokens) for tokens in ids])
  mask = np.arange(response.shape[1]) < length[:, None]
  extras = {
    name: jnp.full_like(rollouts.extras[name], empty)
    for name, empty in EMPTY.items()
    if name in rollouts.extras
  }
  return rollouts.replace(
    content=rollouts.content.replace(response=jnp.asarray(response)),
    response_mask=jnp.asarray(mask),
    action_mask=jnp.zeros(mask.shape, bool),
    logp=jnp.zeros(mask.shape, jnp.float32),
    paid=jnp.zeros(mask.shape, jnp.float32),
    truncated=jnp.zeros(len(ids), bool),
  ).with_extras(**extras)


def inside(pieces: Sequence[str], start: int, stop: int) -> tuple[int, int]:
  """The tokens that lie whole within some characters of their text.

  Args:
    pieces: the text of every token. start, stop: characters [start, stop).

  Returns:
    The first of them, and the first after them.

  Example:
    >>> inside(['<a', '>b', 'c', 'd<', '/a>'], 3, 6)
    (2, 3)
  """
  ends = np.cumsum([len(piece) for piece in pieces])
  begins = ends - [len(piece) for piece in pieces]
  first = int(np.searchsorted(begins, start))
  return first, max(first, int(np.searchsorted(ends, stop, side='right')))


def blank(prompts: Prompts, samples: int, columns: int) -> Rollouts:
  """`samples` empty responses to each prompt, of T columns.

  `truncated` is True: nothing has ended them.
  """
  count = prompts.tokens.shape[0]

  def by_row(x):
    return jnp.repeat(jnp.asarray(x), samples, axis=0)

  shape = (count * samples, columns)
  off = jnp.zeros(shape, bool)
  return Rollouts(
    content=Tokens(
      prompt=by_row(prompts.tokens),
      prompt_mask=by_row(prompts.mask),
      response=jnp.zeros(shape, jnp.int32),
    ),
    response_mask=off,
    action_mask=off,
    logp=jnp.zeros(shape, jnp.float32),
    paid=jnp.zeros(shape, jnp.float32),
    group=by_row(jnp.arange(count, dtype=jnp.int32)),
    task=by_row(prompts.task),
    domain=by_row(prompts.domain),
    valid=jnp.ones(shape[0], bool),
    truncated=jnp.ones(shape[0], bool),
    extras=jax.tree.map(by_row, dict(prompts.extras)),
  )


def asked(rollouts: Rollouts, samples: int) -> Prompts:
  """The prompt of each group of `samples` rows."""
  return Prompts(
    tokens=rollouts.content.prompt[::samples],
    mask=rollouts.content.prompt_mask[::samples],
    task=rollouts.task[::samples],
    domain=rollouts.domain[::samples],
  )


def repeated(rollouts: Rollouts, times: int) -> Rollouts:
  """Every row `times` times, copies adjacent."""
  return jax.tree.map(lambda x: jnp.repeat(x, times, axis=0), rollouts)


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


@jax.jit
def picked(first: PyTree, behind: PyTree, index: Array) -> PyTree:
  """Rows by index into some and into others behind them."""

  def pick(a, b):
    return jnp.concatenate([a, b])[index]

  return jax.tree.map(pick, first, behind)
