"""The papers: one entry each, grouped by the joint they mainly change.

Every module beside this one is a family of entries, and nothing else. Of losses
of preferences, `unpaired_preference` judges a response by itself, `preference`
two and `listwise` several; those that must sample while they learn are in
`online_preference`, and those that play games in `nash` and `self_play`.

`names`, `get` and `build` find entries, and `python -m jaxrl_llm.recipes` tells
of them, which is `jaxrl_llm.catalogue`.
"""

from __future__ import annotations

from jaxrl_llm import ranges, registry
from jaxrl_llm.recipe import Recipe

# To be imported is to be registered.
from jaxrl_llm.recipes import (  # noqa: F401
  actor_critic,
  advantages,
  agents,
  behaviour,
  clipping,
  critics,
  curricula,
  distillation,
  entropy,
  exploration,
  gflownets,
  guidance,
  imitation,
  listwise,
  many_rewards,
  nash,
  off_policy,
  online_preference,
  preference,
  prompt_credit,
  regressions,
  regularisers,
  retrieval,
  reward_models,
  rewarding,
  sampler_mismatch,
  selection,
  self_play,
  sequence_ratios,
  thinking,
  token_credit,
  token_gates,
  trust_regions,
  unpaired_preference,
)
from jaxrl_llm.registry import Entry
from jaxrl_llm.spelling import suggestion

__all__ = ['build', 'get', 'names']


def names() -> list[str]:
  """Every registered recipe, sorted.

  Example:
    >>> 'grpo' in names()
    True
  """
  return sorted(registry.ENTRIES)


def get(name: str) -> Entry:
  """The entry of that name; the error for an unknown one suggests another.

  Example:
    >>> get('grpo').paper.arxiv
    '2402.03300'
  """
  known = names()
  if name not in known:
    raise KeyError(f'unknown recipe {name!r}. {suggestion(name, known)}')
  return registry.ENTRIES[name]


def build(name: str, **values) -> Recipe:
  """The recipe of that name, with some hyper-parameters replaced.

  Raises:
    KeyError: a name that there is not.
    ValueError: a value that means nothing, see `ranges` and the parts.

  Example:
    >>> build('dapo', clip_high=0.3).minibatches
    16
  """
  entry = get(name)
  for key in values:
    if key not in entry.defaults:
      raise KeyError(
        f'recipe {name!r} has no hyper-parameter {key!r}. '
        f'{suggestion(key, entry.defaults)}{_whose(key)}'
      )
  # What somebody else's recipe means by a name is for it to say. Code that was
  # executed, as in a notebook's cell, may belong to no module.
  if (entry.factory.__module__ or '').startswith(f'{__name__}.'):
    ranges.check(name, values, entry.defaults)
  return entry.factory(**values)


def _whose(key: str) -> str:
  """The recipes that have such a hyper-parameter, '' where none has."""
  found = [name for name in names() if key in get(name).defaults]
  return f' (recipes that have it: {", ".join(found)})' if found else ''
