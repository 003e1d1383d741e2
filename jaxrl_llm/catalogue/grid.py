"""Every estimator of advantages with every surrogate: what composes, what not.

python -m jaxrl_llm.recipes pairs     prints the numbers, and what others lack
"""

from __future__ import annotations

import collections
import itertools

from jaxrl_llm import compose, parts, recipes
from jaxrl_llm.reads import provided, reads_of, statistics
from jaxrl_llm.recipe import Recipe


def pairs() -> list[tuple[str, str]]:
  """The names of all estimators with those of all surrogates."""
  slots = parts.fitting('advantage'), parts.fitting('surrogate')
  return list(itertools.product(*slots))


def start_of(estimator: str) -> Recipe:
  """What a pair begins with: PPO for what reads a critic, GRPO for the rest."""
  critic = statistics(_reads('advantage', estimator)) & parts.CRITIC
  return recipes.build('ppo' if critic else 'grpo')


def wanted(estimator: str, surrogate: str) -> frozenset[str]:
  """What both read that only a plan of its own kind gives."""
  read = _reads('advantage', estimator) | _reads('surrogate', surrogate)
  return provided(read, 'plan')


def _reads(slot, name):
  return reads_of(parts.bound(parts.fitting(slot)[name], (), {}))


def refused() -> dict[tuple[str, str], str]:
  """The pairs that do not compose, and what `compose` says of them."""
  found = {}
  for estimator, surrogate in pairs():
    recipe = start_of(estimator)
    try:
      compose.compose(recipe, advantage=estimator, surrogate=surrogate)
    except ValueError as error:
      found[estimator, surrogate] = error.args[0]
  return found


def report() -> str:
  """How many pairs compose, and what the others lack."""
  number, without = len(pairs()), refused()
  lacking = collections.Counter(
    array for pair in without for array in wanted(*pair)
  )
  lines = [
    f'{number} pairs of an estimator and a surrogate: '
    f'{number - len(without)} compose, {len(without)} are refused',
    '',
    'refused for what the plan of grpo and ppo does not give, pairs by array:',
    *(
      f'{count:6}  {array}, as in {compose.provider(array)}'
      for array, count in lacking.most_common()
    ),
  ]
  lines += [message for pair, message in without.items() if not wanted(*pair)]
  return '\n'.join(lines)
