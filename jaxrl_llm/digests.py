"""What is read of whole distributions, and made where their logits are.

    fn(log_probs [N, C, V], seen) -> [N, C, D]

The log-probs of N rows of T tokens over a vocabulary are N T V numbers, which
are 80 GB at 256 x 512 x 152,000. Most parts that read them need a few numbers
of each. A digest is such a part's function: a scorer applies it to C positions
of all rows that it has at a time, forward and backward, and what remains is
D numbers a token. It is a name like those of `reads`, and is asked for and
handed on in the same way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_llm.types import Array, Rollouts


class Seen(NamedTuple):
  """What a digest knows of some positions of some rows.

  Attributes:
    token: i32[N, C]. mask: bool[N, C], decisions that count.
    group: i32[N], ids within these rows. live: bool[N], rows with a decision
      that counts, here or elsewhere.
    candidates: i32[N, C, S], entries that distributions are compared on, -1
      none; None where the plan named no such.
  """

  token: Array
  mask: Array
  group: Array
  live: Array
  candidates: Array | None = None


def seen(rollouts: Rollouts, token: Array) -> Seen:
  """All positions of some rows, with the decisions that were made there."""
  mask, named = rollouts.loss_mask, rollouts.extras.get('candidates')
  group = local(rollouts.group)
  return Seen(token, mask, group, jnp.any(mask, axis=1), named)


class Digest(str):
  """The name of a digest: its function and numbers, written out.

  Attributes:
    fn: see above.
    compares: whether it reads other rows of a group, which are then given
      together.
    when: 'now', of the policy that learns, or 'old'.
  """

  fn: Callable[..., Array]
  compares: bool
  when: str
  _bare: Callable[..., Array]
  _given: dict[str, Any]

  def __new__(cls, fn, *, compares=False, when='now', **values):
    listed = ', '.join(f'{name}={value!r}' for name, value in values.items())
    name = f'{fn.__name__}({listed})'
    self = super().__new__(cls, f'old_{name}' if when == 'old' else name)
    self.fn = functools.partial(fn, **values) if values else fn
    self.compares, self.when = compares, when
    self._given = {**values, 'compares': compares, 'when': when}
    self._bare = fn
    return self

  def __getnewargs_ex__(self):
    return (self._bare,), self._given

  @property
  def now(self) -> Digest:
    """That of the policy that learns."""
    return Digest(self._bare, **{**self._given, 'when': 'now'})

  @property
  def old(self) -> Digest:
    """That of the policy at the start of the iteration."""
    return Digest(self._bare, **{**self._given, 'when': 'old'})


def among(names: Iterable[str]) -> list[Digest]:
  """The digests among some names, in one order."""
  return sorted(name for name in names if isinstance(name, Digest))


def made(
  needs: Iterable[str], log_probs: Array, seen: Seen
) -> dict[str, Array]:
  """What the digests among `needs` make of f32[N, C, V], 0 off the mask."""
  return {
    digest: jnp.where(seen.mask[..., None], digest.fn(log_probs, seen), 0.0)
    for digest in among(needs)
  }


def local(group: Array) -> Array:
  """Group ids of adjacent rows, numbered from 0 within the rows at hand.

  A microbatch carries the ids of the whole iteration, which are larger than
  its row count, the size that grouped reductions reserve.
  """
  starts = jnp.concatenate([jnp.zeros(1, bool), group[1:] != group[:-1]])
  return jnp.cumsum(starts, dtype=jnp.int32)


def at(log_probs: Array, token: Array) -> Array:
  """f32[N, C]: the log-probs of one entry each."""
  return jnp.take_along_axis(log_probs, token[..., None], axis=-1)[..., 0]


def highest(log_probs: Array, seen: Seen, *, size: int) -> Array:
  """The log-probs of the `size` most probable entries, then the entries.

  Entries are written as numbers, which float32 has up to 2^24. With fewer
  entries than `size` the rest are -1.
  """
  del seen
  found, entries = jax.lax.top_k(log_probs, min(size, log_probs.shape[-1]))
  more = [(0, 0)] * (log_probs.ndim - 1) + [(0, size - found.shape[-1])]
  entries = jnp.pad(entries.astype(found.dtype), more, constant_values=-1)
  return jnp.concatenate([jnp.pad(found, more), entries], axis=-1)


def of_candidates(log_probs: Array, seen: Seen) -> Array:
  """The log-probs of the candidates, 0 where there is none."""
  named = seen.candidates
  if named is None:
    raise ValueError(
      'the plan names no candidates to look up; note those of the policy or of '
      'a teacher, see jaxrl_llm.notes.passes'
    )
  found = jnp.take_along_axis(log_probs, jnp.maximum(named, 0), axis=-1)
  return jnp.where(named >= 0, found, 0.0)


OF_CANDIDATES = Digest(of_candidates)
