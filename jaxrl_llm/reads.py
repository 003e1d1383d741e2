"""How a part of a method says what it reads beside its arguments: one mark.

    @reads('old_logp', 'ref_logp')

A stage or a combiner finds what it reads in `rollouts.extras`; a part of an
objective (a surrogate, gate, score, cost or loss of rows) gets it by keyword.
A name says whose it is, everywhere:

    logp, values, ...           of the policy that is being differentiated
    old_logp, old_values, ...   of the policy at the start of the iteration
    ref_logp, teacher_logp, sampler_logp   of who they name

`Recipe.needs` unites what all of its parts read, and nothing else is computed.
What a plan of one's own adds to the rows is declared with `declare`. What is
made of whole distributions is a `digests.Digest` in the place of a name. All
names are rows of the table in `readable`.

python -m jaxrl_llm.reads     writes docs/reads.md here
"""

from __future__ import annotations

import functools
import inspect
import pathlib
from collections.abc import Callable, Iterable, Mapping

import jax.numpy as jnp

from jaxrl_llm import digests, readable, spelling
from jaxrl_llm.readable import Draw, Read
from jaxrl_llm.types import Array, Batch, Stats

PAGE = pathlib.Path('docs') / 'reads.md'
_TABLE = readable.TABLE


def reads(*names: str) -> Callable:
  """Marks a function, a class of stages or a partial as reading more.

  Adds to what another mark says. Who reads `group` compares the rows of a
  group, who reads `share` averages over the whole step: a microbatch then cuts
  neither.

  Raises:
    ValueError: a name that is not in the table.

  Example:
    >>> @reads('old_entropy')
    ... def sure(rewards, rollouts):
    ...   return rewards - rollouts.extras['old_entropy'].sum(axis=1)
    >>> sorted(reads_of(sure))
    ['old_entropy']
  """
  for name in names:
    find(name)

  def mark(part):
    before, more = inspect.getattr_static(part, 'reads', None), {*names}
    if isinstance(before, property):  # Of stages that read what they hold does.
      part.reads = property(lambda stage: before.__get__(stage) | more)
    else:
      part.reads = reads_of(part) | more
    return part

  return mark


def reads_of(part) -> frozenset[str]:
  """What a function, a partial of one, a stage or any other part reads."""
  while isinstance(part, functools.partial) and not hasattr(part, 'reads'):
    part = part.func
  return frozenset(getattr(part, 'reads', ()))


def united(parts: Iterable) -> frozenset[str]:
  """What any of the parts reads."""
  return frozenset().union(*map(reads_of, parts))


def given(part: Callable, stats: Stats, batch: Batch) -> dict[str, Array]:
  """The keywords of a part of an objective."""
  return {
    name: _array(name, stats, batch)
    for name in sorted(reads_of(part))
    if find(name).shape
  }


def chosen(part: Callable, arrays: Mapping[str, Array]) -> dict[str, Array]:
  """The keywords of a part, of those that its whole was given."""
  return {n: arrays[n] for n in reads_of(part) if find(n).shape}


def find(name: str) -> Read:
  """The row of the table.

  Raises:
    ValueError: there is none; it says how to declare one.
  """
  if isinstance(name, digests.Digest):
    return Read(
      'f32[N, T, D]',
      'pass' if name.when == 'old' else 'policy',
      'Made of whole rows of log-probs.',
      name.when,
    )
  if name not in _TABLE:
    near = spelling.nearest(name, _TABLE)
    hint = f'did you mean {near!r}? ' if near else ''
    raise ValueError(
      f'{name!r} is not in the table of what can be read; {hint}What a plan of '
      f"yours adds is declared by reads.declare({name!r}, 'f32[N]', 'What it "
      "is.')"
    )
  return _TABLE[name]


def names() -> tuple[str, ...]:
  """All that can be read."""
  return tuple(_TABLE)


# Who gives what not every iteration has.
ASKED = ('policy', 'pass', 'sampler', 'plan')


def provided(wanted: Iterable[str], *by: str) -> frozenset[str]:
  """Those of the names that one of these gives."""
  return frozenset(name for name in wanted if find(name).by in by)


def statistics(wanted: Iterable[str], *when: str) -> frozenset[str]:
  """The fields of `Stats`, beside log-probs, behind some names.

  Args:
    when: 'now' or 'old'; by default either.
  """
  when = when or ('now', 'old')
  fields = {field(n) for n in wanted if find(n).when in when}
  return frozenset(fields - {'logp', 'last_value'})


def field(name: str) -> str:
  """What a policy says to give what is read now or of the old one."""
  if isinstance(name, digests.Digest):
    return name.now
  return name.removeprefix('old_')


def declare(
  name: str, shape: str, says: str, *, draw: Draw | None = None
) -> None:
  """Adds what a plan of one's own provides, under `rollouts.extras[name]`.

  Args:
    shape: such as 'f32[N]' or 'bool[N, T]'. An axis T has one entry for each
      decision, and is cut where rows are learned in narrow programs.
    says: one sentence. draw: an example's numbers, see `Read`; by default
      normal, one of 0 to 2, or a coin.

  Raises:
    ValueError: a shape that does not begin with N, or a name that is taken.
  """
  read = readable.of_plan(shape, says, draw)
  if read.axes[:1] != ('N',):
    raise ValueError(
      f'{name!r} of shape {shape!r} does not begin with the rows; write it '
      "like 'f32[N]' or 'bool[N, T]'"
    )
  if name in _TABLE and _TABLE[name][:3] != read[:3]:
    raise ValueError(
      f'{name!r} is declared already, as {_TABLE[name].shape}: '
      f'{_TABLE[name].says} Take another name'
    )
  _TABLE[name] = read


def _array(name: str, stats: Stats, batch: Batch) -> Array:
  read = find(name)
  if read.get:
    return read.get(stats, batch)
  places = {
    'credit': batch.credit,
    'rows': batch.rollouts,
    'batch': batch,
  }
  if read.by == 'policy':
    return stats.said(name)
  if read.by in places:
    return getattr(places[read.by], name)
  return batch.rollouts.extras[name]


def name_of(part: Callable) -> str:
  """The name of a function, of that of a partial, or of an object's class.

  Example:
    >>> name_of(functools.partial(max, 1))
    'max'
  """
  while isinstance(part, functools.partial):
    part = part.func
  return getattr(part, '__qualname__', type(part).__name__)


def of_shape(part: Callable, value: Array, shape: tuple[int, ...]) -> Array:
  """What a part returned, which must not be broadcast.

  A scalar, or one number a row where tokens have one each, would be counted as
  often as it is repeated.

  Raises:
    ValueError: another shape.
  """
  found = jnp.shape(value)
  if found != shape:
    each = 'token' if len(shape) == 2 else 'row'
    raise ValueError(
      f'{name_of(part)} returned an array of shape {list(found)}, and it must '
      f'return one number for each {each}, of shape {list(shape)}; sums and '
      'means are left to the aggregator'
    )
  return value


def page() -> str:
  """`docs/reads.md`."""
  rows = [
    f'| `{name}` | `{read.shape or "-"}` | {read.when} | {read.by} | '
    f'{read.says.replace("|", chr(92) + "|")} |'
    for name, read in _TABLE.items()
  ]
  lines = [
    '# What can be read',
    '',
    'One row a name of `@reads(...)`; written by `python -m jaxrl_llm.reads`.',
    'N rows, T decisions, P prompt tokens, V vocabulary, K scores, G rows of',
    'a group, C constraints, I items of a list, L levels of a tree, S tokens',
    'kept or named. What is read now is of the policy that learns, with its',
    'slope; what is old, of that at the start of the iteration. A stage finds',
    'a pass, and what the plan or the sampler gives, in `rollouts.extras`; a',
    'part of an objective gets whatever it reads by keyword.',
    '',
    '| name | shape | whose | given by | what it is |',
    '|---|---|---|---|---|',
    *rows,
    '',
  ]
  return '\n'.join(lines)


def main() -> None:
  PAGE.parent.mkdir(exist_ok=True)
  PAGE.write_text(page(), encoding='utf-8')
  print(f'wrote {len(_TABLE)} names to {PAGE.resolve()}')


if __name__ == '__main__':
  main()
