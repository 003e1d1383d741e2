"""The registry: what has a name is entered here, with where it comes from.

An entry is a keyword-only factory of a `Recipe` whose defaults are plain
values: they become typed, locked flags. Off is 0 or `math.inf`, never None.
`jaxrl_llm.recipes` enters the papers, and finds each by its name.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from jaxrl_llm.recipe import JOINTS, Recipe, functions

_DEVIATES = 'Deviates:'
_UNLIMITED = 'No limit:'
# What others are told apart from, the plainest first.
BASES = ('reinforce', 'ppo', 'grpo', 'dpo')


@dataclasses.dataclass(frozen=True)
class Paper:
  """Where a method comes from.

  Attributes:
    title: as published. arxiv: its id, or '' for older work.
    confidence: VERIFIED (read in published code or text), VERIFIED-2 (read
      in a third party's), RECALLED, or ABSTRACT (reconstructed from it).
    other_titles: those of its other versions, earlier or later.
  """

  title: str
  arxiv: str = ''
  confidence: str = 'VERIFIED'
  other_titles: tuple[str, ...] = ()

  @property
  def titles(self) -> tuple[str, ...]:
    return self.title, *self.other_titles


@dataclasses.dataclass(frozen=True)
class Limit:
  """A special case: with these values an entry is another entry.

  The battery verifies that losses and gradients agree on random batches, at
  the proximal policy and away from it. The other entry is built with as many
  samples as this one.

  Attributes:
    other: the entry it becomes.
    values: hyper-parameters of this entry.
    other_values: hyper-parameters of the other.
    on_policy: holds where the ratio is 1, for the gradient alone: the losses
      of surrogates with one gradient there differ by constants.
    up_to_scale: holds up to one positive factor of loss and gradient.
  """

  other: str
  values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  other_values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  on_policy: bool = False
  up_to_scale: bool = False


@dataclasses.dataclass(frozen=True)
class Entry:
  """A registered method."""

  name: str
  factory: Callable[..., Recipe]
  paper: Paper
  limits: tuple[Limit, ...] = ()

  @property
  def base(self) -> str:
    """Of `BASES`, whose functions are most like this entry's.

    One of them is compared with those before it; '' for the plainest.
    """
    known = BASES[: BASES.index(self.name)] if self.name in BASES else BASES
    own = _functions_of(self.factory)
    return min(
      reversed(known),
      key=lambda name: len(own ^ _functions_of(ENTRIES[name].factory)),
      default='',
    )

  @property
  def joints(self) -> tuple[str, ...]:
    """Where the entry has a function that its base has not.

    Numbers do not count, nor what is left out.
    """
    if not self.base:
      return ()
    theirs = _functions_of(ENTRIES[self.base].factory)
    found = {joint for joint, _ in _functions_of(self.factory) - theirs}
    return tuple(joint for joint in JOINTS if joint in found)

  @property
  def defaults(self) -> dict[str, float | int | bool | str | tuple]:
    parameters = inspect.signature(self.factory).parameters
    return {name: p.default for name, p in parameters.items()}

  @property
  def place(self) -> tuple[str, int]:
    """File and line of the factory; the package's own from its parent."""
    code = inspect.unwrap(self.factory).__code__
    root = pathlib.Path(__file__).parents[1]
    path = pathlib.Path(code.co_filename)
    if path.is_relative_to(root):
      path = path.relative_to(root)
    return path.as_posix(), code.co_firstlineno

  @property
  def text(self) -> str:
    """The docstring, '' without one."""
    return inspect.getdoc(self.factory) or ''

  @property
  def summary(self) -> str:
    return self.text.partition('\n')[0]

  @property
  def deviates(self) -> str:
    """The paragraph of the docstring that begins 'Deviates:', on one line.

    It names every known difference from the paper; '' where none is known.
    """
    return paragraph(self.text, _DEVIATES)

  @property
  def unlimited(self) -> str:
    """The paragraph that begins 'No limit:', why it is never another entry."""
    return paragraph(self.text, _UNLIMITED)


@functools.cache
def _functions_of(factory) -> frozenset[tuple[str, str]]:
  return frozenset(functions(factory()))


def paragraph(text: str, head: str) -> str:
  """The paragraph of a docstring that begins so, on one line without that."""
  for each in map(str.strip, text.split('\n\n')):
    if each.startswith(head):
      return ' '.join(each.removeprefix(head).split())
  return ''


# By name: all that was registered so far.
ENTRIES: dict[str, Entry] = {}


def register(paper: Paper, *limits: Limit):
  """Decorates a factory of recipes and enters it under its own name."""

  def enter(factory):
    name = factory.__name__
    if name in ENTRIES and not _again(factory, ENTRIES[name].factory):
      raise ValueError(f'recipe {name!r} is registered twice')
    for parameter in inspect.signature(factory).parameters.values():
      keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY
      plain = isinstance(parameter.default, float | int | str | tuple)
      if not (keyword and plain):
        raise TypeError(
          f'recipe {name!r}: {parameter.name} must be keyword-only with a '
          'plain default (float, int, bool, str or tuple)'
        )
    ENTRIES[name] = Entry(name, factory, paper, limits)
    return factory

  return enter


def _again(factory: Callable, earlier: Callable) -> bool:
  """Whether two factories are one: of a file that was executed twice.

  As where a config file is also imported, for a verifier in it. Those of
  `__main__` are cells of a notebook, which are edited and run once more.
  """
  if factory.__module__ == earlier.__module__ == '__main__':
    return True
  one, other = (inspect.unwrap(x).__code__ for x in (factory, earlier))
  same = one.co_firstlineno == other.co_firstlineno
  paths = map(os.path.realpath, (one.co_filename, other.co_filename))
  return same and len(set(paths)) == 1
