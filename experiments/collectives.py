"""What a compiled program sends between devices, read from its text."""

from __future__ import annotations

import collections
import math
import re
from typing import NamedTuple

KINDS = (
  'all-gather',
  'all-reduce',
  'reduce-scatter',
  'all-to-all',
  'collective-permute',
)
_HEADER = re.compile(r'^(?:ENTRY )?%?([\w.\-]+) .*\{$')
_COLLECTIVE = re.compile(rf'= (.*?) ({"|".join(KINDS)})(-start)?\(')
_ARRAY = re.compile(r'([a-z]+)(\d*)\w*\[([\d,]*)\]')
_CALLED = re.compile(
  r'(?:calls|to_apply|body|condition)=%?([\w.\-]+)|branch_computations=\{(.*?)\}'
)


class Collective(NamedTuple):
  """One instruction.

  Attributes:
    kind: of `KINDS`.
    shapes: of its results on one device.
    bytes: of all results on one device.
    looped: it is in the body of a loop, and runs once a turn.
  """

  kind: str
  shapes: tuple[tuple[int, ...], ...]
  bytes: int
  looped: bool


def of_program(compiled) -> list[Collective]:
  """The collectives of a program that `jax.jit` compiled.

      bytes = sum over results of size(dtype) * product(shape)

  An all-gather receives its result but for the device's own part. An
  all-reduce counts once, as the reduce-scatter does that the compilers of
  GPUs and TPUs make of it where only a part is used.
  """
  text = compiled.as_text()
  called: dict[str, set[str]] = collections.defaultdict(set)
  found, place = [], ''
  bodies = set()
  for line in text.splitlines():
    header = _HEADER.match(line)
    if header:
      place = header.group(1)
      continue
    for name, branches in _CALLED.findall(line):
      names = {name} if name else set(re.findall(r'%?([\w.\-]+)', branches))
      called[place] |= names
      if ' while(' in line:
        bodies |= names
    match = _COLLECTIVE.search(line)
    if match:
      found.append((place, match))
  looped = _reached(bodies, called)
  return [_collective(match, place in looped) for place, match in found]


def table(found: list[Collective]) -> list[str]:
  """Lines of text: how many of each kind, and the bytes of all of them."""
  groups = collections.defaultdict(list)
  for each in found:
    groups[each.kind, each.looped].append(each.bytes)
  return [
    f'{len(sizes):5} {kind:20}{sum(sizes):>16,} bytes'
    + (' a turn of a loop' if looped else '')
    for (kind, looped), sizes in sorted(groups.items())
  ]


def _reached(names: set[str], called: dict[str, set[str]]) -> set[str]:
  """The computations that these call, directly or not."""
  reached, fresh = set(), set(names)
  while fresh:
    reached |= fresh
    fresh = set().union(*(called[name] for name in fresh)) - reached
  return reached


def _collective(match, looped: bool) -> Collective:
  arrays = _ARRAY.findall(match.group(1))
  if match.group(3) and match.group(2) in ('all-gather', 'collective-permute'):
    # The asynchronous form gives back its operands before its results.
    arrays = arrays[len(arrays) // 2 :]
  shapes = tuple(
    tuple(map(int, filter(None, dims.split(',')))) for _, _, dims in arrays
  )
  sizes = (
    max(int(bits or 8) // 8, 1) * math.prod(shape)
    for (_, bits, _), shape in zip(arrays, shapes)
  )
  return Collective(match.group(2), shapes, sum(sizes), looped)
