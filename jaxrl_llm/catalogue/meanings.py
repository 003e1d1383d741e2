"""What the hyper-parameters of an entry mean, read off what they set.

An entry hands each of its numbers to a part: `clip_high` of `dapo` is `high`
of `surrogates.clip`, whose docstring says what that is. So the number is
changed, the slots that change with it are looked up, and their words quoted:
those on the argument, else the first line.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Mapping
from typing import Any

from jaxrl_llm import reads
from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm.registry import Entry

_SECTIONS = ('Args:', 'Attributes:')
# The start of an item: 'low, high: half-widths', first in a line or after the
# sentence of another one.
_ITEM = re.compile(r'(?:^|(?<=[.;?])\s+|\n)((?:\w+, )*\w+): ')


def meanings(entry: Entry) -> dict[str, str]:
  """Name of a hyper-parameter -> what its part says of it, '' where nothing.

  Example:
    >>> from jaxrl_llm.recipes import get
    >>> meanings(get('grpo'))['minibatches']
    'optimizer steps of a pass.'
  """
  return {name: _meaning(entry, name) for name in entry.defaults}


def changed(entry: Entry, name: str) -> tuple[list[str], recipe_lib.Recipe]:
  """Slots that are others with another value, and the recipe with that."""
  recipe = entry.factory()
  before = recipe_lib.describe(recipe)
  for value in _others(entry.defaults[name]):
    try:
      other = entry.factory(**{name: value})
    except (ValueError, TypeError):  # not every number is admitted
      continue
    after, parts = recipe_lib.describe(other), recipe_lib.parts_of(other)
    others = [slot for slot in before if before[slot] != after.get(slot)]
    # A weight of 0 leaves out what it weighs.
    added = [x for x in after if x not in before and x not in parts]
    if others or added:
      return others or added, other
  return [], recipe


def _others(value) -> tuple[Any, ...]:
  match value:
    case bool():
      return (not value,)
    case int():
      return value + 1, 2 * value, max(value // 2, 1)
    case float():
      return value / 2 + 0.01, 2 * value, value + 1.5, 0.5
    case str():
      return f'{value} ', f'{value}2'
  return ((*value, 'a'), ())


def _meaning(entry, name) -> str:
  filled, recipe = changed(entry, name)
  parts = recipe_lib.parts_of(recipe)
  values = recipe_lib.describe(entry.factory()), recipe_lib.describe(recipe)
  told = []
  for slot in filled:
    which = _which(slot, *values)
    owner, _, key = slot.rpartition('.')
    while owner and owner not in parts:  # of a tuple, say
      owner, _, key = owner.rpartition('.')
    part = parts.get(owner, recipe_lib.Recipe)
    if text := documented(part).get(key):
      return which + text
    summary = (inspect.getdoc(part) or '').partition('\n')[0]
    told.append(f'{which}`{key}` of `{reads.name_of(part)}`: {summary}')
  return told[0] if told else ''


def _which(slot: str, before: Mapping[str, str], after: Mapping[str, str]):
  """Which one of several, where a slot holds a tuple; '' elsewhere.

  Where the part beside it has as many parts, by what tells that one from the
  others: weight 2 of three losses is that of the second loss.
  """
  try:
    pair = [ast.literal_eval(x.get(slot, '')) for x in (before, after)]
    [place] = [i for i, (a, b) in enumerate(zip(*pair, strict=True)) if a != b]
  except (ValueError, SyntaxError, TypeError):
    return ''
  owner, found = slot.rpartition('.')[0], []
  numbered = re.compile(rf'{re.escape(owner)}\.(\w+)\.(\d+)\.(.+)')
  told = {m.groups(): v for k, v in before.items() if (m := numbered.match(k))}
  for (group, number, rest), value in told.items():
    others = [v for (g, n, r), v in told.items() if (g, r) == (group, rest)]
    if number == str(place) and '.' in value and others.count(value) == 1:
      found.append(f'`{value}`')
  return f'{" of ".join(found[:1]) or f"number {place + 1}"}: '


@functools.cache
def documented(part) -> dict[str, str]:
  """The arguments or attributes that a docstring explains, on one line each.

  Example:
    >>> documented(recipe_lib.Recipe)['minibatches']
    'optimizer steps of a pass.'
  """
  found: dict[str, str] = {}
  for block in re.split(r'\n\s*\n', inspect.getdoc(part) or ''):
    head, _, body = block.partition('\n')
    if head.strip() in _SECTIONS:
      for names, text in items(body):
        found |= dict.fromkeys(names.split(', '), text)
  return found


def items(body: str) -> list[tuple[str, str]]:
  """What a section of a docstring says of names, [] where it is prose.

  Example:
    >>> items('  low, high: bounds. rate: of steps,\\n    > 0.')
    [('low, high', 'bounds.'), ('rate', 'of steps, > 0.')]
  """
  first, *pieces = _ITEM.split(inspect.cleandoc(f'\n{body}'))
  if first.strip():
    return []
  texts = (' '.join(text.split()) for text in pieces[1::2])
  return list(zip(pieces[::2], texts))
