"""Prefix caching: what was read for one answer stays for the next.

    cache = PrefixCache(sampler, params, slots=16, columns=640, size=8)
    more  = cache.write(contexts, keys, sampling)

A conversation comes back with a little more at its end. Of the context that it
begins with, the keys, values and states are still there, and only what is new
is read: the last answer, and what was said to it.

A context is read in blocks that begin at multiples of their width, and what is
kept ends with a whole one. What decoding an answer left is thrown away, since
reading the same tokens rounds otherwise. So what is kept is, bit for bit, what
reading from the start would make: it is found by its tokens alone, whoever
asked, and neither a hit nor a loss changes an answer.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.policies.language import held as held_lib
from jaxrl_llm.policies.language.held import Held, Rows
from jaxrl_llm.policies.language.sampler import Sampler
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.types import Array, PyTree, Rollouts

# Tokens that are read at once.
BLOCK = 32


class PrefixCache:
  """Draws answers to contexts, of which it keeps those used last.

  Attributes:
    read: tokens that were read so far, of how many `asked`.

  Args:
    sampler: whose `max_tokens` is the budget of an answer.
    params: of the decoder, for as long as this lives.
    slots: contexts that are kept, at least `size`.
    columns: tokens of a context with its answer. Later ones of an answer are
      without meaning.
    size: answers drawn at once; fewer cost the same.
    place: f(arrays) -> the same where rows live.

  Raises:
    ValueError: fewer slots than answers at once.
  """

  def __init__(
    self,
    sampler: Sampler,
    params: PyTree,
    *,
    slots: int,
    columns: int,
    size: int,
    place: Callable[[Any], Any] = lambda rows: rows,
  ):
    if slots < size:
      raise ValueError(
        f'{slots} slots do not hold the contexts of {size} answers that are '
        f'drawn at once; give at least {size}'
      )
    self._sampler = dataclasses.replace(sampler, slots=0, widths=1)
    self._params, self._size, self._place = params, size, place
    empty = held_lib.vacant(self._sampler, slots, columns)
    self._rows, self._nothing = place(empty.rows), empty._replace(rows=())
    self._kept: list[tuple[int, ...]] = [()] * slots
    self._used, self._clock = [0] * slots, 0
    self.read = self.asked = 0

  def write(
    self, contexts: Sequence[Sequence[int]], keys: Array, sampling: Sampling
  ) -> Rollouts:
    """An answer behind each context.

    Args:
      contexts: up to `size` of them, each of at least one token.
      keys: of their answers, see `sampler.row_keys`, `size` of them.
      sampling: traced.

    Returns:
      Rollouts of `size` rows without prompts, the first of them the answers.
    """
    asked = [tuple(ids) for ids in contexts]
    whole = [ids[: len(ids) // BLOCK * BLOCK] for ids in asked]
    sources = [self._nearest(ids) for ids in whole]
    targets = self._targets(whole, sources)
    length = [len(self._kept[at]) if at >= 0 else 0 for at in sources]
    self.asked += sum(map(len, asked))
    self.read += sum(map(len, asked)) - sum(length)
    held = self._nothing._replace(
      rows=_taken(self._rows, self._column(sources), self._column(length))
    )
    held = self._told(held, whole, length)
    # Beyond the last slot: of no row.
    self._rows = _put(
      self._rows, held.rows, self._column(targets, len(self._kept))
    )
    for ids, at in zip(whole, targets):
      if at < len(self._kept):
        self._kept[at], self._used[at] = ids, self._clock
    held = self._told(held, asked, list(map(len, whole)))
    going = self._place(jnp.arange(self._size) < len(asked))
    return held_lib.write(
      self._sampler, self._params, held, keys, sampling, going
    )[0]

  def _told(self, held: Held, contexts, begun: Sequence[int]) -> Held:
    """Reads contexts from where they are read to, in blocks."""
    place = self._place
    for start in range(0, max(map(len, contexts)), BLOCK):
      tokens = np.zeros((self._size, BLOCK), np.int32)
      count = np.zeros(self._size, np.int32)
      for row, (ids, first) in enumerate(zip(contexts, begun)):
        new = ids[first + start : first + start + BLOCK]
        tokens[row, : len(new)], count[row] = new, len(new)
      if not count.any():
        break
      held = held_lib.read(
        self._sampler,
        self._params,
        held,
        place(jnp.asarray(tokens)),
        place(jnp.asarray(count)),
      )
    return held

  def _nearest(self, ids: tuple[int, ...]) -> int:
    """The slot that holds most of what a context begins with, -1 for none."""
    found = [
      (len(kept), -at)
      for at, kept in enumerate(self._kept)
      if kept and ids[: len(kept)] == kept
    ]
    return -max(found)[1] if found else -1

  def _targets(self, contexts, sources: Sequence[int]) -> list[int]:
    """Where contexts are kept from now on; beyond the last slot: nowhere.

    In the place of what they go on from, as a conversation rarely parts; else
    where what is there was not used for longest.
    """
    self._clock += 1
    slots = range(len(self._kept))
    targets: list[int] = []
    for row, (ids, at) in enumerate(zip(contexts, sources)):
      if not ids or ids in contexts[:row]:
        at = len(slots)
      elif at < 0 or at in targets:
        free = {*slots} - {*targets, *sources} or {*slots} - {*targets}
        at = min(free, key=lambda each: (self._used[each], each))
      targets.append(at)
    return targets

  def _column(self, values: Sequence[int], fill: int = 0) -> Array:
    """Numbers of rows, and of those that only fill up."""
    more = [fill] * (self._size - len(values))
    return self._place(jnp.asarray([*values, *more], jnp.int32))


@jax.jit
def _taken(rows: Rows, index: Array, length: Array) -> Rows:
  """Some rows, of whose tokens the first `length` count; [size]."""
  found = jax.tree.map(lambda x: x[index], rows)
  return found._replace(length=length)


@functools.partial(jax.jit, donate_argnums=0)
def _put(rows: Rows, new: Rows, index: Array) -> Rows:
  """The rows with new ones at some places; others are dropped."""
  return jax.tree.map(lambda x, y: x.at[index].set(y, mode='drop'), rows, new)
